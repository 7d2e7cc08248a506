"""TCP checks, names and addresses."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time

import pytest
from ansible_collections.mlops.stack.plugins.module_utils._net._resolve import Resolver
from wait_servers import Drip, Hang, Read, Repeat, Reset, Wait, codes


def resolver(*addresses, delay=0.0):
    """A resolver whose answers are given; a gaierror among them is raised."""
    calls = []

    def getaddrinfo(host, port, family, kind):
        calls.append(host)
        answer = addresses[min(len(calls), len(addresses)) - 1]
        if delay:
            time.sleep(delay)
        if isinstance(answer, Exception):
            raise answer
        return [(socket.AF_INET6 if ":" in one else socket.AF_INET, kind, 6, "", (one, 0)) for one in answer]

    made = Resolver(time.monotonic, getaddrinfo)
    made.calls = calls
    return made


@pytest.fixture
def blackhole():
    """A port that never completes a connection: the backlog of its listener is full."""
    with contextlib.ExitStack() as stack:

        def make(host, port=0):
            listener = stack.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(0)
            for _filler in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    filler.connect(listener.getsockname())
            return listener.getsockname()[1]

        yield make


@pytest.mark.parametrize(
    ("script", "options", "wanted"),
    [
        pytest.param([Hang()], {}, ("ready", "ok"), id="stays open"),
        pytest.param([b"220 hello\r\n", Hang()], {}, ("ready", "ok"), id="speaks first"),
        pytest.param([], {}, ("transient", "closed"), id="accepts and closes"),
        pytest.param([Reset()], {}, ("transient", "reset"), id="accepts and resets"),
        pytest.param([Wait(0.03)], {"hold": 0.2}, ("transient", "closed"), id="closes within hold"),
        pytest.param([], {"hold": 0}, ("ready", "ok"), id="no hold"),
        pytest.param([b"220 hello\r\n", Hang()], {"expect_regex": "^220 "}, ("ready", "ok"), id="banner"),
        pytest.param([Drip(b"220 hello", 0.01), Hang()], {"expect_regex": "220 hello"}, ("ready", "ok"), id="banner in pieces"),
        pytest.param([b"421 busy\r\n"], {"expect_regex": "^220 "}, ("transient", "closed"), id="another banner, closed"),
        pytest.param([b"421 busy\r\n", Hang()], {"expect_regex": "^220 "}, ("transient", "no_match"), id="another banner, open"),
        pytest.param([Hang()], {"expect_regex": "^220 "}, ("transient", "timeout"), id="silence"),
        pytest.param([Repeat(b"y" * 100)], {"expect_regex": "^220 "}, ("transient", "no_match"), id="more than 4 KiB"),
    ],
)
def test_tcp(attempt, adv, script, options, wanted):
    outcome, _took = attempt("tcp", host="127.0.0.1", port=adv(script).port, within=0.4, **options)
    assert outcome[:2] == wanted, outcome


def test_b14_a_dripping_banner_ends_at_the_attempt_deadline(attempt, adv):
    server = adv([Drip(b"x" * 200, 0.05)])
    outcome, took = attempt("tcp", host="127.0.0.1", port=server.port, expect_regex="^220", within=0.4)
    assert outcome[:2] == ("transient", "no_match") and "'xx" in outcome.detail
    assert 0.39 <= took < 1.5


def test_b15_a_silent_connection_is_given_up_for_a_new_one(run, adv):
    server = adv([Hang()], [b"220 ready\r\n", Hang()])
    check = {"type": "tcp", "name": "smtp", "host": "127.0.0.1", "port": server.port, "expect_regex": "^220"}
    result = run(check, attempt_timeout=0.3)
    assert codes(result, "smtp") == ["timeout", "ok"] and result["elapsed"] < 2.0


@pytest.mark.parametrize("script", [[Reset()], [b"22", Wait(0.03), Reset()], [Wait(0.03), Reset()]])
def test_b16_resets_are_tried_again(run, adv, script):
    server = adv(script, script, [b"220 ready\r\n", Hang()])
    check = {"type": "tcp", "name": "smtp", "host": "127.0.0.1", "port": server.port, "expect_regex": "^220"}
    result = run(check)
    assert codes(result, "smtp") == ["reset", "ok"] and result["checks"]["smtp"]["attempts"] == 3


def test_b17_accept_and_close_never_passes(run, adv):
    server = adv([])
    result = run({"type": "tcp", "name": "p", "host": "127.0.0.1", "port": server.port}, timeout=0.5)
    assert result["failed"] and codes(result, "p") == ["closed"] and result["checks"]["p"]["attempts"] > 3


def test_b27_attempts_are_counted_exactly(run, adv):
    server = adv(*[[]] * 6, [Hang()])
    result = run({"type": "tcp", "name": "p", "host": "127.0.0.1", "port": server.port})
    assert result["checks"]["p"]["attempts"] == server.count == 7
    assert [entry["count"] for entry in result["checks"]["p"]["timeline"]] == [6, 1]


GONE = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
AGAIN = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [(GONE, ("suspect", "dns_unknown")), (AGAIN, ("transient", "dns_error")), ([], ("suspect", "dns_unknown"))],
    ids=["unknown", "try again", "no address"],
)
def test_lookup_failures(attempt, answer, wanted):
    outcome, _took = attempt("tcp", host="db.example", port=5432, resolver=resolver(answer))
    assert outcome[:2] == wanted and "db.example" in outcome.detail


def test_b44_a_hung_resolver_costs_the_attempt_only(attempt):
    outcome, took = attempt("tcp", host="db.example", port=5432, within=0.3, resolver=resolver(["127.0.0.1"], delay=5))
    assert outcome[:2] == ("transient", "dns_timeout") and took < 1.5


def test_a_hung_lookup_is_shared(attempt):
    stuck = resolver(["127.0.0.1"], delay=1)
    for _try in range(3):
        attempt("tcp", host="db.example", port=5432, within=0.1, resolver=stuck)
    assert len(stuck.calls) == 1


def test_a_name_that_appears_later(run, adv, monkeypatch):
    server = adv([Hang()])
    monkeypatch.setattr(socket, "getaddrinfo", resolver(GONE, GONE, ["127.0.0.1"])._getaddrinfo)
    result = run({"type": "tcp", "name": "db", "host": "db.example", "port": server.port})
    assert codes(result, "db") == ["dns_unknown", "ok"]


def test_b32_ipv6_literals(attempt, adv):
    try:
        server = adv([Read(b"\r\n\r\n"), b"HTTP/1.1 204 No\r\n\r\n"], host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    for host in ("::1", "[::1]"):
        assert attempt("tcp", host=host, port=server.port)[0].cls == "ready"
    assert attempt("http", url=f"http://[::1]:{server.port}/")[0].cls == "ready"
    assert f"Host: [::1]:{server.port}\r\n".encode() in server.received[2]
    assert attempt("tcp", host="localhost", port=server.port, resolver=resolver(["127.0.0.1", "::1"]))[0].cls == "ready"


def test_b32_a_blackhole_ends_at_the_deadline(run, blackhole):
    port = blackhole("127.0.0.1")
    result = run({"type": "tcp", "name": "hole", "host": "127.0.0.1", "port": port}, timeout=0.5, attempt_timeout=0.2)
    assert codes(result, "hole") == ["timeout"] and result["elapsed"] < 1.6


def test_an_address_that_never_answers_does_not_hold_up_the_next(attempt, adv, blackhole):
    server = adv([Hang()])
    blackhole("127.0.0.2", server.port)
    outcome, took = attempt("tcp", host="db.example", port=server.port, hold=0, resolver=resolver(["127.0.0.2", "127.0.0.1"]))
    assert outcome.cls == "ready" and took < 0.5


def test_errors_are_kept_for_each_address(attempt, adv):
    server = adv(listen=False)
    outcome, _took = attempt("tcp", host="db.example", port=server.port, resolver=resolver(["127.0.0.2", "127.0.0.1"]))
    assert outcome[:2] == ("transient", "refused")
    assert f"127.0.0.1:{server.port}" in outcome.detail and f"127.0.0.2:{server.port}" in outcome.detail


def test_a_poller_does_not_take_itself_for_the_server(attempt):
    """Connecting to a port of the ephemeral range, the kernel may choose that port for the poller's own end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    real = socket.socket.connect_ex

    class Narcissus(socket.socket):
        def connect_ex(self, address):
            self.bind(address)
            self.setblocking(True)
            result = real(self, address)
            self.setblocking(False)
            return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", Narcissus)
        outcome, _took = attempt("tcp", host="127.0.0.1", port=port)
    assert outcome[:2] == ("transient", "refused") and "itself" in outcome.detail


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        pytest.param(lambda path: None, ("transient", "no_socket"), id="missing"),
        pytest.param(lambda path: open(path, "w").close(), ("transient", "refused"), id="a file"),
    ],
)
def test_unix_sockets_that_are_not_there(attempt, tmp_path, make, wanted):
    path = str(tmp_path / "s")
    make(path)
    assert attempt("tcp", host=path)[0][:2] == wanted


def test_a_unix_socket(attempt, adv, tmp_path):
    adv([Hang()], path=str(tmp_path / "s"))
    assert attempt("tcp", host=str(tmp_path / "s"))[0].cls == "ready"


def test_a_unix_socket_without_permission_is_suspect(attempt, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect_ex", lambda _self, _address: errno.EACCES)
    assert attempt("tcp", host="/run/x.sock")[0][:2] == ("suspect", "denied")


def absent(**options):
    return {"type": "tcp", "name": "old", "state": "absent", **options}


def test_b18_absent_wants_a_refusal(run, adv):
    server = adv(listen=False)
    result = run(absent(host="127.0.0.1", port=server.port))
    assert not result["failed"] and codes(result, "old") == ["absent"]


@pytest.mark.parametrize("answer", [GONE, AGAIN], ids=["unknown", "try again"])
def test_b18_absent_is_not_a_name_that_does_not_resolve(run, monkeypatch, answer):
    monkeypatch.setattr(socket, "getaddrinfo", resolver(answer)._getaddrinfo)
    result = run(absent(host="old.example", port=1), timeout=0.3, suspect_after=0.1)
    assert result["reason"] == "timeout"


def test_b18_absent_is_not_a_timeout(run, blackhole):
    result = run(absent(host="127.0.0.1", port=blackhole("127.0.0.1")), timeout=0.5, attempt_timeout=0.1)
    assert result["reason"] == "timeout" and codes(result, "old") == ["timeout"]


def test_absent_waits_for_the_end(run, adv, later):
    server = adv([Hang()])
    later(0.3, server.close)
    result = run(absent(host="127.0.0.1", port=server.port, hold=0.01))
    assert codes(result, "old")[0] == "present" and codes(result, "old")[-1] == "absent"


@pytest.mark.parametrize("kind", ["http", "postgres", "redis"])
def test_absent_holds_for_every_kind(run, adv, kind):
    server = adv(listen=False)
    target = {"url": server.url} if kind == "http" else {"host": "127.0.0.1", "port": server.port}
    assert not run({"type": kind, "state": "absent", **target})["failed"]


def test_stable_for_wants_an_unbroken_while(run, later):
    with socket.socket() as reserve:
        reserve.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserve.bind(("127.0.0.1", 0))
        port = reserve.getsockname()[1]
    stop, steady, steady_at = threading.Event(), threading.Event(), []

    def flap():
        while not stop.is_set():
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen(64)
            if steady.is_set():
                steady_at.append(time.monotonic())
                stop.wait()
            stop.wait(0.1)
            listener.close()
            stop.wait(0.1)

    thread = threading.Thread(target=flap, daemon=True)
    thread.start()
    later(1.0, steady.set)
    result = run({"type": "tcp", "name": "p", "host": "127.0.0.1", "port": port, "hold": 0.01}, stable_for=0.6)
    ended = time.monotonic()
    stop.set()
    thread.join()
    assert not result["failed"]
    assert 0.55 <= ended - steady_at[0] < 2.0
    assert len(codes(result, "p")) >= 4


def test_b30_five_hundred_attempts_leave_nothing_open(run, adv):
    server = adv([])
    checks = [{"type": "tcp", "name": f"p{n}", "host": "127.0.0.1", "port": server.port} for n in range(10)]
    options = {"interval": {"min": 0.001, "max": 0.001}, "timeout": 0.3}
    run(*checks, **options)
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    total = 0
    while total < 500:
        total += sum(check["attempts"] for check in run(*checks, **options)["checks"].values())
    end = time.monotonic() + 5
    while len(os.listdir("/proc/self/fd")) > files or threading.active_count() > threads:
        assert time.monotonic() < end, (os.listdir("/proc/self/fd"), threading.enumerate())
        time.sleep(0.02)
