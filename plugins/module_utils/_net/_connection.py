# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections for probes: every step of an attempt (resolve, connect, TLS, send, read) ends at one absolute deadline.

A socket's own timeout bounds one operation only: a peer that sends a byte now and then holds such a client for
as long as it likes. Here the timeout is computed anew from the attempt's deadline before each operation.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import io
import os
import select
import socket
import ssl
import threading
import time
from typing import Any, Callable

from ansible_collections.mlops.stack.plugins.module_utils._net._outcome import (
    NotReady,
    Outcome,
    shorten,
    suspect,
    transient,
)
from ansible_collections.mlops.stack.plugins.module_utils._net._resolve import Resolver
from ansible_collections.mlops.stack.plugins.module_utils._net._tls import from_ssl_error

STAGGER = 0.05

_CODES = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ECONNABORTED: "reset",
    errno.ENOTCONN: "reset",
    errno.ETIMEDOUT: "timeout",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETDOWN: "unreachable",
    errno.EADDRNOTAVAIL: "unreachable",
    errno.ENOENT: "no_socket",
    errno.EMFILE: "out_of_files",
    errno.ENFILE: "out_of_files",
}
# What is told of several addresses that failed in different ways: a timeout leaves most open, so it comes first.
_TELLING = ("timeout", "denied", "out_of_files", "os_error", "reset", "refused", "no_socket", "unreachable")


def from_os_error(exc: OSError, doing: str) -> Outcome:
    """Classify a failed socket operation; ``doing`` says which (``connect to 127.0.0.1:80``)."""
    if isinstance(exc, ssl.SSLError):
        return from_ssl_error(exc, doing)
    if isinstance(exc, (socket.timeout, TimeoutError)):
        return transient("timeout", f"{doing}: no answer in time")
    if exc.errno in (errno.EACCES, errno.EPERM):
        return suspect("denied", f"{doing}: {os.strerror(exc.errno)}")
    code = _CODES.get(exc.errno or 0)
    text = os.strerror(exc.errno) if exc.errno else (str(exc) or type(exc).__name__)
    return transient(code or "os_error", f"{doing}: {text}")


class Stream:
    """A connected socket whose every operation is bounded by the attempt's deadline; failures are NotReady."""

    def __init__(self, net: Net, sock: socket.socket, peer: str, deadline: float) -> None:
        self.net = net
        self.sock = sock
        self.peer = peer
        self.deadline: float | None = deadline

    def _arm(self, doing: str) -> None:
        if self.deadline is None:
            self.sock.settimeout(None)
            return
        left = self.deadline - self.net.clock()
        if left <= 0:
            raise NotReady(transient("timeout", f"{doing} {self.peer}: the attempt's time was over"))
        self.sock.settimeout(left)

    def _do(self, doing: str, operation: Callable[..., Any], *args: Any) -> Any:
        self._arm(doing)
        try:
            return operation(*args)
        except OSError as exc:
            raise NotReady(from_os_error(exc, f"{doing} {self.peer}")) from exc

    def recv(self, size: int) -> bytes:
        return self._do("read from", self.sock.recv, size)

    def recv_into(self, buffer: Any) -> int:
        return self._do("read from", self.sock.recv_into, buffer)

    def sendall(self, data: bytes) -> None:
        self._do("send to", self.sock.sendall, data)

    def recv_exact(self, size: int) -> bytes:
        """``size`` bytes, or NotReady ``closed`` when the peer ends before them."""
        parts = bytearray()
        while len(parts) < size:
            part = self.recv(size - len(parts))
            if not part:
                raise NotReady(transient("closed", f"{self.peer} closed the connection after {len(parts)} bytes"))
            parts += part
        return bytes(parts)

    def start_tls(self, context: ssl.SSLContext, server_name: str | None) -> None:
        self._arm("TLS handshake with")
        try:
            wrapped = context.wrap_socket(self.sock, server_hostname=server_name, do_handshake_on_connect=False)
        except (OSError, ValueError) as exc:
            raise NotReady(transient("tls_error", f"TLS with {self.peer}: {exc}")) from exc
        self.net.swap(self.sock, wrapped)
        self.sock = wrapped
        self._do("TLS handshake with", wrapped.do_handshake)

    def close(self) -> None:
        self.net.forget(self.sock)
        self.sock.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class HttpSocket:
    """What http.client asks of a socket. It closes its socket while the body is still to be read; we close ours."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.sendall = stream.sendall

    def makefile(self, *args: Any, **kwargs: Any) -> io.BufferedReader:
        return io.BufferedReader(_Raw(self._stream))

    def close(self) -> None:
        pass


class _Raw(io.RawIOBase):
    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._stream.recv_into(buffer)


class Net:
    """Opens streams, and can cut all that are open when the wait is over."""

    def __init__(self, resolver: Resolver | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.resolver = resolver or Resolver(clock)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False

    def connect(self, host: str, port: int | None, deadline: float) -> Stream:
        """Connect to a name, an address or (``host`` begins with ``/``) a unix socket."""
        if host.startswith("/"):
            return self._race([(socket.AF_UNIX, host)], deadline)
        return self._race(self.resolver.resolve(host, port or 0, deadline), deadline)

    def _race(self, addresses: list[tuple[int, Any]], deadline: float) -> Stream:
        """Try all addresses, each STAGGER after the one before; the first that connects wins."""
        waiting = list(addresses)
        pending: dict[int, tuple[socket.socket, str]] = {}
        failures: list[Outcome] = []
        poller = select.poll()
        next_start = self.clock()
        try:
            while waiting or pending:
                now = self.clock()
                if now >= deadline:
                    break
                if waiting and (now >= next_start or not pending):
                    family, address = waiting.pop(0)
                    label = _label(family, address)
                    sock = self._new_socket(family, label)
                    result = self._start(sock, address, label)
                    next_start = now + STAGGER
                    if result is None:
                        return self._won(sock, label, deadline)
                    if isinstance(result, Outcome):
                        self._drop(sock)
                        failures.append(result)
                        continue
                    pending[sock.fileno()] = (sock, label)
                    poller.register(sock, select.POLLOUT)
                until = min(deadline, next_start) if waiting else deadline
                for fd, _event in poller.poll(max(0.0, until - self.clock()) * 1000):
                    sock, label = pending.pop(fd)
                    poller.unregister(fd)
                    failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not failed and _is_self(sock):
                        failed = errno.ECONNREFUSED
                    if not failed:
                        return self._won(sock, label, deadline)
                    self._drop(sock)
                    failures.append(from_os_error(OSError(failed, ""), f"connect to {label}"))
        finally:
            for sock, _peer in pending.values():
                self._drop(sock)
        failures += [transient("timeout", f"connect to {label}: no answer in time") for _s, label in pending.values()]
        failures += [transient("timeout", f"connect to {_label(f, a)}: no time left") for f, a in waiting]
        raise NotReady(_combine(failures))

    def _start(self, sock: socket.socket, address: Any, label: str) -> Any:
        """None: connected. True: under way. An Outcome: failed."""
        try:
            number = sock.connect_ex(address)
        except OSError as exc:
            # A unix path that does not fit in sockaddr_un raises without a number.
            return from_os_error(exc, f"connect to {label}")
        if number == 0:
            return transient("refused", f"connect to {label}: connected to itself") if _is_self(sock) else None
        if number in (errno.EINPROGRESS, errno.EAGAIN, errno.EINTR):
            if sock.family == socket.AF_UNIX:
                # A full backlog: nothing will tell when there is room, so it is for the next attempt.
                return transient("backlog_full", f"connect to {label}: the listener's queue is full")
            return True
        return from_os_error(OSError(number, ""), f"connect to {label}")

    def _new_socket(self, family: int, label: str) -> socket.socket:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as exc:
            raise NotReady(from_os_error(exc, f"open a socket for {label}")) from exc
        sock.setblocking(False)
        with self._lock:
            if not self._closed:
                self._open.add(sock)
                return sock
        sock.close()
        raise NotReady(transient("stopped", f"connect to {label}: the wait is over"))

    def _won(self, sock: socket.socket, label: str, deadline: float) -> Stream:
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Stream(self, sock, label, deadline)

    def _drop(self, sock: socket.socket) -> None:
        self.forget(sock)
        sock.close()

    def forget(self, sock: socket.socket) -> None:
        with self._lock:
            self._open.discard(sock)

    def swap(self, old: socket.socket, new: socket.socket) -> None:
        with self._lock:
            self._open.discard(old)
            self._open.add(new)

    def close_all(self) -> None:
        """Wake every thread that reads; each closes its own socket, so that no number is reused under it."""
        with self._lock:
            self._closed = True
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


def read_at_most(response: http.client.HTTPResponse, limit: int) -> bytes:
    """The body, cut after ``limit`` bytes; in pieces, for a large read costs its full size even for a small body."""
    parts = bytearray()
    while len(parts) < limit:
        part = response.read(min(65536, limit - len(parts)))
        if not part:
            break
        parts += part
    return bytes(parts)


def _is_self(sock: socket.socket) -> bool:
    """A poller of a local port in the ephemeral range can be given that port as its own and connect to itself."""
    if sock.family == socket.AF_UNIX:
        return False
    try:
        return sock.getsockname() == sock.getpeername()
    except OSError:
        return False


def _label(family: int, address: Any) -> str:
    if family == socket.AF_UNIX:
        return str(address)
    return f"[{address[0]}]:{address[1]}" if family == socket.AF_INET6 else f"{address[0]}:{address[1]}"


def _combine(failures: list[Outcome]) -> Outcome:
    """One outcome for several addresses: the most open failure leads, the others stand in the detail."""
    order = sorted(failures, key=lambda o: _TELLING.index(o.code) if o.code in _TELLING else len(_TELLING))
    return order[0]._replace(detail=shorten("; ".join(o.detail for o in order)))
