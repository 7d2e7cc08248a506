"""Waits against a daemon whose events, inspects and failures the test times itself."""

from __future__ import annotations

import errno
import socket
import threading
import time

from ansible_collections.mlops.stack.plugins.module_utils._docker import _watch as _docker_watch
from ansible_collections.mlops.stack.plugins.module_utils._probe import _docker as _probe_docker
from wait_fake_docker import SECOND, FakeDocker, check, container, frames, shown
from wait_servers import codes, events


def test_a_healthy_container_takes_one_look(wait, docker):
    docker.set(container(health="healthy"))
    result = wait(check())
    assert not result["failed"] and result["elapsed"] < 0.5
    assert result["docker"]["api"] == "1.41"
    assert shown(result)["status"] == "running" and shown(result)["health"] == "healthy" and shown(result)["image"] == "image"


def test_it_is_the_event_that_ends_the_wait(wait, docker):
    docker.set(container(health="starting"))
    healthy = container(health="healthy")
    told = []

    def turn_healthy():
        told.append(time.monotonic())
        docker.change(healthy, "health_status: healthy")

    docker.then(turn_healthy)
    result = wait(check(state="healthy"))
    assert not result["failed"] and time.monotonic() - told[0] < 1.0
    assert codes(result, "web") == ["starting", "healthy"]
    assert ("health_status", "healthy") in events(result, "web")


def test_b01_the_gap_between_headers_and_subscription(wait, docker, later):
    """The daemon flushes the stream's headers before it subscribes; what happens between must not be lost."""
    docker.set(container(health="starting"))
    docker.register.clear()

    def in_the_gap():
        assert docker.headers_sent.wait(5)
        # The inspect that the headers cause has seen the old state by now.
        seen = sum("/json" in one for one in docker.requests)
        while sum("/json" in one for one in docker.requests) < max(seen, 2):
            time.sleep(0.005)
        time.sleep(0.1)
        docker.change(container(health="healthy"), "health_status: healthy")
        told.append(time.monotonic())
        docker.register.set()

    told = []
    later(0.0, in_the_gap)
    result = wait(check(state="healthy"))
    assert not result["failed"] and time.monotonic() - told[0] < 1.0
    assert result["docker"]["gaps"] == 0


def test_the_stream_is_asked_for_before_now(wait, docker):
    docker.set(container(health="starting"))
    docker.then(docker.change, container(health="healthy"), "health_status: healthy")
    wait(check(state="healthy"))
    assert time.time() - 4 < float(docker.streams[0]) < time.time() - 1


def test_b06_an_exit_is_reported_at_once(wait, docker):
    docker.set(container())
    docker.logs["web"] = frames(b"2025 starting\n", b"2025 fatal: no config\n")
    told = []

    def crash():
        told.append(time.monotonic())
        docker.change(container(status="exited", exit_code=3), "die", exitCode="3")

    docker.then(crash)
    result = wait(check(stable_for=60))
    assert result["reason"] == "permanent" and time.monotonic() - told[0] < 1.0
    assert "container web exited (3), restart policy 'no'" in result["msg"] and "2025 fatal: no config" in result["msg"]
    assert shown(result)["exit_code"] == 3 and shown(result)["log_tail"][-1] == "2025 fatal: no config"
    assert ("die", "exit code 3") in events(result, "web")


def test_b05_b10_the_rule_that_fired_is_named(wait, docker):
    docker.set(container(health="unhealthy", streak=3, log=[{"Start": "2024-01-01T00:00:00Z", "ExitCode": 1, "Output": "nope"}]))
    result = wait(check(unhealthy_grace="0.3"), timeout=30)
    assert result["reason"] == "permanent" and 0.3 <= result["elapsed"] < 2
    assert "unhealthy_grace is 0.3 s" in result["msg"] and "nope" in result["msg"]
    assert shown(result)["health_log"] == [{"start": "2024-01-01T00:00:00Z", "exit_code": 1, "output": "nope", "before": True}]


def test_b04_unhealthy_then_healthy_passes(wait, docker):
    docker.set(container(health="unhealthy", streak=3))
    docker.then(docker.change, container(health="healthy"), "health_status: healthy")
    assert not wait(check())["failed"]


def test_b08_one_shots(wait, docker):
    docker.set(container("ok", status="exited", exit_code=0))
    docker.set(container("bad", status="exited", exit_code=1))
    docker.set(container("job"))
    assert not wait(check("ok", state="exited"))["failed"]
    assert wait(check("bad", state="exited"))["reason"] == "permanent"
    docker.then(lambda: docker.change(container("job", status="exited"), "die", exitCode="0"))
    result = wait(check("job", state="exited"))
    assert not result["failed"] and codes(result, "job") == ["running", "exited"]


def test_b09_one_crash_is_remembered_but_forgiven(wait, docker, monkeypatch):
    monkeypatch.setattr(_probe_docker, "SETTLED", 1.5)
    started = time.time_ns() - 60 * SECOND
    docker.set(container(health="starting", policy="always", started=started))

    def crash():
        docker.change(container(health="unhealthy", streak=1, status="restarting", exit_code=5, started=started), "die", exitCode="5")
        time.sleep(0.1)
        again = time.time_ns()
        docker.change(container(health="starting", restarts=1, started=again), "start")
        time.sleep(0.1)
        docker.change(container(health="healthy", restarts=1, started=again), "health_status: healthy")

    docker.then(crash)
    result = wait(check(state="healthy"))
    assert not result["failed"]
    assert shown(result)["restarts_seen"] == 1 and [one["code"] for one in shown(result)["exits"]] == [5]
    assert ("die", "exit code 5") in events(result, "web")


def test_a_crash_breaks_stable_for_although_every_look_sees_it_running(wait, docker):
    inspect = docker.set(container(policy="always"))
    crashed = []

    def crash():
        crashed.append(time.monotonic())
        docker.emit(inspect, "die", exitCode="1")
        docker.emit(inspect, "start")

    docker.then(crash)
    result = wait(check(stable_for=0.4))
    assert not result["failed"] and time.monotonic() - crashed[0] >= 0.4


def test_b37_a_restart_loop_fails_with_all_exit_codes(wait, docker):
    started = time.time_ns() - 60 * SECOND
    docker.set(container(health="starting", policy="always", started=started))
    docker.logs["web"] = frames(b"last words\n")

    def loop():
        docker.wait_subscribed()
        for life in range(1, 10):
            docker.emit(container(), "die", exitCode=str(life))
            time.sleep(0.03)
            docker.change(container(health="starting", restarts=life, started=time.time_ns()), "start")
            time.sleep(0.03)

    docker.then(loop)
    result = wait(check(state="healthy"), max_restarts=3)
    assert result["reason"] == "permanent" and "was restarted 4 times; exit codes: 1, 2, 3, 4" in result["msg"]
    assert "4 restarts since the wait began" in result["msg"]
    assert "last words" in result["msg"]
    assert shown(result)["exit_code"] == 0


def test_b10_a_daemon_that_hangs(wait, docker):
    docker.hang.set()
    result = wait(check(), timeout=0.7, attempt_timeout=0.3, diagnostics_timeout=0.3)
    assert result["reason"] == "timeout" and result["elapsed"] < 2.5
    assert result["checks"]["web"]["last"]["code"] == "docker_timeout"


def test_a_daemon_that_hangs_later_still_ends(wait, docker):
    docker.set(container(health="starting"))
    docker.then(docker.hang.set)
    began = time.monotonic()
    result = wait(check(state="healthy"), timeout=1.0, attempt_timeout=0.3, diagnostics_timeout=0.4)
    assert result["reason"] == "timeout" and time.monotonic() - began < 3.0
    assert "could not be read" in (shown(result)["log_error"] or "") or "no answer in time" in shown(result)["log_error"]


def test_no_daemon_is_suspect(run, tmp_path):
    result = run(check(), docker_host=f"unix://{tmp_path}/none.sock", suspect_after=0.3, timeout=20)
    assert result["reason"] == "permanent" and result["elapsed"] < 3
    assert "is the Docker Engine running?" in result["msg"] and result["docker"]["api"] is None


def test_a_daemon_that_starts_late(run, tmp_path, later, request):
    path = str(tmp_path / "late.sock")

    def start():
        fake = FakeDocker(path)
        request.addfinalizer(fake.close)
        fake.set(container())

    later(0.8, start)
    result = run(check(), docker_host=f"unix://{path}")
    assert codes(result, "web") == ["docker_unreachable", "running"]


def test_permission_denied_is_permanent(wait, docker, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect_ex", lambda _self, _address: errno.EACCES)
    result = wait(check())
    assert result["reason"] == "permanent" and "docker group" in result["msg"] and result["elapsed"] < 1


def test_a_daemon_that_answers_500_is_suspect(wait, docker, later):
    docker.set(container())
    docker.fail_status = 500
    later(0.8, setattr, docker, "fail_status", 0)
    result = wait(check())
    assert codes(result, "web") == ["docker_error", "running"]
    assert "the daemon is unwell" in result["checks"]["web"]["timeline"][0]["detail"]


def test_a_lost_event_is_made_up_for_by_the_safety_inspect(wait, docker, monkeypatch):
    monkeypatch.setattr(_docker_watch, "SAFETY", 0.4)
    docker.set(container(health="starting"))
    docker.then(docker.lose, container(health="healthy"))
    result = wait(check(state="healthy"))
    assert not result["failed"] and result["docker"]["events"] == "live" and result["elapsed"] < 3


def test_without_a_stream_containers_are_polled(wait, docker, later):
    docker.refuse_events = True
    docker.set(container(health="starting"))
    later(0.8, docker.lose, container(health="healthy"))
    result = wait(check(state="healthy"))
    assert not result["failed"] and result["docker"]["events"] == "polling" and result["elapsed"] < 2


def test_a_cut_stream_is_reopened_where_it_broke(wait, docker):
    inspect = docker.set(container(health="starting"))

    def cut_twice():
        for _cut in range(2):
            docker.wait_subscribed()
            docker.emit(inspect, "health_status: starting")
            time.sleep(0.05)
            docker.cut_streams()
            time.sleep(0.15)
        docker.wait_subscribed()
        docker.change(container(health="healthy"), "health_status: healthy")

    docker.then(cut_twice)
    result = wait(check(state="healthy"))
    assert not result["failed"] and result["docker"]["gaps"] == 2
    first, second, third = docker.streams[:3]
    assert float(first) < float(second) < float(third)
    assert second == "%d.%09d" % divmod(docker.ring[0]["timeNano"], SECOND)


def test_an_event_in_the_gap_of_a_cut_stream_is_replayed(wait, docker, monkeypatch):
    monkeypatch.setattr(_probe_docker, "SETTLED", 0.5)
    inspect = docker.set(container(health="starting", policy="always"))

    def crash_unseen():
        docker.wait_subscribed()
        docker.register.clear()
        docker.cut_streams()
        docker.emit(inspect, "die", exitCode="9")
        docker.change(container(health="healthy", restarts=1, started=time.time_ns()), "start")
        time.sleep(0.1)
        docker.register.set()

    docker.then(crash_unseen)
    result = wait(check(stable_for=0.5))
    assert not result["failed"] and [one["code"] for one in shown(result)["exits"]] == [9]


def test_a_crash_during_the_first_look_is_not_missed(wait, docker, monkeypatch):
    """The first inspect shows the life before; its answer comes after the events of the crash."""
    monkeypatch.setattr(_probe_docker, "SETTLED", 0.5)
    old = container(health="starting", policy="always")
    crashed, again = threading.Event(), []

    def slow_look():
        if not crashed.is_set():
            docker.wait_subscribed()
            docker.emit(old, "die", exitCode="6")
            docker.emit(old, "start")
            again.append(time.time_ns())
            time.sleep(0.2)
            crashed.set()
            return old
        return container(health="healthy", policy="always", restarts=1, started=again[0])

    docker.containers["web"] = slow_look
    result = wait(check(state="healthy"))
    assert not result["failed"] and [one["code"] for one in shown(result)["exits"]] == [6]


def test_b47_web_and_web_2(wait, docker):
    docker.set(container("web", health="starting"))
    other = container("web-2")
    docker.set(other)

    def both():
        docker.change(container("web-2", status="exited", exit_code=1), "die", exitCode="1")
        docker.change(container("web", health="healthy"), "health_status: healthy")

    docker.then(both)
    result = wait(check("web", state="healthy"))
    assert not result["failed"] and events(result, "web") == [("health_status", "healthy")]
    assert not any("web-2/json" in one for one in docker.requests)


def test_b34_a_container_that_comes_later(wait, docker):
    docker.then(lambda: docker.change(container(), "start"))
    result = wait(check(missing_grace=5))
    assert codes(result, "web") == ["missing", "running"]
    assert wait(check("nothing"))["elapsed"] < 1


def test_b35_a_destroyed_container_fails(wait, docker):
    inspect = docker.set(container(health="starting"))

    def destroy():
        docker.wait_subscribed()
        docker.containers.clear()
        docker.emit(inspect, "destroy")

    docker.then(destroy)
    result = wait(check(state="healthy"))
    assert result["reason"] == "permanent" and "container web was removed" in result["msg"] and result["elapsed"] < 2


def test_b35_or_is_found_again_under_its_name(wait, docker):
    inspect = docker.set(container(health="starting", identity="a" * 64))

    def recreate():
        docker.wait_subscribed()
        docker.containers.clear()
        docker.emit(inspect, "destroy")
        time.sleep(0.2)
        docker.change(container(health="healthy", identity="b" * 64), "start")

    docker.then(recreate)
    result = wait(check(state="healthy", missing_grace=5))
    assert not result["failed"] and codes(result, "web") == ["starting", "missing", "healthy"]
    assert shown(result)["id"] == "b" * 12


def test_b36_started_after_refuses_the_old_one(wait, docker):
    docker.set(container(health="healthy", identity="a" * 64))
    limit = time.time()
    docker.then(lambda: docker.change(container(health="healthy", identity="b" * 64, started=time.time_ns()), "start"))
    result = wait(check(started_after=str(limit)))
    assert codes(result, "web") == ["stale", "healthy"] and shown(result)["id"] == "b" * 12
