"""What each state of a container means: plain tables, no daemon."""

from __future__ import annotations

import time

import pytest
from ansible_collections.mlops.stack.plugins.module_utils._docker._api import parse_host, parse_time
from ansible_collections.mlops.stack.plugins.module_utils._docker._track import Track, is_unhealthy
from ansible_collections.mlops.stack.plugins.module_utils._probe._docker import Want, judge, judge_all, slow_health
from wait_fake_docker import SECOND, container

T0 = 1_700_000_000 * SECOND


def verdict(inspect, now=0.0, track=None, podman=False, daemon_now=0, **want):
    track = track or Track()
    track.see(inspect, now)
    return judge(inspect, track, Want(**{"state": "auto", **want}), now, podman, daemon_now or time.time_ns())


@pytest.mark.parametrize(
    ("state", "inspect", "wanted"),
    [
        ("auto", container(), "ready running"),
        ("running", container(), "ready running"),
        ("healthy", container(health="healthy"), "ready healthy"),
        ("auto", container(health="healthy"), "ready healthy"),
        ("auto", container(health="starting"), "transient starting"),
        ("running", container(health="starting"), "ready running"),
        ("running", container(health="unhealthy", streak=9), "ready running"),
        ("healthy", container(), "permanent no_healthcheck"),
        ("healthy", container(healthcheck={"Test": ["NONE"]}), "permanent no_healthcheck"),
        ("auto", container(healthcheck={"Test": ["NONE"]}), "ready running"),
        ("auto", container(status="created"), "transient created"),
        ("auto", container(status="created", error="port is already allocated", exit_code=127), "permanent start_failed"),
        ("auto", container(status="exited", exit_code=3), "permanent exited"),
        ("auto", container(status="exited", exit_code=0), "permanent exited"),
        ("running", container(status="dead", exit_code=1), "permanent exited"),
        ("exited", container(status="exited", exit_code=0), "ready exited"),
        ("exited", container(status="exited", exit_code=1), "permanent exit_code"),
        ("exited", container(), "transient running"),
        ("exited", container(health="healthy"), "transient running"),
        ("exited", container(status="created"), "transient created"),
        ("exited", container(status="restarting", exit_code=1), "transient restarting"),
        ("absent", container(), "transient present"),
        ("absent", container(status="exited"), "transient present"),
        ("auto", container(status="removing"), "transient removing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_states(state, inspect, wanted):
    assert " ".join(verdict(inspect, state=state).outcome[:2]) == wanted


def test_other_exit_codes_can_be_wanted():
    assert verdict(container(status="exited", exit_code=3), state="exited", exit_codes=(0, 3)).outcome.cls == "ready"


@pytest.mark.parametrize(
    "inspect",
    [
        container(status="restarting", health="unhealthy", streak=1),
        container(status="paused", health="unhealthy", streak=0),
        container(status="running", health="unhealthy", streak=0),
        container(status="running", health="unhealthy", streak=1),
    ],
    ids=["restarting", "paused", "unpaused", "stopping"],
)
def test_b03_unhealthy_of_a_stopped_monitor_is_not_unhealthy(inspect):
    assert not is_unhealthy(inspect)
    for now in (0.0, 1000.0):
        found = verdict(inspect, now, state="healthy", unhealthy_grace=0.0).outcome
        assert found.cls == "transient" and found.code != "unhealthy"


def test_b03_paused_is_told_as_paused():
    assert verdict(container(status="paused", health="unhealthy")).outcome.code == "paused"


SICK = container(
    health="unhealthy",
    streak=3,
    healthcheck={"Test": ["CMD", "x"], "Interval": 10 * SECOND, "Timeout": 2 * SECOND, "Retries": 3},
    log=[{"Output": "connection refused\n"}],
)


def test_b04_unhealthy_has_its_grace():
    track = Track()
    found = verdict(SICK, 100.0, track, state="healthy")
    assert found.outcome[:2] == ("transient", "unhealthy") and found.look_again == 112.0
    assert verdict(SICK, 111.9, track, state="healthy").outcome.cls == "transient"
    late = verdict(SICK, 112.0, track, state="healthy").outcome
    assert late[:2] == ("permanent", "unhealthy")
    assert "connection refused" in late.detail and "unhealthy_grace is 12 s" in late.detail


def test_b04_a_recovery_ends_the_grace():
    track = Track()
    verdict(SICK, 100.0, track)
    assert verdict(container(health="healthy"), 105.0, track).outcome.cls == "ready"
    assert verdict(SICK, 112.0, track).outcome.cls == "transient"


@pytest.mark.parametrize(
    ("check", "grace"),
    [
        ({"Test": ["CMD", "x"], "Interval": SECOND, "Timeout": SECOND}, 5.0),
        ({"Test": ["CMD", "x"], "Interval": 20 * SECOND, "Timeout": 3 * SECOND}, 23.0),
        ({"Test": ["CMD", "x"]}, 60.0),
    ],
)
def test_the_automatic_grace(check, grace):
    assert verdict(container(health="unhealthy", streak=3, healthcheck=check)).look_again == grace


def test_retries_count_for_unhealthy():
    many = {"Test": ["CMD", "x"], "Retries": 10}
    assert not is_unhealthy(container(health="unhealthy", streak=9, healthcheck=many))
    assert is_unhealthy(container(health="unhealthy", streak=10, healthcheck=many))


def test_b07_an_exited_container_without_healthcheck_is_not_healthy():
    for state in ("auto", "healthy", "running"):
        found = verdict(container(status="exited", exit_code=3), state=state).outcome
        assert found[:2] == ("permanent", "exited") and "exited (3), restart policy 'no'" in found.detail


def test_exit_details():
    found = verdict(container(status="exited", exit_code=137, oom=True, policy="on-failure")).outcome
    assert found.detail == "container web exited (137, out of memory), restart policy 'on-failure'"


def test_b02_an_inspect_that_is_not_complete_yet():
    early = container(healthcheck={"Test": ["CMD", "x"]})
    assert verdict(early, state="healthy").outcome[:2] == ("transient", "starting")
    assert verdict(early, state="auto").outcome[:2] == ("transient", "starting")


@pytest.mark.parametrize(
    ("policy", "exit_code", "wanted"),
    [("always", 0, "transient"), ("unless-stopped", 1, "transient"), ("on-failure", 1, "transient"), ("on-failure", 0, "permanent"), ("no", 1, "permanent")],
)
def test_podman_shows_exited_between_two_lives(policy, exit_code, wanted):
    inspect = container(status="exited", exit_code=exit_code, policy=policy)
    assert verdict(inspect, podman=True).outcome.cls == wanted
    assert verdict(inspect, podman=False).outcome.cls == "permanent"


def test_podman_calls_it_healthcheck():
    inspect = container()
    inspect["State"]["Healthcheck"] = {"Status": "healthy"}
    assert verdict(inspect, state="healthy").outcome[:2] == ("ready", "healthy")


def test_b34_a_missing_container_has_its_grace():
    late = judge_all("web", [], None, Want(missing_grace=2.0), 4.0, 3.0)
    assert late.outcome[:2] == ("transient", "missing") and late.look_again == 5.0
    gone = judge_all("web", [], None, Want(missing_grace=2.0), 5.0, 3.0).outcome
    assert gone == ("permanent", "missing", "container web does not exist")
    assert judge_all("web", [], None, Want(), 3.0, 3.0).outcome.cls == "permanent"
    assert judge_all("web", [], None, Want(state="absent"), 3.0, 3.0).outcome.cls == "ready"


def test_b34_one_that_ran_and_was_removed():
    track = Track()
    track.see(container(started=T0), 0.0)
    track.hear("die", {"exitCode": "0"}, T0 + SECOND, 1.0)
    assert judge_all("job", [], track, Want(state="exited"), 2.0, 2.0).outcome.cls == "ready"
    assert judge_all("job", [], track, Want(state="exited", exit_codes=(1,)), 2.0, 2.0).outcome.cls == "permanent"
    assert "was removed" in judge_all("job", [], track, Want(), 2.0, 2.0).outcome.detail


def test_b36_the_old_container_does_not_count():
    old, new = container(health="healthy", started=T0), container(health="healthy", started=T0 + 10)
    assert verdict(old, started_after=T0 + 5).outcome[:2] == ("transient", "stale")
    assert verdict(new, started_after=T0 + 5).outcome[:2] == ("ready", "healthy")
    exited = container(status="exited", exit_code=1, started=T0)
    assert verdict(exited, started_after=T0 + 5).outcome[:2] == ("transient", "stale")


def test_b37_a_restart_loop():
    track = Track()
    verdict(container(restarts=5), 0.0, track)
    assert verdict(container(restarts=8), 1.0, track, state="running").outcome.cls == "ready"
    for inspect in (container(restarts=9), container(restarts=9, status="restarting", exit_code=1)):
        found = verdict(inspect, 2.0, track, state="running").outcome
        assert found[:2] == ("permanent", "restart_loop") and "restarted 4 times" in found.detail
    assert verdict(container(restarts=9, health="healthy"), 3.0, track).outcome.cls == "ready"


@pytest.mark.parametrize("state", ["running", "healthy", "auto"])
@pytest.mark.parametrize("health", [None, "healthy"])
def test_between_two_deaths_a_container_is_not_ready(state, health):
    """Docker resets its pause between restarts after ten seconds of life: younger, it may die again."""
    young = container(health=health, restarts=1, started=T0)
    track = Track()
    found = verdict(young, 3.0, track, daemon_now=T0 + 2 * SECOND, state=state)
    assert found.outcome[:2] == ("transient", "restarted") and "restarted 1 times by its policy" in found.outcome.detail
    assert found.look_again == 11.0
    assert verdict(young, 10.9, track, daemon_now=T0 + 9 * SECOND, state=state).outcome.cls == "transient"
    settled = verdict(young, 11.0, track, daemon_now=T0 + 10 * SECOND, state=state).outcome
    assert settled.cls == ("permanent" if state == "healthy" and not health else "ready")


def test_exit_codes_between_two_deaths_are_named():
    track = Track()
    verdict(container(started=T0), 0.0, track)
    track.hear("die", {"exitCode": "7"}, T0 + SECOND, 1.0)
    again = container(restarts=1, started=T0 + 2 * SECOND)
    assert verdict(again, 2.0, track, daemon_now=T0 + 2 * SECOND, state="running").outcome.detail.endswith("exit codes: 7")


def test_a_daemon_that_tells_no_time_is_watched_for_as_long():
    track = Track()
    young = container(restarts=1, started=T0)
    track.see(young, 0.0)
    assert [judge(young, track, Want(), now).outcome.cls for now in (0.0, 9.9, 10.0)] == ["transient", "transient", "ready"]


def test_a_clock_that_steps_back_keeps_nobody_waiting():
    track = Track()
    young = container(restarts=1, started=T0)
    track.see(young, 0.0)
    assert judge(young, track, Want(), 10.0, daemon_now=T0 - 86400 * SECOND).outcome.cls == "ready"


def test_a_restart_by_hand_is_none():
    """Docker sets its count back; what the policy does after that counts from there."""
    track = Track()
    verdict(container(restarts=5, started=T0), 0.0, track, daemon_now=T0 + 60 * SECOND)
    by_hand = container(restarts=0, started=T0 + 60 * SECOND)
    assert verdict(by_hand, 1.0, track, daemon_now=T0 + 61 * SECOND, state="running").outcome.cls == "ready"
    again = container(restarts=1, started=T0 + 62 * SECOND)
    assert verdict(again, 2.0, track, daemon_now=T0 + 62 * SECOND, state="running").outcome[:2] == ("transient", "restarted")


def test_an_end_that_is_wanted_counts_after_a_restart():
    found = verdict(container(status="exited", exit_code=0, restarts=1, started=T0), daemon_now=T0 + SECOND, state="exited")
    assert found.outcome[:2] == ("ready", "exited")


def test_several_containers_are_as_good_as_the_worst():
    pairs = []
    for inspect in (container("a"), container("b", status="exited", exit_code=2), container("c", status="paused")):
        pairs.append((inspect, Track()))
    found = judge_all("project", pairs, None, Want(), 0.0, 0.0).outcome
    assert found[:2] == ("permanent", "exited")
    assert "container b exited (2)" in found.detail and "(2 of 3 containers are not as wanted)" in found.detail
    assert judge_all("project", pairs[:1], None, Want(), 0.0, 0.0).outcome.cls == "ready"


@pytest.mark.parametrize(
    ("check", "health", "warns"),
    [
        ({"Test": ["CMD", "x"], "Interval": 30 * SECOND}, "starting", True),
        ({"Test": ["CMD", "x"]}, "starting", True),
        ({"Test": ["CMD", "x"], "Interval": 30 * SECOND}, "healthy", False),
        ({"Test": ["CMD", "x"], "Interval": 10 * SECOND}, "starting", False),
        ({"Test": ["CMD", "x"], "Interval": 30 * SECOND, "StartPeriod": SECOND, "StartInterval": SECOND}, "starting", False),
        ({"Test": ["CMD", "x"], "Interval": 30 * SECOND, "StartInterval": SECOND}, "starting", True),
    ],
)
def test_b11_a_slow_healthcheck_is_warned_of(check, health, warns):
    text = slow_health("db", container(health=health, healthcheck=check))
    assert bool(text) is warns
    assert not text or text.startswith("db: the first Docker health probe comes 30 s after start")


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2024-01-02T03:04:05.123456789Z", 1704164645123456789),
        ("2024-01-02T03:04:05.1Z", 1704164645100000000),
        ("2024-01-02T03:04:05Z", 1704164645000000000),
        ("2024-01-02T05:04:05.5+02:00", 1704164645500000000),
        ("2024-01-01T20:04:05-0700", 1704164645000000000),
        ("0001-01-01T00:00:00Z", 0),
        ("", 0),
        (None, 0),
        ("yesterday", 0),
    ],
)
def test_times_keep_their_nanoseconds(text, nanoseconds):
    assert parse_time(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("unix:///var/run/docker.sock", ("/var/run/docker.sock", None)),
        ("tcp://10.0.0.1:2375", ("10.0.0.1", 2375)),
        ("tcp://[::1]", ("::1", 2375)),
    ],
)
def test_docker_hosts(text, wanted):
    assert parse_host(text) == wanted


@pytest.mark.parametrize("text", ["ssh://host", "unix://relative", "/var/run/docker.sock", "npipe:////./pipe", "unix:///" + "x" * 200])
def test_docker_hosts_that_cannot_be_used(text):
    with pytest.raises(ValueError, match="docker_host"):
        parse_host(text)
