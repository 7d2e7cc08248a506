"""The module as Ansible runs it: a process of its own that reads arguments and prints one JSON document."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from wait_fake_docker import container
from wait_servers import OK, Hang, Read, http, reply

COLLECTIONS = pathlib.Path(__file__).resolve().parents[3] / ".collections"
NAME = "ansible_collections.mlops.stack.plugins.modules.wait_healthy"
# What Ansible's wrapper does with the arguments; the profile is asked for by ansible-core 2.19 and newer.
DRIVER = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
{before}
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.argv[2].encode()
basic._ANSIBLE_PROFILE = "legacy"
runpy.run_module({name!r}, run_name="__main__")
"""


@pytest.fixture
def start(request):
    def call(before="", environment=None, **arguments):
        document = json.dumps({"ANSIBLE_MODULE_ARGS": {"timeout": 10, **arguments}})
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER.format(before=before, name=NAME), str(COLLECTIONS), document],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
            text=True,
        )
        request.addfinalizer(lambda: end(process))
        return process

    return call


def end(process):
    process.kill()
    with process:
        pass


def result_of(process, timeout=30):
    out, err = process.communicate(timeout=timeout)
    assert not err, err
    assert len(out.strip().splitlines()) == 1, out
    return json.loads(out)


def test_success(start, adv):
    process = start(checks=[{"type": "http", "name": "web", "url": adv(http(OK)).url}])
    result = result_of(process)
    assert process.returncode == 0
    assert result["changed"] is False and not result.get("failed") and result["reason"] == "ready"
    assert result["msg"].startswith("the check holds after") and "finished" not in result


def test_b48_a_failure_is_not_a_change(start, adv):
    process = start(checks=[{"type": "tcp", "host": "127.0.0.1", "port": adv(listen=False).port}], timeout=0.5)
    result = result_of(process)
    assert process.returncode == 1 and result["failed"] is True and result["changed"] is False
    assert result["reason"] == "timeout" and result["msg"].startswith("1 of 1 checks not ready after")


def test_bad_arguments_name_every_problem(start):
    result = result_of(start(checks=[{"type": "tcp", "host": "a", "port": 0}, {"type": "http", "url": "nonsense"}]))
    assert result["failed"] and "port 0" in result["msg"] and "'nonsense'" in result["msg"]
    assert result_of(start())["msg"].startswith("there are 0 checks, wanted 1 to 200")


def test_b45_sigterm_gives_a_result_with_what_was_seen(start, adv):
    server = adv(http(b"HTTP/1.1 503 Wait\r\nContent-Length: 0\r\n\r\n"))
    process = start(checks=[{"type": "http", "name": "web", "url": server.url}], timeout=60)
    end = time.monotonic() + 20
    while server.count < 3 and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    result = result_of(process)
    assert result["failed"] and result["reason"] == "interrupted" and "SIGTERM" in result["msg"]
    assert result["checks"]["web"]["timeline"][0]["code"] == "http_status"


def test_b44_a_hung_resolver_does_not_keep_the_process(start):
    hang = "import socket, time\nreal = socket.getaddrinfo\nsocket.getaddrinfo = lambda *a: time.sleep(30) if a[0] == 'hung.example' else real(*a)"
    began = time.monotonic()
    result = result_of(start(before=hang, checks=[{"type": "tcp", "host": "hung.example", "port": 1}], timeout=1))
    assert result["reason"] == "timeout" and time.monotonic() - began < 10


def test_b10_a_docker_socket_that_hangs_does_not_keep_the_process(start, docker):
    docker.hang.set()
    began = time.monotonic()
    check = {"type": "docker", "container": "web"}
    result = result_of(start(checks=[check], timeout=1, attempt_timeout=0.5, docker_host=docker.host))
    assert result["reason"] == "timeout" and time.monotonic() - began < 10


def test_docker_host_comes_from_the_environment(start, docker):
    docker.set(container())
    result = result_of(start(environment={"DOCKER_HOST": docker.host}, checks=[{"type": "docker", "container": "web"}]))
    assert result["reason"] == "ready" and result["docker"]["api"] == "1.41"


def test_warnings_are_ansibles(start, docker):
    docker.set(container(status="paused"))
    check = {"type": "docker", "container": "web", "name": "w"}
    result = result_of(start(checks=[check], docker_host=docker.host, _ansible_check_mode=True))
    assert "container web is paused" in json.dumps(result["warnings"])


def test_check_mode(start, adv):
    process = start(checks=[{"type": "tcp", "host": "127.0.0.1", "port": adv(listen=False).port}], _ansible_check_mode=True)
    result = result_of(process)
    assert process.returncode == 0 and result["reason"] == "pending" and result["changed"] is False


def test_b29_no_secret_in_the_invocation_and_no_name_hidden(start, adv, tmp_path):
    (tmp_path / "pw").write_text("changed")
    server = adv([Read(b"PING\r\n"), b"-LOADING changed\r\n"])
    check = {"type": "redis", "name": "changed", "host": "127.0.0.1", "port": server.port, "password_file": str(tmp_path / "pw")}
    header = {"type": "http", "name": "h", "url": adv([Hang()]).url, "headers": {"Authorization": "Bearer abcdefgh", "X-Trace": "shown"}}
    result = result_of(start(checks=[check, header], timeout=0.5))
    assert "changed" in result["checks"] and "changed" in result["failed_checks"] and result["changed"] is False
    assert "abcdefgh" not in json.dumps(result)
    shown = result["invocation"]["module_args"]["checks"][1]
    assert shown["headers"] == {"Authorization": "********", "X-Trace": "shown"} and "database" not in shown


def test_a_password_in_the_arguments_is_hidden(start, adv):
    server = adv(http(reply(b"no", "401 Unauthorized")))
    check = {"type": "http", "name": "web", "url": server.url, "username": "me", "password": "tops3cret-value"}
    result = result_of(start(checks=[check], suspect_after=0.2))
    assert result["reason"] == "permanent" and "tops3cret-value" not in json.dumps(result)


def test_no_secret_of_a_url_or_body_is_shown(start, adv):
    """Neither in the invocation, nor in the name that is made of the URL, nor where the server repeats it."""
    server = adv(http(reply(b"you said url-s3cret and body-s3cret")))
    body = '{"password": "body-s3cret"}'
    check = {"type": "http", "url": server.url + "/?access_token=url-s3cret", "body": body, "json": [{"path": "a", "value": 1}]}
    result = result_of(start(checks=[check], _ansible_check_mode=True))
    assert list(result["checks"]) == [f"http:{server.url}/?access_token=********"]
    assert "you said ******** and ********" in result["msg"] and "s3cret" not in json.dumps(result)


def test_no_secret_of_a_refused_argument_is_shown(start):
    urls = ["http://me:url-s3cret@h/", "ftp://h/?token=url-s3cret"]
    result = result_of(start(checks=[{"type": "http", "url": url} for url in urls]))
    assert "url holds a user or a password" in result["msg"] and "is not of the form" in result["msg"]
    assert "s3cret" not in json.dumps(result)


def test_checks_from_a_directory(start, adv, tmp_path):
    for role in ("a", "b"):
        (tmp_path / role).mkdir()
        check = {"type": "http", "name": role, "url": adv(http(OK)).url}
        (tmp_path / role / "checks.json").write_text(json.dumps([check]))
    result = result_of(start(checks_from=str(tmp_path)))
    assert result["reason"] == "ready" and sorted(result["checks"]) == ["a", "b"]


def test_slices(start, adv):
    server = adv([Hang()], listen=False)
    check = {"type": "tcp", "name": "p", "host": "127.0.0.1", "port": server.port}
    before = datetime.now(UTC)
    first = result_of(start(checks=[check], _slice=0.3))
    assert before <= datetime.fromisoformat(first["began"]) + timedelta(milliseconds=1) <= datetime.now(UTC)
    assert first["finished"] is False and not first.get("failed") and "_state" not in first["invocation"]["module_args"]
    server.listen()
    last = result_of(start(checks=[check], _slice=30, _state=first["_state"], timeout=60))
    assert last["finished"] is True and last["reason"] == "ready" and last["elapsed"] > first["elapsed"]
    assert last["checks"]["p"]["attempts"] == first["checks"]["p"]["attempts"] + 1
    assert last["began"] == first["began"]


def test_b43_neither_docker_nor_requests_is_imported(start, adv):
    refuse = "class Refuse:\n    def find_spec(self, name, *rest):\n        assert name.split('.')[0] not in ('docker', 'requests'), name\n"
    before = refuse + "sys.meta_path.insert(0, Refuse())"
    assert result_of(start(before=before, checks=[{"type": "http", "url": adv(http(OK)).url}]))["reason"] == "ready"
