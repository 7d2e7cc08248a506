"""What a person reads when a wait has failed."""

from __future__ import annotations

import re

import pytest
from wait_fake_docker import check, container, frames
from wait_servers import http, reply


def lines(result):
    return [" ".join(line.split()) for line in result["msg"].splitlines()]


def test_a_death_is_told_with_its_code_and_log(run, docker):
    docker.set(container(status="exited", exit_code=3))
    docker.logs["web"] = frames(b"starting\n", b"no config\n")
    result = run(check(), docker_host=docker.host)
    assert re.sub(r"after \d+\.\d s", "after T s", result["msg"]).splitlines() == [
        "1 of 1 checks failed after T s: web: container web exited (3), restart policy 'no'",
        "  attempts  1, the last after T s",
        "  container web (image) exited, exit code 3",
        "  log       starting",
        "            no config",
        "  next      docker logs --tail 100 web",
    ]
    shown = result["checks"]["web"]
    assert shown["cause"] == "container web exited (3), restart policy 'no'" and shown["next"] == "docker logs --tail 100 web"


def test_an_unhealthy_container_is_told_with_its_last_health_output(run, docker):
    log = [{"Start": "2020-01-01T00:00:00Z", "ExitCode": 1, "Output": "old life"}]
    log += [{"Start": "2099-01-01T00:00:00Z", "ExitCode": 22, "Output": "curl: (22) 503\nbody"}]
    docker.set(container(health="unhealthy", streak=9, log=log))
    result = run(check(unhealthy_grace="0"), docker_host=docker.host)
    told = lines(result)
    assert "health exit code 22: curl: (22) 503" in told and "body" in told and "old life" not in result["msg"]
    assert told[-1] == "next docker inspect --format '{{json .State.Health}}' web"


def test_checks_of_one_container_are_told_together(run, docker, adv):
    docker.set(container(status="exited", exit_code=1))
    docker.logs["web"] = frames(b"once\n")
    port = adv(listen=False)
    linked = [{"type": "tcp", "name": name, "host": "127.0.0.1", "port": port.port, "container": "web"} for name in ("a", "b")]
    result = run(*linked, fail_fast=False, docker_host=docker.host)
    assert lines(result)[0].endswith(": a, b")
    assert result["msg"].count("once") == 1 and result["msg"].count("docker logs") == 1
    assert all(f"{name}: container web exited (1)" in result["msg"] for name in ("a", "b"))


def test_what_a_failed_check_needs_is_told_after_it(run, docker, adv):
    docker.set(container())
    docker.set(container("proxy"))
    docker.logs["web"], docker.logs["proxy"] = frames(b"no database\n"), frames(b"key refused\n")
    port = adv(listen=False)
    server = {"type": "tcp", "name": "server", "host": "127.0.0.1", "port": port.port, "container": "web", "needs": ["proxy", "not here"]}
    result = run(server, check(name="proxy", container="proxy", state="running"), docker_host=docker.host, timeout=1.0)
    assert result["failed_checks"] == ["server"] and result["checks"]["proxy"]["state"] == "ready"
    told = lines(result)
    assert told.index("log no database") < told.index("container proxy (image) running") < told.index("log key refused")


def test_many_failures_are_named_and_the_first_told(run, adv):
    dead = adv(listen=False)
    result = run(*[{"type": "tcp", "name": f"c{n}", "host": "127.0.0.1", "port": dead.port} for n in range(12)], timeout=0.2)
    assert result["msg"].count("nc -vz 127.0.0.1") == 5
    assert lines(result)[-1] == "the causes of 7 more are in the result: c5, c6, c7, c8, c9, c10, c11"


@pytest.mark.parametrize(
    ("options", "command"),
    [
        ({"type": "http", "url": "http://127.0.0.1:1/a?token=x", "headers": {"Host": "mlflow:5000"}},
         "curl --verbose --max-time 5 --header 'Host: mlflow:5000' http://127.0.0.1:1/a"),
        ({"type": "http", "url": "http://127.0.0.1:1/a%20b", "method": "HEAD"},
         "curl --verbose --max-time 5 --request HEAD http://127.0.0.1:1/a%20b"),
        ({"type": "tcp", "host": "127.0.0.1", "port": 1}, "nc -vz 127.0.0.1 1"),
        ({"type": "postgres", "host": "127.0.0.1", "port": 1}, "pg_isready --host 127.0.0.1 --port 1"),
        ({"type": "redis", "host": "127.0.0.1", "port": 1}, "redis-cli -h 127.0.0.1 -p 1 ping"),
    ],
)  # fmt: skip
def test_the_next_command_without_a_container(run, options, command):
    result = run({"name": "x", **options}, timeout=0.1)
    assert result["checks"]["x"]["next"] == command and lines(result)[-1] == f"next {command}"


def test_the_next_command_for_a_missing_container(run, docker):
    result = run(check(), docker_host=docker.host)
    assert result["checks"]["web"]["next"] == "docker ps --all --filter 'name=^/?web$'"
    result = run({"type": "docker", "name": "p", "project": "shop", "service": "db"}, timeout=0.2, docker_host=docker.host)
    assert result["checks"]["p"]["next"] == (
        "docker ps --all --filter label=com.docker.compose.project=shop --filter label=com.docker.compose.service=db"
    )


def test_the_next_command_without_an_engine(run):
    result = run(check(), timeout=0.2)
    assert result["checks"]["web"]["next"] == "docker info"


def test_a_check_that_holds_has_neither_cause_nor_command(run, adv):
    result = run({"type": "http", "name": "web", "url": adv(http(reply(b"ok"))).url})
    assert "cause" not in result["checks"]["web"] and "next" not in result["checks"]["web"]
