"""Scripted servers for the tests of wait_healthy: they do exactly what a test tells them, connection by connection."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from typing import Any

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


def reply(body: bytes, status: str = "200 OK", headers: str = "", length: Any = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n{headers}\r\n".encode() + body


class Step:
    """One thing a scripted server does with a connection."""

    def __call__(self, server: Adv, conn: socket.socket, number: int) -> None:
        raise NotImplementedError


class Read(Step):
    """Read until the marker, or until the peer ends; what came is kept in ``server.received``."""

    def __init__(self, until: bytes = b"\r\n\r\n") -> None:
        self.until = until

    def __call__(self, server: Adv, conn: socket.socket, number: int) -> None:
        while self.until not in server.received[number]:
            data = conn.recv(65536)
            if not data:
                return
            server.received[number] += data


class ReadSome(Step):
    """Read once."""

    def __call__(self, server: Adv, conn: socket.socket, number: int) -> None:
        server.received[number] += conn.recv(65536)


class Drip(Step):
    """Send byte by byte with a pause between."""

    def __init__(self, data: bytes, every: float) -> None:
        self.data = data
        self.every = every

    def __call__(self, server: Adv, conn: socket.socket, number: int) -> None:
        for byte in self.data:
            conn.sendall(bytes([byte]))
            if server.closing.wait(self.every):
                return


class Repeat(Step):
    """Send the same bytes until the peer goes away."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __call__(self, server: Adv, conn: socket.socket, number: int) -> None:
        while not server.closing.is_set():
            conn.sendall(self.data)


class Wait(Step):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, server: Adv, conn: socket.socket, number: int) -> None:
        server.closing.wait(self.seconds)


class Hang(Step):
    """Keep the connection open, silently, until the peer closes it or the test ends."""

    def __call__(self, server: Adv, conn: socket.socket, number: int) -> None:
        while not server.closing.is_set() and conn.recv(65536):
            pass


class Reset(Step):
    """Close with RST in place of FIN."""

    def __call__(self, server: Adv, conn: socket.socket, number: int) -> None:
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        conn.close()


Script = list[Any]  # of bytes to send, Steps, and callables that take the connection


class Adv:
    """A TCP (or unix socket) server with a script for each connection; the last script serves all further ones.

    Without ``listen`` the port is bound but refuses connections until ``listen()`` is called, so that it can be named
    before it is open.
    """

    def __init__(
        self,
        *scripts: Script,
        listen: bool = True,
        host: str = "127.0.0.1",
        path: str = "",
        tls: ssl.SSLContext | None = None,
        dual: bool = False,
    ) -> None:
        self.scripts = list(scripts)
        self.received: dict[int, bytes] = {}
        self.times: list[float] = []
        self.closing = threading.Event()
        self.tls = tls
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        if path:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(path)
            self.port = 0
        else:
            self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if ":" in host:
                self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
            self.sock.bind((host, 0))
            self.port = self.sock.getsockname()[1]
        if listen:
            self.listen()

    def listen(self) -> None:
        self.sock.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/"

    @property
    def count(self) -> int:
        return len(self.times)

    def _accept(self) -> None:
        while True:
            try:
                conn, _address = self.sock.accept()
            except OSError:
                return
            with self._lock:
                number = len(self.times)
                self.times.append(time.monotonic())
                self.received[number] = b""
                self._open.add(conn)
            threading.Thread(target=self._serve, args=(conn, number), daemon=True).start()

    def _serve(self, conn: socket.socket, number: int) -> None:
        script = self.scripts[min(number, len(self.scripts) - 1)]
        raw = conn
        with contextlib.suppress(OSError):
            if self.tls:
                conn = self.tls.wrap_socket(conn, server_side=True)
                with self._lock:
                    self._open.discard(raw)
                    self._open.add(conn)
            for step in script:
                if isinstance(step, bytes):
                    conn.sendall(step)
                elif isinstance(step, Step):
                    step(self, conn, number)
                else:
                    step(conn)
            if conn.fileno() >= 0:
                conn.shutdown(socket.SHUT_WR)
                # Unread input would turn the close into a reset.
                conn.settimeout(0.5)
                while conn.recv(65536):
                    pass
        with self._lock:
            self._open.discard(conn)
        conn.close()

    def close(self) -> None:
        self.closing.set()
        with self._lock:
            for sock in [self.sock, *self._open]:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def http(answer: bytes) -> Script:
    """Read the request, answer, close."""
    return [Read(), answer]


def codes(result: dict[str, Any], name: str) -> list[str]:
    """The sequence of codes in a check's timeline, events left out."""
    return [entry["code"] for entry in result["checks"][name]["timeline"] if entry["class"] != "event"]


def events(result: dict[str, Any], name: str) -> list[tuple[str, str]]:
    """The container events in a check's timeline."""
    return [(entry["code"], entry["detail"]) for entry in result["checks"][name]["timeline"] if entry["class"] == "event"]
