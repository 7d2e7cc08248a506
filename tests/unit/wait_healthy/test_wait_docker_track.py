"""A container's history, put together from inspects and events in whatever order they come."""

from __future__ import annotations

import itertools
import json

import pytest
from ansible_collections.mlops.stack.plugins.module_utils._docker._track import Track
from ansible_collections.mlops.stack.plugins.module_utils._docker._watch import Key, Target
from wait_fake_docker import SECOND, container

T0 = 1_700_000_000 * SECOND
MS = SECOND // 1000


def deaths(track):
    return [(entry["code"], entry.get("before", False)) for entry in track.exits]


def die(track, at, code):
    return track.hear("die", {"exitCode": str(code)}, at, 1.0)


def start(track, at):
    return track.hear("start", {}, at, 1.0)


def running(since, restarts=0):
    return container(started=since, restarts=restarts)


def down(since, until, code, restarts=0, status="exited"):
    return container(status=status, started=since, finished=until, exit_code=code, restarts=restarts)


def test_events_of_an_earlier_life_are_before():
    track = Track()
    track.see(running(T0), 0.0)
    assert not start(track, T0 - 5 * SECOND)
    assert not die(track, T0 - SECOND, 7)
    start(track, T0 + 20 * MS)
    assert track.restarts_seen == 0 and deaths(track) == [(7, True)]


def test_the_death_that_inspect_showed_is_not_counted_again():
    track = Track()
    track.see(down(T0, T0 + SECOND, 7), 0.0)
    assert not die(track, T0 + SECOND + 5 * MS, 7)
    assert deaths(track) == [(7, True)] and track.restarts_seen == 0


def test_a_crash_between_two_inspects():
    """Inspect says exit code 0 again after the restart; the event remembers."""
    track = Track()
    track.see(running(T0), 0.0)
    assert die(track, T0 + 10 * SECOND, 3)
    assert start(track, T0 + 11 * SECOND)
    track.see(running(T0 + 11 * SECOND - 20 * MS, restarts=1), 11.0)
    assert deaths(track) == [(3, False)] and track.restarts_seen == 1


def test_every_order_of_one_crash_gives_the_same_history():
    def feed(track, steps):
        for step in steps:
            step(track)

    crash = [
        lambda t: die(t, T0 + 10 * SECOND, 3),
        lambda t: start(t, T0 + 11 * SECOND),
        lambda t: t.see(running(T0 + 11 * SECOND - 20 * MS, restarts=1), 11.0),
    ]
    for inspect_at in range(3):
        order = crash[:2]
        order.insert(inspect_at, crash[2])
        track = Track()
        track.see(running(T0), 0.0)
        feed(track, order)
        assert (track.restarts_seen, deaths(track)) == (1, [(3, False)]), inspect_at


def test_inspect_and_event_of_one_death_are_one_exit():
    for first, second in itertools.permutations(["inspect", "event"]):
        track = Track()
        track.see(running(T0), 0.0)
        for one in (first, second):
            if one == "inspect":
                track.see(down(T0, T0 + 5 * SECOND, 3), 5.0)
            else:
                die(track, T0 + 5 * SECOND + 8 * MS, 3)
        assert deaths(track) == [(3, False)], (first, second)


def test_a_death_that_inspect_told_first_is_still_news_when_heard():
    track = Track()
    track.see(running(T0), 0.0)
    track.see(down(T0, T0 + 5 * SECOND, 3, status="restarting"), 5.0)
    assert die(track, T0 + 5 * SECOND + 8 * MS, 3)
    assert not die(track, T0 + 5 * SECOND + 8 * MS, 3)


def test_a_loop_keeps_every_exit_code():
    track = Track()
    track.see(running(T0), 0.0)
    for life in range(1, 5):
        die(track, T0 + life * SECOND, life)
        start(track, T0 + life * SECOND + 300 * MS)
        track.see(running(T0 + life * SECOND + 290 * MS, restarts=life), float(life))
    assert track.restarts_seen == 4 and deaths(track) == [(code, False) for code in (1, 2, 3, 4)]


def test_a_loop_without_any_inspect_between():
    track = Track()
    track.see(running(T0), 0.0)
    for life in range(1, 5):
        die(track, T0 + life * SECOND, life)
        start(track, T0 + life * SECOND + 300 * MS)
    assert track.restarts_seen == 4 and deaths(track) == [(code, False) for code in (1, 2, 3, 4)]


def test_lost_events_are_made_up_for_by_the_restart_count():
    track = Track()
    track.see(running(T0, restarts=2), 0.0)
    track.see(running(T0 + 60 * SECOND, restarts=5), 60.0)
    assert track.restarts_seen == 3


def test_a_manual_restart_counts_although_the_count_stays():
    track = Track()
    track.see(running(T0), 0.0)
    track.see(running(T0 + 60 * SECOND), 60.0)
    assert track.restarts_seen == 1


def test_the_first_start_of_a_created_container_is_no_restart():
    track = Track()
    track.see(container(status="created"), 0.0)
    start(track, T0)
    track.see(running(T0 - 10 * MS), 1.0)
    assert track.restarts_seen == 0


def test_replayed_events_change_nothing():
    track = Track()
    track.see(running(T0), 0.0)
    for _replay in range(3):
        die(track, T0 + SECOND, 3)
        start(track, T0 + 2 * SECOND)
    assert track.restarts_seen == 1 and deaths(track) == [(3, False)]


def test_out_of_memory_is_a_label_on_a_death():
    track = Track()
    track.see(running(T0), 0.0)
    track.hear("oom", {}, T0 + SECOND, 1.0)
    die(track, T0 + SECOND + 50 * MS, 137)
    assert track.exits[-1]["oom"]
    start(track, T0 + 2 * SECOND)
    die(track, T0 + 3 * SECOND, 137)
    assert not track.exits[-1]["oom"]


def test_a_child_killed_by_the_kernel_is_no_death():
    track = Track()
    track.see(running(T0), 0.0)
    track.hear("oom", {}, T0 + SECOND, 1.0)
    assert track.exits == []
    die(track, T0 + 2 * SECOND, 1)
    assert not track.exits[-1]["oom"]


def test_another_id_under_the_same_name_is_another_history():
    track = Track()
    track.see(container(identity="a" * 64, started=T0, restarts=2), 0.0)
    die(track, T0 + SECOND, 3)
    track.see(container(identity="b" * 64, started=T0 + 5 * SECOND, restarts=1), 5.0)
    assert track.exits == [] and track.restarts_seen == 1


def test_a_history_passes_through_json():
    track = Track()
    track.see(running(T0), 0.0)
    die(track, T0 + SECOND, 3)
    copy = Track(json.loads(json.dumps(track.dump())))
    assert copy.dump() == track.dump()
    start(copy, T0 + 2 * SECOND)
    assert copy.restarts_seen == 1


@pytest.mark.parametrize(
    ("key", "identity", "attributes", "wanted"),
    [
        (Key("web"), "x", {"name": "web"}, True),
        (Key("web"), "x", {"name": "web-2"}, False),
        (Key("web"), "x", {"name": "my-web"}, False),
        (Key("web"), "x", {"name": "other", "oldName": "web"}, True),
        (Key("web"), "known", {"name": "renamed"}, True),
        (Key("0123456789ab"), "0123456789abcdef", {"name": "web"}, True),
        (Key("0123"), "0123456789abcdef", {"name": "web"}, False),
        (Key(None, "p"), "x", {"com.docker.compose.project": "p", "com.docker.compose.service": "s"}, True),
        (Key(None, "p", "s"), "x", {"com.docker.compose.project": "p", "com.docker.compose.service": "s"}, True),
        (Key(None, "p", "s2"), "x", {"com.docker.compose.project": "p", "com.docker.compose.service": "s"}, False),
        (Key(None, "p"), "x", {"com.docker.compose.project": "p2"}, False),
    ],
)
def test_b47_which_events_are_whose(key, identity, attributes, wanted):
    target = Target(key)
    target.track("known").see({"Id": "known"}, 0.0)
    assert target.matches({"id": identity, "attributes": attributes}) is wanted
