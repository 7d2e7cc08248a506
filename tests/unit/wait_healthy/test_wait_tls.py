"""TLS: what a bad certificate, a wrong port and a handshake that stalls are told apart by."""

from __future__ import annotations

import ssl

import pytest
from wait_certs import Certs
from wait_servers import OK, Drip, Hang, Read, ReadSome, Reset, codes, http


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    return Certs(tmp_path_factory.mktemp("certs"))


def test_a_good_certificate(attempt, adv, certs):
    server = adv(http(OK), tls=certs.context("good", certs.ca))
    assert attempt("http", url=server.url, ca_path=certs.ca_file)[0].cls == "ready"


def test_a_name_is_verified_too(attempt, adv, certs):
    server = adv(http(OK), tls=certs.context("named", certs.ca, host="localhost"))
    assert attempt("http", url=f"https://localhost:{server.port}/", ca_path=certs.ca_file)[0].cls == "ready"


@pytest.mark.parametrize(
    ("number", "host", "make"),
    [
        pytest.param(10, "127.0.0.1", lambda c: c.context("expired", c.ca, start=-20, days=5), id="expired"),
        pytest.param(9, "127.0.0.1", lambda c: c.context("early", c.ca, start=5), id="not yet valid"),
        pytest.param(18, "127.0.0.1", lambda c: c.context("self", None), id="self-signed"),
        pytest.param(20, "127.0.0.1", lambda c: c.context("unknown", c.other_ca()), id="unknown issuer"),
        pytest.param(62, "localhost", lambda c: c.context("host", c.ca, host="other.example"), id="another host"),
        pytest.param(64, "127.0.0.1", lambda c: c.context("host", c.ca, host="127.9.9.9"), id="another address"),
    ],
)
def test_bad_certificates_are_suspect_and_told_by_number(attempt, adv, certs, number, host, make):
    server = adv(http(OK), tls=make(certs))
    outcome, _took = attempt("http", url=f"https://{host}:{server.port}/", ca_path=certs.ca_file)
    assert outcome[:2] == ("suspect", "tls_certificate")
    assert f"(verify code {number})" in outcome.detail


@pytest.mark.parametrize("name", ["self", "expired"])
def test_validation_can_be_switched_off(attempt, adv, certs, name):
    context = certs.context(name, None, start=-20, days=30 if name == "self" else 5)
    assert attempt("http", url=adv(http(OK), tls=context).url, validate_certs=False)[0].cls == "ready"


def test_a_certificate_that_is_replaced_while_waiting(run, adv, certs, later):
    server = adv(http(OK), tls=certs.context("replaced", None))
    later(0.4, setattr, server, "tls", certs.context("replacement", certs.ca))
    result = run({"type": "http", "name": "web", "url": server.url, "ca_path": certs.ca_file})
    assert codes(result, "web") == ["tls_certificate", "ok"]


def test_plain_http_on_the_port(attempt, adv, certs):
    server = adv([Read(b"\x16"), b"HTTP/1.1 400 Bad Request\r\n\r\n"])
    outcome, _took = attempt("http", url=f"https://127.0.0.1:{server.port}/", ca_path=certs.ca_file)
    assert outcome[:2] == ("suspect", "not_tls")


def test_a_tls_port_asked_in_plain_text(attempt, adv, certs):
    server = adv(http(OK), tls=certs.context("good2", certs.ca))
    outcome, _took = attempt("http", url=f"http://127.0.0.1:{server.port}/")
    assert outcome.cls == "transient" and outcome.code in ("bad_status_line", "closed", "reset")
    if outcome.code == "bad_status_line":
        assert "use https" in outcome.detail


def test_redis_behind_tls(attempt, adv, certs):
    server = adv([ReadSome(), b"+OK\r\n", ReadSome(), b"+PONG\r\n"], tls=certs.context("redis", certs.ca))
    good = {"host": "127.0.0.1", "port": server.port, "password": "x", "tls": True}
    assert attempt("redis", **good, ca_path=certs.ca_file)[0][:2] == ("ready", "ok")
    assert attempt("redis", **good)[0][:2] == ("suspect", "tls_certificate")
    assert attempt("redis", **good, validate_certs=False)[0].cls == "ready"


def test_redis_without_tls_is_told_from_one_with_it(attempt, adv):
    server = adv([ReadSome(), b"-ERR Protocol error\r\n"])
    assert attempt("redis", host="127.0.0.1", port=server.port, tls=True, validate_certs=False)[0][:2] == ("suspect", "not_tls")


def test_client_certificates(attempt, adv, certs):
    context = certs.context("server", certs.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certs.ca_file)
    server = adv(http(OK), tls=context)
    without, _took = attempt("http", url=server.url, ca_path=certs.ca_file)
    assert without.cls in ("transient", "suspect") and without.code != "ok"
    client = certs.write("client", certs.ca, host="client.example")
    assert attempt("http", url=server.url, ca_path=certs.ca_file, client_cert=client)[0].cls == "ready"


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param([Read(b"\x16"), Hang()], "timeout", id="silence"),
        pytest.param([Read(b"\x16"), Drip(b"\x16\x03\x03\x40\x00" + b"\x02" * 100, 0.05)], "timeout", id="drips"),
        pytest.param([Read(b"\x16"), Reset()], "reset", id="reset"),
        pytest.param([Read(b"\x16")], "tls_closed", id="closed"),
    ],
)
def test_the_handshake_ends_at_the_deadline(attempt, adv, script, code):
    server = adv(script)
    outcome, took = attempt("http", url=f"https://127.0.0.1:{server.port}/", validate_certs=False, within=0.4)
    assert outcome[:2] == ("transient", code) and took < 1.5
