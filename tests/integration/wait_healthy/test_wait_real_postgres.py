"""wait_healthy and a real PostgreSQL."""

from __future__ import annotations

import contextlib
import socket
import struct

import pytest
from wait_real import codes


def check(server, **options):
    return {"type": "postgres", "name": "db", "host": "127.0.0.1", "port": server.port, **options}


@pytest.fixture(scope="module")
def started(postgres_server):
    postgres_server.configure(max_connections="6", superuser_reserved_connections="1")
    postgres_server.start()
    postgres_server.sql("create role scramuser login password 'right'")
    postgres_server.sql("set password_encryption = 'md5'; create role md5user login password 'right'")
    postgres_server.sql("create database mine")
    return postgres_server


def test_from_nothing_to_accepting(run, new_postgres, later):
    server = new_postgres()
    later(0.5, server.start)
    result = run(check(server))
    assert not result["failed"] and codes(result, "db")[0] == "refused" and codes(result, "db")[-1] == "ok"


def test_accepting_needs_no_login(run, started):
    for options in ({}, {"user": "nobody-knows"}, {"user": "scramuser"}, {"user": "md5user"}):
        assert not run(check(started, **options))["failed"]


@pytest.mark.parametrize("user", ["scramuser", "md5user"])
def test_logins(run, started, user):
    login = {"user": user, "database": "mine", "level": "ready"}
    assert not run(check(started, **login, password="right"))["failed"]
    wrong = run(check(started, **login, password="wrong"), suspect_after=0.3)
    assert wrong["reason"] == "permanent" and "password authentication failed" in wrong["msg"]
    assert run(check(started, **login))["checks"]["db"]["last"]["code"] == "pg_password_missing"


def test_a_password_file_and_trust_on_the_socket(run, started, tmp_path):
    (tmp_path / "pw").write_text("right\n")
    assert not run(check(started, user="scramuser", database="mine", level="ready", password_file=str(tmp_path / "pw")))["failed"]
    assert not run({**check(started, user="postgres", level="ready"), "host": str(started.directory)})["failed"]


def test_a_database_that_is_created_later(run, started, later):
    later(0.5, started.sql, "create database later")
    result = run(check(started, user="scramuser", password="right", database="later", level="ready"))
    assert codes(result, "db") == ["pg_3D000", "ok"]


def test_tls_is_asked_for_and_refused(run, started):
    assert run(check(started, sslmode="require"), suspect_after=0.3)["reason"] == "permanent"


def test_a_full_server_is_never_ready(run, started):
    with contextlib.ExitStack() as stack:
        for _slot in range(6):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(f"{started.directory}/.s.PGSQL.{started.port}")
            body = b"user\0postgres\0database\0postgres\0\0"
            sock.sendall(struct.pack("!ii", len(body) + 8, 196608) + body)
            sock.recv(4096)
        result = run(check(started, user="scramuser", password="right", database="mine", level="ready"), timeout=1.5)
        assert result["reason"] == "timeout" and codes(result, "db") == ["pg_53300"]
    assert not run(check(started, user="scramuser", password="right", database="mine", level="ready"))["failed"]


def test_a_standby_that_takes_no_connections(run, new_postgres):
    server = new_postgres()
    server.configure(hot_standby="off")
    (server.directory / "data" / "standby.signal").touch()
    server.start(wait=False)
    result = run(check(server), timeout=3.0)
    assert result["reason"] == "timeout" and codes(result, "db")[-1] == "pg_57P03"
    assert "the database system is" in result["msg"]
