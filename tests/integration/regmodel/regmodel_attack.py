"""Clients that mean harm to a RegModel: python regmodel_attack.py URL SECONDS KIND...; all kinds at once, and none waits for an answer's sense.

Prints the statuses of the answers by kind, as JSON. A process of its own: its work must not slow down whoever measures.
"""

from __future__ import annotations

import collections
import gzip
import json
import random
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

MB = 1024 * 1024
SIZE = 16 * MB - 1024
HEAD = "POST /predict HTTP/1.1\r\nHost: regmodel\r\nContent-Type: application/json\r\n"


def filled(head: bytes, piece: bytes, end: bytes = b"") -> bytes:
    """A body of SIZE bytes."""
    return head + piece * ((SIZE - len(head) - len(end)) // len(piece)) + end


def keys() -> bytes:
    """A million keys, each another."""
    return ("{" + ",".join([f'"k{number}":0' for number in range(1_300_000)]))[: SIZE - 1].rpartition(",")[0].encode() + b"}"


BODIES: dict[str, Callable[[], bytes]] = {
    "keys": keys,
    "wide": lambda: filled(b'{"inputs":[{"a":1,"b":2', b',"":0', b"}]}"),
    "deep": lambda: filled(b'{"inputs":', b"["),
    "rows": lambda: filled(b'{"inputs":[{}', b",{}", b"]}"),
    "nested": lambda: filled(b'{"inputs":[0', b',{"a":[' + b"[]," * 60_000 + b"[]]}", b"]}"),
    "data before columns": lambda: filled(b'{"dataframe_split":{"data":[0', b",[[],{}]", b'],"columns":["a"]}}'),
    "blank": lambda: filled(b'{"inputs":[', b" ", b"]}"),
    "text": lambda: filled(b'{"inputs":[{"a":"', "\N{GRINNING FACE}".encode(), b'"}]}'),
    "digits": lambda: filled(b'{"inputs":[{"a":', b"9", b"}]}"),
    "not UTF-8": lambda: filled(b'{"inputs":[{"a":"', b"\xff", b'"}]}'),
    "half a character": lambda: b'{"inputs":[{"\\ud800":"\\udfff"}]}',
    "most rows": lambda: b'{"dataframe_split":{"columns":["a","b"],"data":[' + b"[1,2]," * 99_999 + b"[1,2]]}}",
    "small": lambda: b'{"inputs":[' + b"{}," * 20_000 + b"{}]}",
}


def request(body: bytes, *headers: str) -> bytes:
    return "".join([HEAD, *(f"{header}\r\n" for header in headers), f"Content-Length: {len(body)}\r\n\r\n"]).encode() + body


class Attack:
    """One server, until a moment."""

    def __init__(self, url: str, seconds: float) -> None:
        parts = urlsplit(url)
        self.requests = {name: request(body()) for name, body in BODIES.items()} if seconds else {}
        self.address = (str(parts.hostname), int(parts.port or 80))
        self.end = time.monotonic() + seconds
        self.statuses: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)

    def running(self) -> bool:
        return time.monotonic() < self.end

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=max(1.0, self.end - time.monotonic()))

    def note(self, kind: str, connection: socket.socket) -> None:
        found = re.match(rb"HTTP/1.1 (\d+)", connection.recv(65536))
        self.statuses[kind][found[1].decode() if found else "closed"] += 1

    def again(self, kind: str, step: Callable[[str], None]) -> None:
        while self.running():
            try:
                step(kind)
            except OSError as error:
                self.statuses[kind][type(error).__name__] += 1

    def body(self, kind: str) -> None:
        data = self.requests[kind]
        while self.running():
            self.statuses[kind]["tried"] += 1
            try:
                with self.connect() as connection:
                    connection.sendall(data)
                    self.note(kind, connection)
            except OSError as error:
                self.statuses[kind][type(error).__name__] += 1

    def huge(self, kind: str) -> None:
        """A body without an end."""
        with self.connect() as connection:
            connection.sendall(f"{HEAD}Content-Length: {10**12}\r\n\r\n".encode())
            while self.running():
                connection.sendall(b" " * MB)

    def compressed(self, kind: str) -> None:
        with self.connect() as connection:
            connection.sendall(request(gzip.compress(b"[" * 10_000_000), "Content-Encoding: gzip"))
            self.note(kind, connection)

    def endless_head(self, kind: str) -> None:
        with self.connect() as connection:
            connection.sendall(HEAD.encode())
            while self.running():
                connection.sendall(b"X-A: " + b"a" * 65536 + b"\r\n")

    def tiny_chunks(self, kind: str) -> None:
        with self.connect() as connection:
            connection.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
            while self.running():
                connection.sendall(b"1\r\n[\r\n" * 100_000)

    def unread(self, kind: str) -> None:
        """Answers that nobody reads, many to a connection."""
        with self.connect() as connection:
            while self.running():
                connection.sendall(self.requests["small"])

    def _dribble(self, kind: str, count: int, head: bytes, drop: bytes) -> None:
        """Many connections that each say a little from time to time."""
        held: list[socket.socket] = []
        while self.running():
            while len(held) < count and self.running():
                held.append(self.connect())
                held[-1].sendall(head)
            for connection in list(held):
                try:
                    connection.sendall(drop)
                except OSError:
                    self.statuses[kind]["ended"] += 1
                    held.remove(connection)
                    connection.close()
            time.sleep(random.uniform(0.1, 0.3))
        for connection in held:
            connection.close()

    def slow_heads(self, kind: str) -> None:
        self._dribble(kind, 300, HEAD.encode(), b"X")

    def slow_bodies(self, kind: str) -> None:
        self._dribble(kind, 150, f'{HEAD}Content-Length: {4 * MB}\r\n\r\n{{"inputs":['.encode(), b" " * 64)

    def fast_enough_bodies(self, kind: str) -> None:
        """As large as a body may be small, and again as much a second: all that may be held at one time is."""
        self._dribble(kind, 40, f'{HEAD}Content-Length: {8 * MB}\r\n\r\n{{"inputs":['.encode(), b" " * 65536)

    def silent(self, kind: str) -> None:
        self._dribble(kind, 300, b"", b"")

    def kinds(self) -> Iterator[tuple[str, int, Callable[[str], None]]]:
        """(name, clients at once, what each does until the end)"""
        for name in BODIES:
            yield name, 2, self.body
        for step, clients in ((self.huge, 2), (self.compressed, 2), (self.endless_head, 2), (self.tiny_chunks, 2), (self.unread, 4),
                              (self.slow_heads, 1), (self.slow_bodies, 1), (self.fast_enough_bodies, 1), (self.silent, 1)):
            yield step.__name__, clients, step


def main(url: str, seconds: str, *wanted: str) -> None:
    attack = Attack(url, float(seconds))
    threads = [threading.Thread(target=attack.again, args=(name, step)) for name, clients, step in attack.kinds() if name in wanted or not wanted
               for _client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(attack.statuses))


if __name__ == "__main__":
    main(*sys.argv[1:])
