"""One check over time, on a clock that the test turns."""

from __future__ import annotations

import json
import time

import pytest
from ansible_collections.mlops.stack.plugins.module_utils._net._outcome import (
    Outcome,
    permanent,
    ready,
    shorten,
    show_bytes,
    suspect,
    transient,
)
from ansible_collections.mlops.stack.plugins.module_utils._wait._check import CheckState, Interval, as_absent
from ansible_collections.mlops.stack.plugins.module_utils._wait._redact import Redactor, secrets_in
from ansible_collections.mlops.stack.plugins.module_utils._wait._spec import Defaults, parse


def state(redact=str, **options):
    return CheckState(parse([("here", {"type": "tcp", "host": "a", "port": 1, **options})], Defaults())[0], redact)


def feed(one, *observations, suspect_after=15.0):
    for at, outcome in observations:
        one.observe(outcome, at, 0.001, suspect_after)
    return one


def test_the_timeline_is_run_length_coded():
    one = feed(state(), (0, transient("refused")), (1, transient("refused")), (2, transient("http_status", "503")), (3, ready()))
    assert [(e["at"], e["code"], e["count"]) for e in one.timeline] == [(0, "refused", 2), (2, "http_status", 1), (3, "ok", 1)]
    assert one.attempts == 4 and one.ready_since == 3


def test_the_timeline_keeps_its_beginning_and_its_end():
    one = state()
    for at in range(100):
        one.observe(transient(f"code{at}"), at, 0, 15)
    assert [e["at"] for e in one.timeline] == [*range(20), *range(80, 100)] and one.dropped == 60


def test_an_event_does_not_split_a_run():
    one = feed(state(), (0, transient("refused")))
    one.note(0.5, "start", "")
    feed(one, (1, transient("refused")))
    assert [(e["class"], e["code"], e["count"]) for e in one.timeline] == [("transient", "refused", 2), ("event", "start", 1)]


@pytest.mark.parametrize(
    ("observations", "fails"),
    [
        ([(0, "a"), (5, "a"), (15, "a")], True),
        ([(0, "a"), (5, "a"), (14.9, "a")], False),
        ([(0, "a"), (20, "a")], False),
        ([(0, "a"), (20, "a"), (20.1, "a")], True),
        ([(0, "a"), (10, "b"), (20, "a"), (30, "a")], False),
        ([(0, "a"), (10, "b"), (20, "a"), (25, "a"), (35, "a")], True),
    ],
)
def test_suspects_become_permanent(observations, fails):
    one = feed(state(), *[(at, suspect(code)) for at, code in observations])
    assert (one.failure is not None) is fails


def test_a_permanent_failure_stays_although_a_later_attempt_is_fine():
    one = feed(state(), (0, permanent("exited", "container web exited (3)")), (1, ready()))
    assert one.settled() and not one.satisfied(1)


def test_stable_for_counts_from_the_last_break():
    one = feed(state(stable_for=2.0), (0, ready()), (1, ready()), (1.5, transient("refused")), (2, ready()))
    assert not one.satisfied(3.9) and one.satisfied(4.0)
    assert one.probing()
    assert not feed(state(), (0, ready())).probing()


@pytest.mark.parametrize(
    ("elapsed", "burden", "pause"),
    [(0, 0, 0.02), (1, 0, 0.02), (5, 0, 0.1), (100, 0, 0.5), (0, 0.03, 0.03), (100, 2.0, 2.0)],
)
def test_the_pause_grows_with_the_time_waited(elapsed, burden, pause):
    one = feed(state(), (0, transient("refused")))
    assert one.pause(elapsed, burden, Interval()) == pytest.approx(pause)


def test_a_change_or_a_kick_makes_the_pause_short_again():
    one = feed(state(), (0, transient("refused")), (100, transient("http_status")))
    assert one.pause(100.1, 0, Interval()) == 0.02
    one.kicked_at = 200
    assert one.pause(200.1, 0, Interval()) == 0.02


def test_b33_the_overshoot_is_a_small_part_of_the_wait():
    """Attempts of no duration, a target ready at any time: found within max(20 ms, 2 %), at most half a second."""
    for ready_at in [0.2 + 0.024 * step for step in range(200)] + [30.0, 299.0]:
        one, now = state(), 0.0
        while now < ready_at:
            one.observe(transient("refused"), now, 0, 15)
            now += one.pause(now, 0.0005, Interval())
        assert now - ready_at <= min(max(0.02, 0.02 * ready_at), 0.5) + 1e-9


@pytest.mark.parametrize(
    ("outcome", "wanted"),
    [
        (transient("refused"), "ready absent"),
        (transient("unreachable"), "ready absent"),
        (transient("no_socket"), "ready absent"),
        (transient("timeout"), "transient timeout"),
        (suspect("dns_unknown"), "transient dns_unknown"),
        (ready(), "transient present"),
        (transient("http_status", "503"), "transient present"),
        (permanent("redis_noauth"), "transient present"),
        (transient("closed"), "transient present"),
    ],
)
def test_b18_what_absent_means(outcome, wanted):
    assert " ".join(as_absent(outcome)[:2]) == wanted


def test_a_state_passes_through_json():
    one = feed(state(), (0, transient("refused")), (1, suspect("http_status")), (2, permanent("x", "y")))
    copy = state()
    copy.restore(json.loads(json.dumps(one.dump())))
    assert copy.dump() == one.dump() and copy.failure == Outcome("permanent", "x", "y")


def test_details_are_short_printable_and_redacted():
    one = feed(state(Redactor(secrets=["swordfish"])), (0, transient("x", "a\nb\x1b[31m swordfish " + "y" * 500)))
    assert one.last["detail"].startswith("a b?[31m ******** yyy") and len(one.last["detail"]) <= 300


@pytest.mark.parametrize(("data", "shown"), [(b"abc", "abc"), (b"a\r\n", "a\\r\\n"), (b"\x15\x03", "\\x15\\x03"), (b"x" * 99, "x" * 60 + "...")])
def test_bytes_are_shown(data, shown):
    assert show_bytes(data) == shown


def test_shorten():
    assert shorten("a \t\n b") == "a b" and len(shorten("x" * 1000)) == 300


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("password=hunter22 rest", "password=******** rest"),
        ("POSTGRES_PASSWORD: hunter22", "POSTGRES_PASSWORD: ********"),
        ('{"api_key": "abc123", "x": 1}', '{"api_key": "********", "x": 1}'),
        ("Authorization: Bearer abc.def-123456", "Authorization: Bearer ********"),
        ("redis://:pw123@redis:6379/0", "redis://:********@redis:6379/0"),
        ("postgresql+psycopg://me:pw@db/x", "postgresql+psycopg://me:********@db/x"),
        ("AIRFLOW__CORE__FERNET_KEY=abc=", "AIRFLOW__CORE__FERNET_KEY=********"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIB\nAAAA\n-----END RSA PRIVATE KEY-----", "-----BEGIN RSA PRIVATE KEY-----********-----END RSA PRIVATE KEY-----"),
        ("http://127.0.0.1:8080/health is fine", "http://127.0.0.1:8080/health is fine"),
        ("the token expired", "the token expired"),
        ("said my-secret-value-1 aloud", "said ******** aloud"),
    ],
)
def test_redaction(text, hidden):
    assert Redactor(secrets=["my-secret-value-1"])(text) == hidden


@pytest.mark.parametrize(
    ("secret", "text", "hidden"),
    [
        ("db", "the db is up", "the db is up"),  # too short to be told from a word
        ("hang", "hang hangs (hang)", "******** hangs (********)"),
        ("changed", "unchanged", "un********"),
    ],
)
def test_short_secrets_are_hidden_where_they_stand_alone(secret, text, hidden):
    assert Redactor(secrets=[secret])(text) == hidden


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("http://h/a?token=abc%2Fd&page=2", ["abc%2Fd", "abc/d"]),
        ("http://h/?X-Goog-Signature=00ff&key=k1", ["00ff", "k1"]),
        ("http://me:pw1@h/", ["pw1"]),
        ('{"user": "me", "password": "hunter22"}', ["hunter22"]),
        ("http://h/?page=2", []),
        ("http://[::1/", []),
    ],
)
def test_secrets_are_found_in_urls_and_bodies(text, found):
    assert sorted(set(secrets_in(text))) == sorted(found)


@pytest.mark.parametrize("unit", ["x", "a:", "password", "https://", "x-", "bearer ", "a://b:"])
def test_redaction_of_a_long_line_ends_soon(unit):
    """A quadratic pattern takes minutes for these."""
    began = time.monotonic()
    Redactor(secrets=["my-secret-value-1"])(unit * (60_000 // len(unit)))
    assert time.monotonic() - began < 10
