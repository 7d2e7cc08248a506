"""Linked checks, projects, and what a failure shows of a container, against a daemon that the test moves."""

from __future__ import annotations

import time

import pytest
from wait_fake_docker import SECOND, FakeDocker, check, container, frames, shown
from wait_servers import OK, UNAVAILABLE, Hang, codes, http


def test_b38_the_link_fails_a_check_with_its_container(wait, docker, adv):
    server = adv(listen=False)
    docker.set(container())
    docker.logs["web"] = frames(b"boom\n")
    docker.then(lambda: docker.change(container(status="exited", exit_code=3), "die", exitCode="3"))
    result = wait({"type": "http", "name": "api", "url": server.url, "container": "web"})
    assert result["reason"] == "permanent" and result["elapsed"] < 2
    assert result["failed_checks"] == ["api"]
    assert "api: container web exited (3), restart policy 'no'; last: refused: connect to" in result["msg"] and "boom" in result["msg"]
    assert result["checks"]["api"]["container"]["exits"][0]["code"] == 3


def test_b38_created_is_not_an_exit(wait, docker, adv):
    server = adv(http(OK), listen=False)
    docker.set(container(status="created"))
    docker.then(lambda: (server.listen(), docker.change(container(), "start")))
    assert not wait({"type": "http", "name": "api", "url": server.url, "container": "web"})["failed"]


def test_a_link_that_never_started_fails(wait, docker, adv):
    docker.set(container(status="created", error="port is already allocated", exit_code=127))
    result = wait({"type": "http", "name": "api", "url": adv(listen=False).url, "container": "web"})
    assert result["reason"] == "permanent" and "port is already allocated" in result["msg"]


def test_another_service_on_the_port_does_not_pass_for_a_dead_container(wait, docker, adv):
    docker.set(container(status="exited", exit_code=1))
    result = wait({"type": "http", "name": "api", "url": adv(http(OK)).url, "container": "web"})
    assert result["reason"] == "permanent"


def test_without_docker_a_link_is_only_a_warning(run, adv):
    check = {"type": "http", "name": "api", "url": adv(http(OK)).url, "container": "web"}
    result = run(check)
    assert not result["failed"] and "api: container web was not looked at" in result["warnings"][0]


def test_an_event_of_the_container_wakes_its_check(wait, docker, adv):
    server = adv(http(UNAVAILABLE))
    docker.set(container())
    slow = {"min": 5, "max": 5}

    def up():
        docker.wait_subscribed()
        server.scripts = [http(OK)]
        docker.emit(container(), "health_status: healthy")

    docker.then(up)
    result = wait({"type": "http", "name": "api", "url": server.url, "container": "web"}, interval=slow)
    assert not result["failed"] and result["elapsed"] < 3


def test_an_absent_check_does_not_mind_the_death_of_its_container(wait, docker, adv):
    server = adv([Hang()])
    docker.set(container())

    def down():
        server.close()
        docker.change(container(status="exited", exit_code=1), "die", exitCode="1")

    docker.then(down)
    result = wait({"type": "tcp", "name": "p", "state": "absent", "host": "127.0.0.1", "port": server.port, "container": "web"})
    assert not result["failed"]


LABELS = {"com.docker.compose.project": "mlops", "com.docker.compose.oneoff": "False"}


def member(name, service, **options):
    return container(name, labels={**LABELS, "com.docker.compose.service": service}, **options)


def test_a_project_is_all_of_its_containers(wait, docker):
    docker.set(member("mlops-a-1", "a", health="healthy"))
    docker.set(member("mlops-b-1", "b", health="starting"))
    docker.set(container("stranger", status="exited", exit_code=1))
    docker.then(lambda: docker.change(member("mlops-b-1", "b", health="healthy"), "health_status: healthy"), looks=4)
    result = wait({"type": "docker", "name": "all", "project": "mlops"})
    assert not result["failed"] and codes(result, "all") == ["starting", "healthy"]
    assert [one["name"] for one in result["checks"]["all"]["containers"]] == ["mlops-a-1", "mlops-b-1"]
    assert not wait({"type": "docker", "name": "a", "project": "mlops", "service": "a"})["failed"]


def test_one_dead_container_fails_its_project(wait, docker):
    docker.set(member("mlops-a-1", "a", health="starting"))
    docker.set(member("mlops-b-1", "b"))
    docker.logs["mlops-b-1"] = frames(b"b says bye\n")
    docker.then(lambda: docker.change(member("mlops-b-1", "b", status="exited", exit_code=4), "die", exitCode="4"), looks=4)
    result = wait({"type": "docker", "name": "all", "project": "mlops"})
    assert result["reason"] == "permanent" and "container mlops-b-1 exited (4)" in result["msg"] and "b says bye" in result["msg"]


def test_a_project_without_containers(wait, docker):
    result = wait({"type": "docker", "name": "none", "project": "nothing"})
    assert result["reason"] == "permanent" and "nothing" in result["msg"]


def test_paused_is_a_warning(wait, docker):
    docker.set(container(status="paused"))
    result = wait(check(), check_mode=True)
    assert "web: container web is paused" in result["warnings"] and "container web is paused" in result["msg"]


def test_b02_an_incomplete_first_inspect(wait, docker):
    early = container(healthcheck={"Test": ["CMD", "x"]})
    answers = iter([{**early, "NetworkSettings": None}])
    docker.containers["web"] = lambda: next(answers, container(health="healthy"))
    result = wait(check(state="healthy"))
    assert not result["failed"] and codes(result, "web") == ["starting", "healthy"]


def test_the_api_version_is_negotiated(run, tmp_path, request):
    for number, (offers, floor, wanted) in enumerate([("1.41", "1.12", "1.41"), ("1.99", "1.44", "1.45"), ("1.99", "1.60", "1.60")]):
        fake = FakeDocker(str(tmp_path / f"{number}.sock"), api=offers, minimum=floor)
        request.addfinalizer(fake.close)
        fake.content_type = False
        fake.set(container())
        result = run(check(), docker_host=fake.host)
        assert not result["failed"] and f"/v{wanted}/containers/web/json" in fake.requests


def test_podman_waits_for_its_restart(wait, docker):
    docker.server = "Libpod/4.3.1 (linux)"
    docker.set(container(status="exited", exit_code=1, policy="always"))
    docker.then(lambda: docker.change(container(policy="always", restarts=1, started=time.time_ns() - 20 * SECOND), "start"))
    result = wait(check())
    assert codes(result, "web") == ["restarting", "running"]


LOGS = {
    "frames": (frames(b"one\n", b"two\n", stream=2), False, ["one", "two"]),
    "a line in two frames": (frames(b"on", b"e\ntwo\n"), False, ["one", "two"]),
    "tty": (b"one\r\ntwo\r\n", True, ["one", "two"]),
    "not UTF-8": (frames(b"caf\xe9\n"), False, ["caf\ufffd"]),
    "empty": (b"", False, []),
    "frame cut short": (frames(b"one\n") + b"\x01\0\0\0\0\0\0\x09tw", False, ["one", "tw"]),
}


@pytest.mark.parametrize("case", LOGS.values(), ids=LOGS)
def test_logs(wait, docker, case):
    raw, tty, wanted = case
    docker.set(container(status="exited", exit_code=1, tty=tty))
    docker.logs["web"] = raw
    assert shown(wait(check()))["log_tail"] == wanted


def test_a_log_that_cannot_be_read(wait, docker):
    docker.set(container(status="exited", exit_code=1))
    docker.logs["web"] = 501
    found = shown(wait(check()))
    assert found["log_tail"] == [] and "does not support reading" in found["log_error"]


def test_b46_a_huge_log_is_bounded(wait, docker):
    docker.set(container(status="exited", exit_code=1))
    docker.logs["web"] = frames(b"x" * 8 * 1024 * 1024 + b"\n")
    result = wait(check())
    assert len("".join(shown(result)["log_tail"])) <= 1000 and not docker.log_read_whole


def test_b46_health_outputs_are_bounded(wait, docker):
    log = [{"Start": "2099-01-01T00:00:00Z", "ExitCode": 1, "Output": "y" * 5000}] * 9
    docker.set(container(status="exited", exit_code=1, health="unhealthy", log=log))
    found = shown(wait(check()))["health_log"]
    assert len(found) == 5 and all(len(one["output"]) == 1024 for one in found)


def test_the_environment_of_a_container_is_not_shown(wait, docker):
    docker.set(container(status="exited", exit_code=1))
    assert "abcdefgh" not in str(wait(check()))


def test_log_lines_are_redacted(wait, docker):
    docker.set(container(status="exited", exit_code=1))
    docker.logs["web"] = frames(b"dsn=postgres://me:hunter22@db/x password=swordfish my-own-thing\n")
    result = wait(check(), redact=["my-(?P<secret>own)-thing"])
    assert shown(result)["log_tail"] == ["dsn=postgres://me:********@db/x password=******** my-********-thing"]


def test_a_docker_event_that_is_none(wait, docker):
    """Lines that are no container events are passed over."""
    docker.set(container(health="starting"))

    def noise():
        docker.wait_subscribed()
        for subscriber in docker._subscribers:
            subscriber.put({"Type": "network"})
            subscriber.put(["nonsense"])
        docker.change(container(health="healthy"), "health_status: healthy")

    docker.then(noise)
    assert not wait(check(state="healthy"))["failed"]
