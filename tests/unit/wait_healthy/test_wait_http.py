"""HTTP checks against servers that misbehave in every way that a starting or broken service does."""

from __future__ import annotations

import gzip
import resource
import time

import pytest
from wait_servers import OK, UNAVAILABLE, Drip, Hang, Read, Repeat, Reset, Wait, codes, http, reply

JSON = b'{"metadatabase": {"status": "healthy"}, "scheduler": {"status": "healthy", "jobs": [{"id": 7}, {"id": 8}]}, "n": 3, "t": true}'
DEEP = b"[" * 100000 + b"]" * 100000


def test_a_ready_server_takes_one_attempt(run, adv):
    server = adv(http(OK))
    result = run({"type": "http", "name": "web", "url": server.url})
    assert not result["failed"] and result["reason"] == "ready"
    assert result["checks"]["web"]["attempts"] == server.count == 1
    assert result["elapsed"] < 0.5


def test_refused_then_503_then_200_leaves_three_entries(run, adv, later):
    server = adv(http(UNAVAILABLE), http(UNAVAILABLE), http(OK), listen=False)
    later(1.0, server.listen)
    result = run({"type": "http", "name": "web", "url": server.url})
    assert codes(result, "web") == ["refused", "http_status", "ok"]
    refused, unavailable, good = result["checks"]["web"]["timeline"]
    assert refused["count"] > 1 and unavailable["count"] > 1 and good["count"] == 1
    assert unavailable["detail"].startswith("503")
    assert refused["at"] < unavailable["at"] < good["at"]


@pytest.mark.parametrize(
    ("answer", "options", "wanted"),
    [
        pytest.param(OK, {}, ("ready", "ok"), id="200"),
        pytest.param(UNAVAILABLE, {}, ("transient", "http_status"), id="503"),
        pytest.param(reply(b"", "404 Not Found"), {}, ("transient", "http_status"), id="404"),
        pytest.param(reply(b"", "429 Slow Down"), {}, ("transient", "http_status"), id="429"),
        pytest.param(reply(b"", "401 Unauthorized"), {}, ("suspect", "http_status"), id="401"),
        pytest.param(reply(b"", "403 Forbidden"), {}, ("suspect", "http_status"), id="403"),
        pytest.param(reply(b"", "405 Not Allowed"), {}, ("suspect", "http_status"), id="405"),
        pytest.param(reply(b"", "401 Unauthorized"), {"status": [200, "400-403"]}, ("ready", "ok"), id="401 wanted"),
        pytest.param(reply(b"", "302 Found", "Location: /x\r\n"), {"status": ["302"]}, ("ready", "ok"), id="302 wanted"),
        pytest.param(b"garbage and more\r\n\r\n", {}, ("transient", "bad_status_line"), id="garbage status line"),
        pytest.param(b"<html>hello</html>", {}, ("transient", "bad_status_line"), id="HTTP/0.9"),
        pytest.param(b"", {}, ("transient", "closed"), id="closed without an answer"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", {}, ("transient", "bad_reply"), id="too many headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70000 + b"\r\n\r\n", {}, ("transient", "bad_reply"), id="header too long"),
        pytest.param(reply(b"{}", length=10), {}, ("transient", "body_truncated"), id="body truncated"),
        pytest.param(reply(JSON, length=len(JSON) + 9), {"json": [{"path": "n", "value": 3}]}, ("transient", "body_truncated"), id="json truncated"),
        pytest.param(reply(b'{"n": 3} trailing', length=8), {"json": [{"path": "n", "value": 3}]}, ("ready", "ok"), id="declared part"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello", {}, ("transient", "body_truncated"), id="bad chunk"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", {}, ("transient", "body_truncated"), id="chunk truncated"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", {"body_regex": "^hello$"}, ("ready", "ok"), id="chunked"
        ),
        pytest.param(reply(gzip.compress(JSON), headers="Content-Encoding: gzip\r\n"), {"body_regex": "."}, ("transient", "unsupported_encoding"), id="gzip"),
        pytest.param(reply(b"<html>starting</html>"), {"json": [{"path": "n", "value": 3}]}, ("transient", "json_invalid"), id="html for json"),
        pytest.param(reply(b"\xef\xbb\xbf" + JSON), {"json": [{"path": "n", "value": 3}]}, ("ready", "ok"), id="json with BOM"),
        pytest.param(reply(b'{"n": 3, "x": NaN}'), {"json": [{"path": "n", "value": 3}]}, ("ready", "ok"), id="NaN elsewhere"),
        pytest.param(reply(b'{"n": NaN}'), {"json": [{"path": "n", "op": "gt", "value": 0}]}, ("transient", "json_mismatch"), id="NaN"),
        pytest.param(reply(b'{"n": 1, "n": 3}'), {"json": [{"path": "n", "value": 3}]}, ("ready", "ok"), id="duplicate keys"),
        pytest.param(reply(DEEP), {"json": [{"path": "n", "value": 3}]}, ("transient", "json_invalid"), id="deep nesting"),
        pytest.param(reply(b'{"n": "\xff\xfe"}'), {"json": [{"path": "n", "value": 3}]}, ("transient", "json_invalid"), id="not UTF-8"),
        pytest.param(reply(b"state: up"), {"body_regex": r"state: (up|ready)"}, ("ready", "ok"), id="regex"),
        pytest.param(reply(b"state: down"), {"body_regex": r"state: (up|ready)"}, ("transient", "body_mismatch"), id="regex misses"),
        pytest.param(reply(JSON), {"body_regex": "metadata", "json": [{"path": "n", "value": 3}]}, ("ready", "ok"), id="regex and json"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", {"method": "HEAD"}, ("ready", "ok"), id="HEAD"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", {}, ("ready", "ok"), id="204"),
        pytest.param(reply(b"x" * 300, length=300), {"max_body": 200}, ("ready", "ok"), id="large body nobody reads"),
        pytest.param(reply(b"x" * 300), {"max_body": 200, "body_regex": "x"}, ("transient", "body_too_large"), id="body too large"),
        pytest.param(reply(b"x" * 200), {"max_body": 200, "body_regex": "x"}, ("ready", "ok"), id="body just fits"),
    ],
)
def test_answers(attempt, adv, answer, options, wanted):
    outcome, _took = attempt("http", url=adv(http(answer)).url, **options)
    assert outcome[:2] == wanted, outcome


@pytest.mark.parametrize(
    ("expectation", "holds"),
    [
        ({"path": "metadatabase.status", "value": "healthy"}, True),
        ({"path": ["scheduler", "status"], "value": "healthy"}, True),
        ({"path": "scheduler.jobs.1.id", "value": 8}, True),
        ({"path": "scheduler.jobs.-1.id", "value": 8}, True),
        ({"path": "scheduler.jobs.2.id", "value": 8}, False),
        ({"path": "scheduler.jobs.x", "value": 8}, False),
        ({"path": "scheduler.nothing.deeper", "value": 8}, False),
        ({"path": "n.deeper", "value": 8}, False),
        ({"path": "n", "value": "3"}, False),
        ({"path": "t", "value": True}, True),
        ({"path": "t", "value": 1}, False),
        ({"path": "n", "op": "ne", "value": 4}, True),
        ({"path": "n", "op": "in", "value": [1, 3]}, True),
        ({"path": "n", "op": "in", "value": ["3"]}, False),
        ({"path": "metadatabase.status", "op": "regex", "value": "^health"}, True),
        ({"path": "n", "op": "regex", "value": "3"}, False),
        ({"path": "n", "op": "exists"}, True),
        ({"path": "m", "op": "exists"}, False),
        ({"path": "m", "op": "exists", "value": False}, True),
        ({"path": "n", "op": "exists", "value": False}, False),
        ({"path": "n", "op": "lt", "value": 4}, True),
        ({"path": "n", "op": "gt", "value": 3}, False),
        ({"path": "t", "op": "gt", "value": 0}, False),
        ({"path": "scheduler.jobs", "op": "len", "value": 2}, True),
        ({"path": "n", "op": "len", "value": 1}, False),
        ({"path": [], "op": "len", "value": 4}, True),
        ({"path": "", "op": "exists"}, True),
    ],
    ids=str,
)
def test_json_expectations(attempt, adv, expectation, holds):
    outcome, _took = attempt("http", url=adv(http(reply(JSON))).url, json=[expectation])
    assert (outcome.code == "ok") is holds, outcome


def test_json_keys_may_hold_dots(attempt, adv):
    body = b'{"celery@worker.example": {"active_queues": [{"name": "default"}]}}'
    expectation = {"path": ["celery@worker.example", "active_queues", 0, "name"], "value": "default"}
    assert attempt("http", url=adv(http(reply(body))).url, json=[expectation])[0].cls == "ready"
    missing, _took = attempt("http", url=adv(http(reply(b"{}"))).url, json=[expectation])
    assert '["celery@worker.example", "active_queues", 0, "name"] is missing' in missing.detail


def test_a_mismatch_names_what_was_found_and_wanted(attempt, adv):
    body = b'{"scheduler": {"status": "unhealthy"}}'
    outcome, _took = attempt("http", url=adv(http(reply(body))).url, json=[{"path": "scheduler.status", "value": "healthy"}])
    assert outcome.detail == 'scheduler.status is "unhealthy", wanted eq "healthy"'


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([Read(), Drip(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200, 0.05)], id="headers drip"),
        pytest.param([Read(), b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", Drip(b"x" * 200, 0.05)], id="body drips"),
        pytest.param([Read(), Repeat(b"HTTP/1.1 100 Continue\r\n\r\n")], id="endless 100 Continue"),
        pytest.param([Read(), Hang()], id="silence"),
        pytest.param([Read(), b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", Hang()], id="silence in the body"),
        pytest.param([Read(), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Hang()], id="silence before a chunk"),
    ],
)
def test_one_deadline_bounds_a_whole_attempt(attempt, adv, script):
    """B14 of the HTTP kind, and B22: a peer cannot prolong an attempt by sending a byte now and then."""
    outcome, took = attempt("http", url=adv(script).url, within=0.3)
    assert outcome[:2] == ("transient", "timeout")
    assert 0.29 <= took < 1.5


def test_b22_a_port_that_accepts_and_never_answers(run, adv):
    server = adv([Hang()])
    result = run({"type": "http", "name": "web", "url": server.url}, timeout=0.5, attempt_timeout=0.2)
    assert result["reason"] == "timeout" and codes(result, "web") == ["timeout"]
    assert 1 <= result["checks"]["web"]["attempts"] <= 3
    assert result["elapsed"] < 1.6


def test_endless_headers_are_cut(attempt, adv):
    outcome, took = attempt("http", url=adv([Read(), b"HTTP/1.1 200 OK\r\n", Repeat(b"X: y\r\n")]).url, within=1.0)
    assert outcome.cls == "transient" and took < 2.0


def test_an_endless_body_is_cut_at_max_body(attempt, adv):
    server = adv([Read(), b"HTTP/1.1 200 OK\r\n\r\n", Repeat(b"x" * 65536)])
    attempt("http", url=server.url, body_regex="y")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome, _took = attempt("http", url=server.url, body_regex="y")
    assert outcome[:2] == ("transient", "body_too_large")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([Reset()], id="after connect"),
        pytest.param([Read(), b"HTTP/1.1 200 OK\r\nX", Wait(0.05), Reset()], id="in the headers"),
        pytest.param([Read(), b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", Wait(0.05), Reset()], id="in the body"),
    ],
)
def test_b16_a_reset_is_transient(attempt, adv, script):
    outcome, _took = attempt("http", url=adv(script).url)
    assert outcome.cls == "transient" and outcome.code in ("reset", "closed", "body_truncated")


def test_b21_an_incomplete_body_is_tried_again(run, adv):
    server = adv(http(reply(b"half", length=9)), http(OK))
    result = run({"type": "http", "name": "web", "url": server.url})
    assert codes(result, "web") == ["body_truncated", "ok"] and not result["failed"]


def test_b23_a_page_in_place_of_json_is_shown(run, adv):
    server = adv(http(reply(b"<html>Proxy Error</html>")))
    result = run({"type": "http", "name": "api", "url": server.url, "json": [{"path": "a", "value": 1}]}, check_mode=True)
    assert "json_invalid" in result["msg"] and "<html>Proxy Error</html>" in result["msg"]


def test_b28_proxies_of_the_environment_are_ignored(attempt, adv, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    assert attempt("http", url=adv(http(OK)).url)[0].cls == "ready"


def test_b30_the_body_of_a_post_is_the_same_on_every_attempt(run, adv):
    server = adv(*[http(UNAVAILABLE)] * 4, http(OK))
    server.scripts = [[Read(b"payload"), *script[1:]] for script in server.scripts]
    result = run({"type": "http", "name": "web", "url": server.url, "body": "payload", "headers": {"X-Try": "1"}})
    assert not result["failed"] and server.count == 5
    assert len(set(server.received.values())) == 1
    assert server.received[4].startswith(b"POST / HTTP/1.1\r\n") and server.received[4].endswith(b"\r\n\r\npayload")


def test_b30_regex_and_json_read_the_same_body(attempt, adv):
    url = adv(http(reply(JSON))).url
    assert attempt("http", url=url, body_regex="scheduler", json=[{"path": "n", "value": 3}])[0].cls == "ready"
    assert attempt("http", url=url, body_regex="nothing", json=[{"path": "n", "value": 3}])[0].code == "body_mismatch"
    assert attempt("http", url=url, body_regex="scheduler", json=[{"path": "n", "value": 4}])[0].code == "json_mismatch"


def test_b31_one_attempt_that_hangs_leaves_time_for_the_next(run, adv):
    server = adv([Hang()], http(OK))
    result = run({"type": "http", "name": "web", "url": server.url}, timeout=10.0, attempt_timeout=0.3)
    assert codes(result, "web") == ["timeout", "ok"] and result["elapsed"] < 2.0


def test_b39_garbage_does_not_end_the_wait(run, adv):
    server = adv(http(b"\x00\x01garbage\r\n"), http(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nqq\r\n"), http(OK))
    result = run({"type": "http", "name": "web", "url": server.url})
    assert codes(result, "web") == ["bad_status_line", "body_truncated", "ok"]


def moved(to: str, status: str = "302 Found") -> bytes:
    return reply(b"", status, f"Location: {to}\r\n")


def test_redirects_are_not_followed_unless_asked(attempt, adv):
    outcome, _took = attempt("http", url=adv(http(moved("/login"))).url)
    assert outcome[:2] == ("suspect", "redirect") and "/login" in outcome.detail


def test_redirects_within_the_origin(attempt, adv):
    server = adv(http(moved("/a")), http(moved("b?c=d")), http(OK))
    assert attempt("http", url=server.url, follow_redirects="same_origin")[0].cls == "ready"
    assert [data.split(b" ")[1] for data in server.received.values()] == [b"/", b"/a", b"/b?c=d"]


def test_a_redirected_post_becomes_get_except_for_307(attempt, adv):
    server = adv(http(moved("/a", "303 See Other")), http(OK))
    attempt("http", url=server.url, follow_redirects="same_origin", body="x")
    assert server.received[1].startswith(b"GET /a ")
    server = adv(http(moved("/a", "307 Temporary Redirect")), http(OK))
    attempt("http", url=server.url, follow_redirects="same_origin", body="x")
    assert server.received[1].startswith(b"POST /a ")


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/x", "http://localhost/x", "https://127.0.0.1/x", "ftp://127.0.0.1/"])
def test_the_login_never_leaves_the_origin(attempt, adv, target):
    server = adv(http(moved(target)), http(OK))
    outcome, _took = attempt("http", url=server.url, follow_redirects="same_origin", username="u", password="secret-word")
    assert outcome[:2] == ("suspect", "redirect_refused") and server.count == 1
    assert b"Authorization: Basic dTpzZWNyZXQtd29yZA==" in server.received[0]


def test_a_redirect_loop_ends(attempt, adv):
    server = adv(http(moved("/a")))
    outcome, _took = attempt("http", url=server.url, follow_redirects="same_origin")
    assert outcome[:2] == ("suspect", "redirect_loop") and server.count == 6


def test_suspect_becomes_permanent_when_it_stays(run, adv):
    server = adv(http(reply(b"", "403 Forbidden")))
    began = time.monotonic()
    result = run({"type": "http", "name": "web", "url": server.url}, suspect_after=0.3, timeout=30)
    assert result["reason"] == "permanent" and 0.3 <= time.monotonic() - began < 3
    assert "403 Forbidden" in result["msg"] and result["checks"]["web"]["attempts"] >= 3


def test_suspect_that_changes_is_not_permanent(run, adv):
    forbidden = http(reply(b"", "403 Forbidden"))
    server = adv(*[forbidden, http(UNAVAILABLE)] * 4, http(OK))
    assert not run({"type": "http", "name": "web", "url": server.url}, suspect_after=0.0)["failed"]


def test_b13_a_clock_step_forward_does_not_end_the_wait(run, adv, monkeypatch):
    server = adv(http(UNAVAILABLE), http(UNAVAILABLE), http(OK))
    wall = iter(range(10**9, 10**9 + 86400 * 10**6, 86400))
    monkeypatch.setattr(time, "time", lambda: next(wall))
    assert not run({"type": "http", "name": "web", "url": server.url})["failed"]


def test_b13_a_clock_step_back_does_not_prolong_the_wait(run, adv, monkeypatch):
    server = adv(http(UNAVAILABLE))
    wall = iter(range(10**9, 0, -86400))
    monkeypatch.setattr(time, "time", lambda: next(wall))
    result = run({"type": "http", "name": "web", "url": server.url}, timeout=0.3)
    assert result["reason"] == "timeout" and result["elapsed"] < 1.0
