"""wait_healthy and a real Redis."""

from __future__ import annotations

import socket

from wait_real import codes, until


def check(server, **options):
    return {"type": "redis", "name": "r", "host": "127.0.0.1", "port": server.port, **options}


def answers(server):
    try:
        return bool(server.call("PING"))
    except OSError:
        return False


def test_from_nothing_to_ready(run, redis):
    result = run(check(redis()))
    assert not result["failed"] and codes(result, "r")[-1] == "ok"


def test_passwords(run, redis):
    server = redis("--requirepass", "right")
    assert not run(check(server, password="right"))["failed"]
    assert run(check(server))["checks"]["r"]["last"]["code"] == "redis_noauth"
    assert run(check(server, password="wrong"))["checks"]["r"]["last"]["code"] == "redis_wrongpass"


def test_acl_users(run, redis):
    server = redis()
    until(lambda: answers(server))
    server.call("ACL", "SETUSER", "pinger", "on", ">word", "+ping")
    server.call("ACL", "SETUSER", "mute", "on", ">word")
    assert not run(check(server, username="pinger", password="word"))["failed"]
    assert run(check(server, username="mute", password="word"), suspect_after=0.3)["checks"]["r"]["last"]["code"] == "redis_noperm"


def test_b42_loading(run, redis):
    """A data set that takes a while to load: PING answers, and is not ready."""
    first = redis("--save", "", "--appendonly", "no")
    until(lambda: answers(first))
    first.fill(2000)
    assert first.call("SAVE") == "+OK"
    first.remove()
    second = redis("--save", "", "--appendonly", "no", "--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024")
    result = run(check(second))
    assert not result["failed"] and "redis_loading" in codes(result, "r") and codes(result, "r")[-1] == "ok"


def test_too_many_clients(run, redis):
    server = redis("--maxclients", "1")
    until(lambda: answers(server))
    with socket.create_connection(("127.0.0.1", server.port)) as held:
        held.sendall(b"PING\r\n")
        held.recv(100)
        result = run(check(server), timeout=0.7)
        assert result["reason"] == "timeout" and "max number of clients" in result["msg"]
    assert not run(check(server))["failed"]
