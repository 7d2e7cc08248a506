"""PostgreSQL checks against a server that says exactly one thing."""

from __future__ import annotations

import hashlib
import struct

import pytest
from wait_certs import Certs
from wait_fake_pg import AUTH_OK, READY, SASL, asks_password, auth, error, exact, says, scram, startup
from wait_servers import Hang, Read, codes

SALT = b"salt"


def md5(password, user="me"):
    inner = hashlib.md5((password + user).encode()).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + SALT).hexdigest().encode()


@pytest.mark.parametrize(
    ("script", "accepting", "ready"),
    [
        pytest.param(says(error("57P03", "the database system is starting up")), "transient pg_57P03", "transient pg_57P03", id="starting"),
        pytest.param(says(error("53300", "too many clients")), "transient pg_53300", "transient pg_53300", id="full"),
        pytest.param(says(AUTH_OK, error("53300", "too many clients")), "transient pg_53300", "transient pg_53300", id="full after trust"),
        pytest.param(says(SASL), "ready ok", "transient closed", id="asks for SCRAM, then gone"),
        pytest.param(says(auth(3)), "ready ok", "transient closed", id="asks for cleartext"),
        pytest.param(says(AUTH_OK, READY), "ready ok", "ready ok", id="trust"),
        pytest.param(says(AUTH_OK, error("3D000", "no such database")), "transient pg_3D000", "transient pg_3D000", id="no database"),
        pytest.param(says(error("28000", "no pg_hba.conf entry")), "ready ok", "suspect pg_28000", id="no pg_hba entry"),
        pytest.param(says(error("28P01", "wrong password")), "ready ok", "suspect pg_28P01", id="wrong password"),
        pytest.param(says(auth(7)), "ready ok", "permanent pg_auth_method", id="GSSAPI"),
        pytest.param(says(auth(10, b"SCRAM-SHA-512\0\0")), "ready ok", "permanent pg_auth_method", id="another mechanism"),
        pytest.param(says(AUTH_OK), "transient closed", "transient closed", id="trust, then gone"),
        pytest.param(says(), "transient closed", "transient closed", id="closed without a word"),
        pytest.param(says(b"HTTP/1.1 400 Bad Request\r\n"), "suspect not_postgres", "suspect not_postgres", id="HTTP after the start-up"),
        pytest.param([Read(b"\x04\xd2\x16\x2f"), b"HTTP/1.1 400\r\n"], "suspect not_postgres", "suspect not_postgres", id="HTTP at once"),
        pytest.param(says(b"R" + struct.pack("!i", 2**31 - 1)), "suspect not_postgres", "suspect not_postgres", id="length of 2 GiB"),
        pytest.param(says(b"R" + struct.pack("!i", -1)), "suspect not_postgres", "suspect not_postgres", id="negative length"),
        pytest.param(says(b"R" + struct.pack("!i", 5) + b"\0"), "suspect not_postgres", "suspect not_postgres", id="short authentication"),
        pytest.param([*says(b"R\0\0"), Hang()], "transient timeout", "transient timeout", id="half a message, silence"),
        pytest.param([Hang()], "transient timeout", "transient timeout", id="silence"),
        pytest.param(says(auth(11, b"r=x,s=,i=1")), "ready ok", "suspect not_postgres", id="SCRAM out of order"),
    ],
)
def test_replies_to_the_start_up(attempt, adv, script, accepting, ready):
    for level, wanted in (("accepting", accepting), ("ready", ready)):
        options = {"user": "me", "database": "mine", "level": level, "password": "pw"}
        outcome, took = attempt("postgres", host="127.0.0.1", port=adv(script).port, within=0.25, **options)
        assert " ".join(outcome[:2]) == wanted, (level, outcome)
        assert took < 1.5


def test_the_servers_own_text_is_kept(attempt, adv):
    port = adv(says(error("57P03", "the database system is shutting down"))).port
    assert attempt("postgres", host="127.0.0.1", port=port)[0].detail == "the database system is shutting down"


def test_a_database_that_was_not_named_need_not_exist(attempt, adv):
    port = adv(says(AUTH_OK, error("3D000", 'database "me" does not exist'))).port
    assert attempt("postgres", host="127.0.0.1", port=port, user="me")[0].cls == "ready"
    assert attempt("postgres", host="127.0.0.1", port=port, user="me", level="ready")[0].cls == "transient"


def test_starting_then_accepting(run, adv):
    starting = says(error("57P03", "the database system is starting up"))
    server = adv(starting, starting, says(SASL))
    result = run({"type": "postgres", "name": "db", "host": "127.0.0.1", "port": server.port})
    assert codes(result, "db") == ["pg_57P03", "ok"]


def test_a_database_that_is_created_later(run, adv):
    server = adv(says(AUTH_OK, error("3D000", "no database")), says(AUTH_OK, READY))
    result = run({"type": "postgres", "name": "db", "host": "127.0.0.1", "port": server.port, "database": "mine", "level": "ready"})
    assert codes(result, "db") == ["pg_3D000", "ok"]


@pytest.mark.parametrize(
    ("script", "right"),
    [
        pytest.param(asks_password(3, lambda given: given == b"pw"), "pw", id="cleartext"),
        pytest.param(asks_password(5, lambda given: given == md5("pw"), SALT), "pw", id="MD5"),
        pytest.param(scram("pw"), "pw", id="SCRAM"),
        pytest.param(scram("pässwörd"), "pässwörd", id="SCRAM, not ASCII"),
        pytest.param(scram("a b"), "a\u00a0b", id="SCRAM, SASLprep maps a blank"),
    ],
)
def test_passwords(attempt, adv, script, right):
    target = {"host": "127.0.0.1", "port": adv(script).port, "user": "me", "level": "ready"}
    assert attempt("postgres", **target, password=right)[0][:2] == ("ready", "ok")
    assert attempt("postgres", **target, password="wrong")[0][:2] == ("suspect", "pg_28P01")
    assert attempt("postgres", **target)[0][:2] == ("permanent", "pg_password_missing")


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(scram("pw", forge=True), id="false signature"),
        pytest.param(scram("pw", skip=True), id="no signature"),
        pytest.param(scram("pw", iterations=10**9), id="too much work"),
        pytest.param(scram("pw", iterations=0), id="no work"),
    ],
)
def test_a_scram_server_must_prove_itself(attempt, adv, script):
    outcome, took = attempt("postgres", host="127.0.0.1", port=adv(script).port, level="ready", password="pw")
    assert outcome[:2] == ("suspect", "pg_scram") and took < 1.5


@pytest.mark.parametrize("challenge", [b"", b"nonsense", b"r=x", b"r=x,s=?,i=1", b"r=x,s=AAAA,i=no", b"r=other,s=AAAA,i=4096"])
def test_malformed_scram_challenges(attempt, adv, challenge):
    def talk(conn):
        startup(conn)
        conn.sendall(SASL)
        exact(conn, 5)
        conn.sendall(auth(11, challenge))

    outcome, _took = attempt("postgres", host="127.0.0.1", port=adv([talk]).port, level="ready", password="pw")
    assert outcome[:2] == ("suspect", "pg_scram")


@pytest.mark.parametrize(("sslmode", "wanted"), [("prefer", ("ready", "ok")), ("require", ("suspect", "tls_refused"))])
def test_a_server_without_tls(attempt, adv, sslmode, wanted):
    assert attempt("postgres", host="127.0.0.1", port=adv(says(SASL)).port, sslmode=sslmode)[0][:2] == wanted


def test_a_server_with_tls(attempt, adv, tmp_path):
    certs = Certs(tmp_path)
    context = certs.context("db", certs.ca)
    seen = []

    def talk(conn):
        exact(conn, 8)
        conn.sendall(b"S")
        with context.wrap_socket(conn.dup(), server_side=True) as secure:
            seen.append(startup(secure))
            secure.sendall(SASL)
            secure.recv(1)

    outcome, _took = attempt("postgres", host="127.0.0.1", port=adv([talk]).port, sslmode="require", user="me", database="mine")
    assert outcome.cls == "ready" and seen[0]["user"] == "me" and seen[0]["database"] == "mine"


def test_an_answer_to_the_ssl_request_alone_proves_nothing(run, adv):
    def refuses(conn):
        startup(conn, b"N")
        conn.sendall(error("57P03", "the database system is starting up"))

    result = run({"type": "postgres", "name": "db", "host": "127.0.0.1", "port": adv([refuses]).port}, check_mode=True)
    assert result["reason"] == "pending" and codes(result, "db") == ["pg_57P03"]


def test_b41_the_temporary_server_of_the_first_start(run, adv, tmp_path, later):
    """The official image initialises with a server on the unix socket, stops it, and starts the real one."""
    path = tmp_path / ".s.PGSQL.5432"
    temporary = adv(says(SASL), path=str(path))
    real = []

    def restart():
        temporary.close()
        path.unlink()

    check = {"type": "postgres", "name": "db", "host": str(tmp_path)}
    assert not run(check)["failed"]
    later(0.5, restart)
    later(0.8, lambda: real.append(adv(says(SASL), path=str(path))))
    result = run(check, stable_for=1.0)
    assert not result["failed"] and real
    assert codes(result, "db")[0] == codes(result, "db")[-1] == "ok" and len(codes(result, "db")) >= 3
