"""wait_healthy and a real Docker Engine."""

from __future__ import annotations

import re
import time

import pytest
from wait_real import codes, exec_in, free_port, healthcheck, inspect, sh, until


def docker(name, **options):
    return {"type": "docker", "name": "c", "container": name, **options}


def shown(result, name="c"):
    return result["checks"][name]["container"]


FOREVER = "while :; do sleep 60; done"


def test_running_at_once(run, containers):
    name = containers.create("up", FOREVER)
    result = run(docker(name))
    assert not result["failed"] and result["checks"]["c"]["attempts"] == 1
    assert shown(result)["status"] == "running" and shown(result)["name"] == name


def test_b01_healthy_while_it_waits(run, containers, later):
    """Docker's own event ends the wait: within the second, where its probe interval is a third of one."""
    name = containers.create("h", FOREVER, *healthcheck("test -e /tmp/ok"))
    later(0.8, exec_in, name, "touch", "/tmp/ok")
    result = run(docker(name, state="healthy"))
    assert not result["failed"] and result["docker"]["events"] == "live"
    assert codes(result, "c")[-2:] == ["starting", "healthy"] or codes(result, "c")[-2:] == ["unhealthy", "healthy"]


def test_the_verdict_follows_the_event_closely(run, containers):
    """Between Docker's own stamp on the death and the verdict lie milliseconds; the bound is for a busy machine."""
    name = containers.create("quick", "sleep 1; exit 3")
    result = run(docker(name, stable_for=30.0), diagnostics_timeout=0.0)
    ended = time.time()
    assert result["reason"] == "permanent"
    finished = sh("docker", "inspect", "--format", "{{.State.FinishedAt}}", name)
    assert ended - float(sh("date", "-d", finished, "+%s.%N")) < 3.0


def test_b06_exit_with_policy_no(run, containers):
    name = containers.create("dies", "echo to stdout; echo to stderr >&2; sleep 1; exit 3")
    result = run(docker(name, stable_for=30.0), {"type": "tcp", "name": "port", "host": "127.0.0.1", "port": free_port(), "container": name})
    assert result["reason"] == "permanent" and result["elapsed"] < 10
    assert f"container {name} exited (3), restart policy 'no'" in result["msg"] and "to stdout" in result["msg"]
    assert sorted(line.split(" ", 1)[1] for line in shown(result)["log_tail"]) == ["to stderr", "to stdout"]
    assert [one["code"] for one in shown(result)["exits"]] == [3] and shown(result)["exit_code"] == 3


def test_b07_an_exit_before_the_wait(run, containers):
    name = containers.create("dead", "exit 3")
    until(lambda: inspect(name)["State"]["Status"] == "exited")
    result = run(docker(name))
    assert result["reason"] == "permanent" and result["elapsed"] < 5 and "exited (3)" in result["msg"]


def test_on_failure_is_exhausted(run, containers):
    name = containers.create("retry", "exit 7", "--restart", "on-failure:2")
    result = run(docker(name, stable_for=30.0))
    assert result["reason"] == "permanent" and "restart policy 'on-failure'" in result["msg"] and "exited (7)" in result["msg"]


def test_b08_one_shots(run, containers):
    good = containers.create("good", "sleep 0.5", "--restart", "on-failure")
    bad = containers.create("bad", "sleep 0.5; exit 1")
    assert not run(docker(good, state="exited"))["failed"]
    assert run(docker(bad, state="exited"))["reason"] == "permanent"
    assert not run(docker(bad, state="exited", exit_codes=[1]))["failed"]


def test_b34_one_that_removes_itself(run, containers):
    name = containers.create("rm", "sleep 1; exit 0", "--rm")
    assert not run(docker(name, state="exited"))["failed"]


def test_a_start_that_failed(run, containers):
    name = containers.create("typo", "true", "--entrypoint", "/no/such/program", check=False)
    result = run(docker(name))
    assert result["reason"] == "permanent" and "could not be started" in result["msg"] and "/no/such/program" in result["msg"]


def test_b09_one_crash_then_healthy(run, containers):
    script = f"if test -e /tmp/second; then touch /tmp/ok; {FOREVER}; fi; touch /tmp/second; sleep 1; exit 5"
    name = containers.create("once", script, "--restart", "always", *healthcheck("test -e /tmp/ok"))
    result = run(docker(name, state="healthy"))
    assert not result["failed"]
    assert shown(result)["restarts_seen"] == 1 and [one["code"] for one in shown(result)["exits"]] == [5]
    assert shown(result)["exit_code"] == 0 and result["elapsed"] > 10


def test_a_crash_loop_is_at_no_time_ready(run, containers):
    """Between two deaths inspect shows a running container: looked at while it restarts often, and later, when Docker pauses between."""
    name = containers.create("dying", "exit 7", "--restart", "always")
    until(lambda: inspect(name)["RestartCount"] > 0)
    result = run(docker(name, state="running"), timeout=20)
    restarts, codes = re.search(r"was restarted (\d+) times; exit codes: ([\d, ]+)", result["msg"]).groups()
    # One death fewer than restarts where the first look meets a dead container: it died before the wait.
    assert result["reason"] == "permanent" and int(restarts) > 3
    assert {*codes.split(", ")} == {"7"} and len(codes.split(", ")) >= int(restarts) - 1
    for _look in range(3):
        assert run(docker(name, state="running"), timeout=2)["failed"]


def test_a_crash_loop_with_a_healthcheck_is_at_no_time_ready(run, containers):
    name = containers.create("well", "sleep 0.8; exit 7", "--restart", "always", *healthcheck("true", interval="100ms"))
    until(lambda: inspect(name)["RestartCount"] > 0)
    assert run(docker(name, state="healthy"), timeout=20)["checks"]["c"]["failure"]["code"] == "restart_loop"


def test_a_restart_by_hand_is_ready_at_once(run, containers):
    name = containers.create("hand", f"test -e /tmp/second || {{ touch /tmp/second; exit 5; }}; {FOREVER}", "--restart", "always")
    until(lambda: inspect(name)["RestartCount"] == 1 and inspect(name)["State"]["Status"] == "running")
    assert "restarted" in codes(run(docker(name), timeout=1.0), "c")
    sh("docker", "restart", "--time", "0", name)
    result = run(docker(name))
    assert not result["failed"] and result["elapsed"] < 5


def test_b37_a_restart_loop(run, containers):
    script = "n=$(cat /tmp/n 2>/dev/null || echo 0); echo $((n + 1)) >/tmp/n; echo life $n; exit $((n + 1))"
    name = containers.create("loop", f"sleep 0.4; {script}", "--restart", "always")
    result = run(docker(name, stable_for=30.0), max_restarts=2)
    assert result["reason"] == "permanent" and "was restarted 3 times; exit codes: 1, 2, 3" in result["msg"]
    assert any("life" in line for line in shown(result)["log_tail"])


def test_b03_paused(run, containers, later):
    name = containers.create("pause", FOREVER, *healthcheck("test -e /tmp/ok"))
    sh("docker", "pause", name)
    later(1.0, sh, "docker", "unpause", name)
    later(1.3, exec_in, name, "touch", "/tmp/ok")
    result = run(docker(name, state="healthy"))
    assert not result["failed"] and "paused" in codes(result, "c")
    assert any("is paused" in text for text in result["warnings"])


def test_b04_genuinely_unhealthy(run, containers):
    name = containers.create("sick", FOREVER, *healthcheck("echo it hurts; false", retries=2))
    result = run(docker(name, unhealthy_grace="0.5"))
    assert result["reason"] == "permanent" and "it hurts" in result["msg"] and "unhealthy_grace is 0.5 s" in result["msg"]
    assert shown(result)["health_log"][-1]["output"] == "it hurts" and shown(result)["health"] == "unhealthy"


def test_b04_unhealthy_and_then_well(run, containers, later):
    name = containers.create("heals", FOREVER, *healthcheck("test -e /tmp/ok", interval="200ms", retries=1))
    until(lambda: inspect(name)["State"]["Health"]["Status"] == "unhealthy")
    later(0.5, exec_in, name, "touch", "/tmp/ok")
    assert not run(docker(name))["failed"]


def test_the_health_log_of_an_earlier_life_is_marked(run, containers):
    name = containers.create("lives", FOREVER, *healthcheck("echo probe; false", interval="300ms", retries=2))
    until(lambda: len(inspect(name)["State"]["Health"]["Log"]) >= 2)
    sh("docker", "restart", "--time", "0", name)
    result = run(docker(name, state="healthy", unhealthy_grace="0"))
    entries = shown(result)["health_log"]
    assert result["failed"] and any("before" in one for one in entries) and not all("before" in one for one in entries)


def test_no_healthcheck_is_told_with_its_fix(run, containers):
    result = run(docker(containers.create("plain", FOREVER), state="healthy"))
    assert result["reason"] == "permanent" and "use state: running" in result["msg"] and result["elapsed"] < 5


def test_a_log_driver_that_keeps_nothing(run, containers):
    name = containers.create("mute", "echo lost; exit 1", "--log-driver", "none")
    until(lambda: inspect(name)["State"]["Status"] == "exited")
    found = shown(run(docker(name)))
    assert found["log_tail"] == [] and "does not support reading" in found["log_error"]


def test_logs_of_a_terminal_and_long_lines(run, containers):
    tty = containers.create("tty", "echo on a terminal; exit 1", "--tty")
    long = containers.create("long", "yes xxxxxxxxxxxxxxx | head -c 2000000 | tr -d '\\n'; echo; echo the end; exit 1")
    until(lambda: {inspect(tty)["State"]["Status"], inspect(long)["State"]["Status"]} == {"exited"}, 20)
    result = run({**docker(tty), "name": "tty"}, {**docker(long), "name": "long"}, fail_fast=False)
    assert shown(result, "tty")["log_tail"][0].endswith("on a terminal")
    assert shown(result, "long")["log_tail"][-1].endswith("the end") and len(str(result)) < 256 * 1024


def test_b47_a_name_that_begins_alike(run, containers, later):
    web = containers.create("web", FOREVER, *healthcheck("test -e /tmp/ok"))
    other = containers.create("web-2", "sleep 0.7; exit 1")
    later(1.5, exec_in, web, "touch", "/tmp/ok")
    result = run(docker(web, state="healthy"))
    assert not result["failed"] and shown(result)["exits"] == []
    assert other not in str(result)


def test_b35_removed_while_it_waits(run, containers, later):
    name = containers.create("gone", FOREVER, *healthcheck("false", retries=100))
    later(0.7, sh, "docker", "rm", "--force", name)
    result = run(docker(name, state="healthy"))
    assert result["reason"] == "permanent" and ("was removed" in result["msg"] or "exited (137)" in result["msg"])


def test_b35_made_anew_under_its_name(run, containers, later):
    name = containers.create("again", FOREVER, *healthcheck("false", retries=100))

    def replace():
        sh("docker", "rm", "--force", name)
        containers.create("again", FOREVER, *healthcheck("true"))

    later(0.7, replace)
    first = inspect(name)["Id"][:12]
    result = run(docker(name, state="healthy", missing_grace=10.0, started_after=inspect(name)["State"]["StartedAt"]))
    assert not result["failed"] and shown(result)["id"] != first


def test_absent(run, containers, later):
    name = containers.create("leaves", FOREVER)
    later(0.7, sh, "docker", "rm", "--force", name)
    result = run(docker(name, state="absent"))
    assert not result["failed"] and codes(result, "c") == ["present", "absent"]


def test_b12_a_published_port_of_an_idle_container(run, containers, later):
    """Docker's forwarder accepts; nobody listens behind it, until somebody does."""
    port = free_port()
    name = containers.create("idle", "until test -e /tmp/go; do sleep 0.1; done; exec python3 -m http.server 80", "-p", f"127.0.0.1:{port}:80")
    check = {"type": "tcp", "name": "p", "host": "127.0.0.1", "port": port, "container": name}
    result = run(check, timeout=1.5)
    assert result["reason"] == "timeout" and set(codes(result, "p")) <= {"closed", "reset"}
    later(0.3, exec_in, name, "touch", "/tmp/go")
    assert not run(check)["failed"]


def test_b38_created_then_started(run, containers, later):
    port = free_port()
    name = containers.create("late", "exec python3 -m http.server 80", "-p", f"127.0.0.1:{port}:80", verb="create")
    later(0.7, sh, "docker", "start", name)
    assert not run({"type": "tcp", "name": "p", "host": "127.0.0.1", "port": port, "container": name})["failed"]


def test_a_project(run, containers):
    project = containers.prefix
    labels = ["--label", f"com.docker.compose.project={project}", "--label", "com.docker.compose.oneoff=False"]
    containers.create("a", FOREVER, *labels, "--label", "com.docker.compose.service=a")
    containers.create("b", "sleep 1; exit 4", *labels, "--label", "com.docker.compose.service=b")
    assert not run({"type": "docker", "name": "a", "project": project, "service": "a"})["failed"]
    result = run({"type": "docker", "name": "all", "project": project, "stable_for": 30.0})
    assert result["reason"] == "permanent" and f"container {project}-b exited (4)" in result["msg"]


@pytest.mark.parametrize("slices", [0.5])
def test_a_crash_is_seen_through_slices(run, containers, slices):
    script = f"if test -e /tmp/second; then sleep 1; touch /tmp/ok; {FOREVER}; fi; touch /tmp/second; sleep 1; exit 5"
    name = containers.create("sliced", script, "--restart", "always", *healthcheck("test -e /tmp/ok"))
    state = None
    while True:
        result = run(docker(name, state="healthy"), _slice=slices, _state=state)
        if result["finished"]:
            break
        state = result["_state"]
        time.sleep(0.3)
    assert not result["failed"] and [one["code"] for one in shown(result)["exits"]] == [5]


SMALL = ("--memory", "8m", "--memory-swap", "8m")


def test_out_of_memory_is_labelled(run, containers):
    name = containers.create("oom", "sleep 1; exec tail /dev/zero", *SMALL)
    result = run(docker(name, stable_for=30.0))
    assert result["reason"] == "permanent" and "exited (137, out of memory)" in result["msg"]
    assert [(one["code"], one["oom"]) for one in shown(result)["exits"]] == [(137, True)]


def test_a_child_that_runs_out_of_memory_is_no_death(run, containers):
    name = containers.create("child", f"sleep 0.7; tail /dev/zero; touch /tmp/ok; {FOREVER}", *SMALL, *healthcheck("test -e /tmp/ok"))
    result = run(docker(name, state="healthy"))
    assert not result["failed"] and shown(result)["exits"] == [] and shown(result)["status"] == "running"
