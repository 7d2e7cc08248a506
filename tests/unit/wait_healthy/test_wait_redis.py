"""Redis checks against a server that answers line by line."""

from __future__ import annotations

import pytest
from wait_servers import Drip, Hang, Read, ReadSome, Wait, codes

PING = b"*1\r\n$4\r\nPING\r\n"


def redis(*answers: bytes):
    """A script that reads a command before each answer."""
    return [step for answer in answers for step in (ReadSome(), answer)]


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (b"+PONG\r\n", "ready ok"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "transient redis_loading"),
        (b"-BUSY Redis is busy running a script\r\n", "transient redis_busy"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", "transient redis_masterdown"),
        (b"-MISCONF Redis is configured to save RDB snapshots\r\n", "transient redis_misconf"),
        (b"-ERR max number of clients reached\r\n", "transient redis_err"),
        (b"-ERR unknown\r\n", "transient redis_err"),
        (b"-NOAUTH Authentication required.\r\n", "permanent redis_noauth"),
        (b"-DENIED Redis is running in protected mode\r\n", "permanent redis_denied"),
        (b"-NOPERM this user has no permissions to run 'ping'\r\n", "suspect redis_noperm"),
        (b":1\r\n", "suspect not_redis"),
        (b"$1073741824\r\n", "suspect not_redis"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "suspect not_redis"),
        (b"+" + b"x" * 10000, "suspect not_redis"),
        (b"", "transient closed"),
        (b"+PO", "transient closed"),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else "",
)
def test_answers_to_ping(attempt, adv, answer, wanted):
    server = adv(redis(answer))
    outcome, _took = attempt("redis", host="127.0.0.1", port=server.port)
    assert " ".join(outcome[:2]) == wanted, outcome


def test_b42_loading_is_not_ready(run, adv):
    loading = redis(b"-LOADING Redis is loading the dataset in memory\r\n")
    server = adv(*[loading] * 5, redis(b"+PONG\r\n"))
    result = run({"type": "redis", "name": "r", "host": "127.0.0.1", "port": server.port})
    assert codes(result, "r") == ["redis_loading", "ok"] and result["checks"]["r"]["attempts"] == 6


def test_b42_noauth_without_a_password_is_permanent(run, adv):
    server = adv(redis(b"-NOAUTH Authentication required.\r\n"))
    result = run({"type": "redis", "name": "r", "host": "127.0.0.1", "port": server.port})
    assert result["reason"] == "permanent" and "password_file" in result["msg"] and result["elapsed"] < 1.0


@pytest.mark.parametrize(
    ("options", "login"),
    [
        ({"password": "pässword"}, b"*2\r\n$4\r\nAUTH\r\n$9\r\np\xc3\xa4ssword\r\n"),
        ({"password": "pw", "username": "me"}, b"*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$2\r\npw\r\n"),
    ],
)
def test_login_comes_before_ping(attempt, adv, options, login):
    server = adv([Read(login), b"+OK\r\n", Read(PING), b"+PONG\r\n"])
    assert attempt("redis", host="127.0.0.1", port=server.port, **options)[0].cls == "ready"
    assert server.received[0] == login + PING


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (b"-WRONGPASS invalid username-password pair or user is disabled.\r\n", "permanent redis_wrongpass"),
        (b"-ERR invalid password\r\n", "permanent redis_err"),
        (b"-ERR AUTH <password> called without any password configured for the default user.\r\n", "suspect redis_err"),
        (b"-ERR max number of clients reached\r\n", "transient redis_err"),
        (b"-LOADING Redis is loading\r\n", "transient redis_loading"),
    ],
)
def test_answers_to_auth(attempt, adv, answer, wanted):
    outcome, _took = attempt("redis", host="127.0.0.1", port=adv(redis(answer)).port, password="pw")
    assert " ".join(outcome[:2]) == wanted


def test_a_banner_before_any_command(attempt, adv):
    server = adv([b"-DENIED Redis is running in protected mode because\r\n", Wait(0.2)])
    assert attempt("redis", host="127.0.0.1", port=server.port)[0][:2] == ("permanent", "redis_denied")


def test_a_reply_byte_by_byte(attempt, adv):
    assert attempt("redis", host="127.0.0.1", port=adv([ReadSome(), Drip(b"+PONG\r\n", 0.01)]).port)[0].cls == "ready"


def test_silence_and_dripping_end_at_the_deadline(attempt, adv):
    for script in ([Hang()], [ReadSome(), Drip(b"+" + b"P" * 300, 0.05)]):
        outcome, took = attempt("redis", host="127.0.0.1", port=adv(script).port, within=0.2)
        assert outcome[:2] == ("transient", "timeout") and took < 1.5


def test_a_unix_socket(attempt, adv, tmp_path):
    adv(redis(b"+PONG\r\n"), path=str(tmp_path / "redis.sock"))
    assert attempt("redis", host=str(tmp_path / "redis.sock"))[0].cls == "ready"
