"""Many checks together: concurrency, deadlines, verdicts, slices, and what a result holds."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time

import pytest
from ansible_collections.mlops.stack.plugins.module_utils._probe import _docker as _probe_docker
from ansible_collections.mlops.stack.plugins.module_utils._wait import _run as _wait_run
from ansible_collections.mlops.stack.plugins.module_utils._wait._report import cap
from wait_fake_docker import SECOND, container, frames
from wait_servers import OK, UNAVAILABLE, Hang, Read, codes, events, http, reply


def tcp(name, server, **options):
    return {"type": "tcp", "name": name, "host": "127.0.0.1", "port": server.port, "hold": 0.01, **options}


def test_fifty_checks_one_dead(run, adv):
    server, dead = adv([Hang()]), adv(listen=False)
    result = run(*[tcp(f"c{n}", server) for n in range(49)], tcp("dead", dead), timeout=0.8)
    assert result["reason"] == "timeout" and result["failed_checks"] == ["dead"] and result["elapsed"] < 2.5
    assert sum(check["state"] == "ready" for check in result["checks"].values()) == 49
    assert all(check["attempts"] == 1 for name, check in result["checks"].items() if name != "dead")
    assert result["msg"].startswith("1 of 50 checks not ready after 0.8 s: dead: last: refused: connect to")


def test_checks_run_at_the_same_time(run, adv):
    server = adv([Read(), lambda conn: time.sleep(0.3), OK])
    result = run(*[{"type": "http", "name": f"c{n}", "url": server.url} for n in range(20)])
    assert not result["failed"] and result["elapsed"] < 5


def test_more_checks_than_threads(run, adv):
    server = adv(http(OK))
    result = run(*[{"type": "http", "name": f"c{n}", "url": server.url} for n in range(150)], timeout=30)
    assert not result["failed"] and server.count == 150


def test_b35_timeouts_are_not_added_up(run, adv):
    dead = adv(listen=False)
    result = run(*[tcp(f"c{n}", dead) for n in range(3)], timeout=0.4)
    assert result["failed_checks"] == ["c0", "c1", "c2"] and result["elapsed"] < 1.4


def test_b40_a_check_has_its_own_deadline(run, adv):
    result = run(tcp("short", adv(listen=False), timeout=0.3), tcp("long", adv(listen=False)), timeout=30)
    assert result["reason"] == "timeout" and result["failed_checks"] == ["short"] and result["elapsed"] < 2
    assert result["checks"]["long"]["state"] == "pending"


def test_b25_every_check_keeps_its_last_error(run, adv):
    result = run(
        {"type": "http", "name": "web", "url": adv(http(UNAVAILABLE)).url},
        tcp("port", adv(listen=False)),
        {"type": "redis", "name": "cache", "host": "127.0.0.1", "port": adv([Read(b"PING\r\n"), b"-LOADING wait\r\n"]).port},
        check_mode=True,
    )
    assert "web: last: http_status: 503" in result["msg"]
    assert "port: last: refused: connect to 127.0.0.1" in result["msg"]
    assert "cache: last: redis_loading: LOADING wait" in result["msg"]


def test_an_attempt_that_never_ended_is_told_so(run, adv):
    result = run({"type": "http", "name": "web", "url": adv([Hang()]).url}, timeout=0.3, attempt_timeout=60)
    assert result["reason"] == "timeout" and result["elapsed"] < 1
    assert result["checks"]["web"]["last"] is None and "web: no answer to the first attempt yet" in result["msg"]


FORBIDDEN = reply(b"", "403 Forbidden")


def test_fail_fast_can_be_switched_off(run, adv):
    noauth = [Read(b"PING\r\n"), b"-NOAUTH Authentication required.\r\n"]
    denied = [b"-DENIED Redis is running in protected mode\r\n", Hang()]
    later_good = adv(http(UNAVAILABLE), http(UNAVAILABLE), http(OK))
    checks = [
        {"type": "redis", "name": "a", "host": "127.0.0.1", "port": adv(noauth).port},
        {"type": "redis", "name": "b", "host": "127.0.0.1", "port": adv(denied).port},
        {"type": "http", "name": "c", "url": later_good.url},
    ]
    result = run(*checks, fail_fast=False)
    assert result["reason"] == "permanent" and result["failed_checks"] == ["a", "b"]
    assert result["checks"]["c"]["state"] == "ready" and result["elapsed"] < 5
    assert run(*checks)["elapsed"] < 2


def test_an_optional_check_only_warns(run, adv):
    result = run(tcp("good", adv([Hang()])), tcp("extra", adv(listen=False), optional=True, timeout=0.6))
    assert not result["failed"] and result["failed_checks"] == []
    assert result["warnings"][0].startswith("optional check extra did not hold: last: refused")


def test_the_confirm_round_catches_a_check_that_fell_back(run, adv, later):
    early = adv([Hang()], [], [], [Hang()])
    slow = adv(listen=False)
    later(0.7, lambda: slow.scripts.append([Hang()]) or slow.listen())
    result = run(tcp("early", early), tcp("slow", slow))
    assert codes(result, "early") == ["ok", "closed", "ok"] and early.count >= 4
    assert codes(result, "slow") == ["refused", "ok"]


def test_a_fresh_answer_is_not_asked_for_again(run, adv):
    one, two = adv(http(OK)), adv(http(OK))
    run({"type": "http", "name": "a", "url": one.url}, {"type": "http", "name": "b", "url": two.url})
    assert one.count == two.count == 1


def test_stable_for_holds_for_all_together(run, adv):
    began = time.monotonic()
    result = run(tcp("a", adv([Hang()])), tcp("b", adv([Hang()])), stable_for=0.3)
    assert not result["failed"] and time.monotonic() - began >= 0.3
    assert result["checks"]["a"]["attempts"] > 3


def test_a_bug_in_a_probe_surfaces(run, adv, monkeypatch):
    from ansible_collections.mlops.stack.plugins.module_utils._wait import _spec as _wait_spec

    def broken(_check, _net, _deadline):
        raise KeyError("a bug")

    monkeypatch.setitem(_wait_spec.KINDS, "tcp", _wait_spec.KINDS["tcp"]._replace(probe=broken))
    with pytest.raises(KeyError, match="a bug"):
        run(tcp("a", adv([Hang()])))


def test_probing_is_no_burden(run, adv, monkeypatch):
    """An attempt that takes 20 ms of CPU time is followed by a pause of ten times that."""
    from ansible_collections.mlops.stack.plugins.module_utils._net import _outcome as _wait_outcome
    from ansible_collections.mlops.stack.plugins.module_utils._wait import _spec as _wait_spec

    def busy(_check, _net, _deadline):
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass
        return _wait_outcome.transient("busy")

    monkeypatch.setitem(_wait_spec.KINDS, "tcp", _wait_spec.KINDS["tcp"]._replace(probe=busy))
    result = run(tcp("a", adv(listen=False)), timeout=1.0)
    assert 1 <= result["checks"]["a"]["attempts"] <= 6


def test_check_mode_probes_once_and_never_fails(run, adv, docker):
    docker.set(container(status="exited", exit_code=1))
    dead, alive = adv(listen=False), adv([Hang()])
    checks = [tcp("dead", dead), tcp("alive", alive), {"type": "docker", "name": "web", "container": "web"}]
    result = run(*checks, check_mode=True, docker_host=docker.host)
    assert not result["failed"] and result["reason"] == "pending" and result["elapsed"] < 2
    assert [result["checks"][name]["attempts"] for name in ("dead", "alive", "web")] == [1, 1, 1]
    assert "dead: last: refused" in result["msg"]
    assert run(tcp("alive", alive), check_mode=True)["reason"] == "ready"
    assert not run({"type": "docker", "name": "web", "container": "web"}, check_mode=True)["failed"]


def test_check_mode_does_not_wait_for_what_hangs(run, adv):
    checks = [{"type": "http", "name": "web", "url": adv([Hang()]).url}, tcp("dead", adv(listen=False))]
    result = run(*checks, check_mode=True, attempt_timeout=0.3)
    assert not result["failed"] and result["elapsed"] < 2 and codes(result, "web") == ["timeout"]
    assert result["checks"]["dead"]["attempts"] == 1


def test_a_limit_on_threads_slows_but_does_not_stop(run, adv, monkeypatch):
    server = adv(http(OK))
    start, started = threading.Thread.start, []

    def limited(thread):
        if thread.name == "probe" and started:
            raise RuntimeError("can't start new thread")
        started.extend([1] if thread.name == "probe" else [])
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    result = run(*[{"type": "http", "name": f"c{n}", "url": server.url} for n in range(5)])
    assert not result["failed"] and len(started) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_b45_a_signal_ends_the_wait_with_a_result(run, adv, later, number):
    before = signal.getsignal(number)
    later(0.3, os.kill, os.getpid(), number)
    result = run(tcp("dead", adv(listen=False)), timeout=30)
    assert result["failed"] and result["reason"] == "interrupted" and result["elapsed"] < 5
    assert signal.Signals(number).name in result["msg"] and result["checks"]["dead"]["timeline"][0]["code"] == "refused"
    assert signal.getsignal(number) == before


def test_b44_a_hung_resolver_does_not_hold_up_the_end(run, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: time.sleep(3) or [])
    result = run({"type": "tcp", "name": "a", "host": "hung.example", "port": 1}, timeout=0.3, attempt_timeout=5)
    assert result["reason"] == "timeout" and result["elapsed"] < 2


def test_b29_a_password_that_is_a_containers_name(run, docker, adv, tmp_path):
    """Ansible hides a no_log value everywhere in a result; a password from a file hides no names."""
    (tmp_path / "pw").write_text("airflow")
    docker.set(container("airflow", status="exited", exit_code=1))
    docker.logs["airflow"] = frames(b"login with airflow failed\n")
    server = adv([Read(b"PING\r\n"), b"-LOADING airflow\r\n"])
    check = {"type": "redis", "name": "airflow", "host": "127.0.0.1", "port": server.port, "container": "airflow"}
    result = run({**check, "password_file": str(tmp_path / "pw")}, docker_host=docker.host)
    shown = result["checks"]["airflow"]["container"]
    assert shown["name"] == "airflow" and result["failed_checks"] == ["airflow"]
    assert shown["log_tail"] == ["login with ******** failed"]


def test_no_secret_is_in_a_result(run, adv):
    secret = "correct-horse-battery"
    server = adv(http(reply(f'{{"echo": "{secret}"}}'.encode())))
    check = {"type": "http", "name": "web", "url": server.url, "json": [{"path": "echo", "value": "other"}]}
    for options in ({"username": "me", "password": secret}, {"headers": {"Authorization": f"Bearer {secret}"}}, {"headers": {"X-Api-Key": secret}}):
        result = run({**check, **options}, check_mode=True)
        assert secret not in json.dumps(result) and "********" in result["msg"]


def test_a_large_result_is_cut(run, adv):
    timeline = [{"at": n, "class": "transient", "code": f"c{n}", "detail": "x" * 300, "count": 1} for n in range(40)]
    shown = {"log_tail": ["y" * 1000] * 40, "health_log": []}
    checks = {f"c{n}": {"timeline": list(timeline), "container": {**shown}} for n in range(200)}
    result = cap({"checks": checks, "warnings": []})
    assert len(json.dumps(result)) <= 257 * 1024
    assert "old entries were left out" in result["warnings"][0]
    assert all(check["timeline"][-1]["code"] == "c39" for check in checks.values())


def test_a_small_result_is_left_alone():
    result = {"checks": {"a": {"timeline": [{"at": 1}] * 40}}, "warnings": []}
    assert cap(json.loads(json.dumps(result))) == result


# Slices


@pytest.fixture
def sliced(run):
    """Run a wait in slices as the action plugin does, with the state going through JSON."""

    def call(*checks, slice_seconds=0.15, between=None, **params):
        state, count = None, 0
        while True:
            result = json.loads(json.dumps(run(*checks, _slice=slice_seconds, _state=state, **params)))
            count += 1
            if result["finished"]:
                assert "_state" not in result
                return {**result, "slices": count}
            assert not result["failed"] and result["reason"] == "open"
            state = result["_state"]
            if between:
                between(count)

    return call


def test_a_wait_goes_on_from_slice_to_slice(sliced, adv):
    server = adv(http(UNAVAILABLE), http(OK), listen=False)
    result = sliced({"type": "http", "name": "web", "url": server.url}, between=lambda count: server.listen() if count == 2 else None)
    assert not result["failed"] and result["slices"] >= 3
    assert codes(result, "web") == ["refused", "http_status", "ok"]
    counts = [entry["count"] for entry in result["checks"]["web"]["timeline"]]
    assert sum(counts) == result["checks"]["web"]["attempts"] and 0.3 <= result["elapsed"] < 5


def test_the_deadline_is_one_over_all_slices(sliced, adv):
    result = sliced(tcp("dead", adv(listen=False)), timeout=0.6, between=lambda _n: time.sleep(0.1))
    assert result["reason"] == "timeout" and 0.6 <= result["elapsed"] < 2 and result["slices"] >= 2


def test_a_reboot_between_slices_keeps_the_time_waited(run, adv, monkeypatch):
    first = run(tcp("dead", adv(listen=False)), _slice=0.15)
    state = {**first["_state"], "boot": "another", "began": 10**9}
    second = run(tcp("dead", adv(listen=False)), timeout=0.4, _slice=10.0, _state=state)
    assert second["reason"] == "timeout" and 0.4 <= second["elapsed"] < 1.5


def test_suspects_ripen_over_slices(sliced, adv):
    result = sliced({"type": "http", "name": "web", "url": adv(http(FORBIDDEN)).url}, suspect_after=0.4)
    assert result["reason"] == "permanent" and result["slices"] >= 2 and result["elapsed"] >= 0.4


def test_stable_for_may_span_slices(sliced, adv):
    result = sliced(tcp("a", adv([Hang()])), stable_for=0.5)
    assert not result["failed"] and result["slices"] >= 3 and 0.5 <= result["elapsed"] < 3


def test_a_slice_shorter_than_an_attempt_still_gets_its_answer(sliced, adv):
    server = adv([Read(), lambda conn: time.sleep(0.3), OK])
    result = sliced({"type": "http", "name": "web", "url": server.url}, slice_seconds=0.1)
    assert not result["failed"] and result["checks"]["web"]["attempts"] == server.count == 1


def test_a_crash_between_two_slices_is_not_missed(sliced, docker, monkeypatch):
    monkeypatch.setattr(_probe_docker, "SETTLED", 0.5)
    started, again = time.time_ns() - 60 * SECOND, []
    docker.set(container(health="starting", policy="always", started=started))

    def crash(number):
        if number == 1:
            docker.emit(container(), "die", exitCode="7")
            again.append(time.time_ns())
            docker.set(container(health="starting", policy="always", restarts=1, started=again[0]))
            docker.emit(container(), "start")
        if number == 2:
            docker.set(container(health="healthy", policy="always", restarts=1, started=again[0]))
            docker.emit(container(), "health_status: healthy")

    result = sliced({"type": "docker", "name": "web", "container": "web", "state": "healthy"}, docker_host=docker.host, between=crash)
    assert not result["failed"] and result["slices"] >= 3
    shown = result["checks"]["web"]["container"]
    assert [one["code"] for one in shown["exits"]] == [7] and shown["restarts_seen"] == 1
    assert ("die", "exit code 7") in events(result, "web")


def test_unhealthy_grace_spans_slices(sliced, docker):
    docker.set(container(health="unhealthy", streak=3))
    check = {"type": "docker", "name": "web", "container": "web", "unhealthy_grace": "0.4"}
    result = sliced(check, docker_host=docker.host)
    assert result["reason"] == "permanent" and result["slices"] >= 2 and 0.4 <= result["elapsed"] < 2.5


def test_missing_grace_spans_slices(sliced, docker):
    result = sliced({"type": "docker", "name": "web", "container": "web", "missing_grace": 0.4}, docker_host=docker.host)
    assert result["reason"] == "permanent" and result["slices"] >= 2 and 0.4 <= result["elapsed"] < 2.5


def test_a_state_that_cannot_be_a_state_is_begun_anew(run, adv):
    assert not run(tcp("a", adv([Hang()])), _slice=5.0, _state={})["failed"]


def test_without_a_boot_id_the_time_waited_is_kept(run, adv, monkeypatch):
    monkeypatch.setattr(_wait_run, "BOOT_ID", "/nowhere")
    first = run(tcp("dead", adv(listen=False)), _slice=0.15)
    second = run(tcp("dead", adv(listen=False)), timeout=0.4, _slice=10.0, _state=first["_state"])
    assert 0.4 <= second["elapsed"] < 1.5 and threading.active_count() < 100
