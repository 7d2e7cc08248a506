"""A Docker Engine of a few hundred bytes, on a unix socket, that a test moves by hand.

When the headers of the event stream are sent and when its subscriber is registered are separate steps, as they are in
the real daemon; ``emit`` puts an event into the ring that ``since`` replays and sends it to whoever is registered.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

SECOND = 10**9


def stamp(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, SECOND)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


ZERO = "0001-01-01T00:00:00Z"


def container(
    name: str = "web",
    status: str = "running",
    health: str | None = None,
    streak: int = 0,
    exit_code: int = 0,
    restarts: int = 0,
    policy: str = "no",
    error: str = "",
    identity: str = "",
    started: int | None = None,
    finished: int | None = None,
    healthcheck: dict[str, Any] | None = None,
    log: list[dict[str, Any]] | None = None,
    oom: bool = False,
    tty: bool = False,
    labels: dict[str, str] | None = None,
) -> dict[str, Any]:
    """An inspect answer."""
    started = time.time_ns() - 60 * SECOND if started is None and status != "created" else started
    state: dict[str, Any] = {
        "Status": status,
        "Running": status in ("running", "paused", "restarting"),
        "Paused": status == "paused",
        "Restarting": status == "restarting",
        "OOMKilled": oom,
        "ExitCode": exit_code,
        "Error": error,
        "StartedAt": stamp(started) if started else ZERO,
        "FinishedAt": stamp(finished or (started or 0) + SECOND) if status in ("exited", "restarting", "dead") else ZERO,
    }
    if health:
        state["Health"] = {"Status": health, "FailingStreak": streak, "Log": log or []}
        healthcheck = healthcheck or {"Test": ["CMD", "true"], "Interval": SECOND, "Timeout": SECOND, "Retries": 3}
    return {
        "Id": identity or f"{name}-id".ljust(64, "0"),
        "Name": f"/{name}",
        "RestartCount": restarts,
        "State": state,
        "Config": {"Image": "image", "Tty": tty, "Healthcheck": healthcheck, "Labels": labels or {}, "Env": ["SECRET_TOKEN=abcdefgh"]},
        "HostConfig": {"RestartPolicy": {"Name": policy, "MaximumRetryCount": 0}},
    }


Answer = Any  # None, an inspect answer, or a callable that returns one of these


class FakeDocker:
    def __init__(self, path: str, api: str = "1.41", minimum: str = "1.12") -> None:
        self.path = path
        self.host = f"unix://{path}"
        self.api = api
        self.minimum = minimum
        self.server = "Docker/20.10 (linux)"
        self.containers: dict[str, Answer] = {}
        self.logs: dict[str, bytes | int] = {}
        self.requests: list[str] = []
        self.ring: list[dict[str, Any]] = []
        # Gates of the event stream, open unless a test closes them.
        self.send_headers = threading.Event()
        self.send_headers.set()
        self.register = threading.Event()
        self.register.set()
        self.headers_sent = threading.Event()
        self.hang = threading.Event()
        self.refuse_events = False
        self.content_type = True
        self.fail_status = 0
        self.log_read_whole = False
        self.streams: list[str] = []
        self._subscribers: list[queue.Queue[Any]] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._looks = 0
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.bind(path)
        self._sock.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, inspect: dict[str, Any]) -> dict[str, Any]:
        self.containers[inspect["Name"].lstrip("/")] = inspect
        return inspect

    def event(self, inspect: dict[str, Any], action: str, at: int | None = None, **attributes: str) -> dict[str, Any]:
        now = at or time.time_ns()
        return {
            "Type": "container",
            "Action": action,
            "Actor": {
                "ID": inspect["Id"],
                "Attributes": {"name": inspect["Name"].lstrip("/"), **(inspect["Config"]["Labels"] or {}), **attributes},
            },
            "time": now // SECOND,
            "timeNano": now,
        }

    def emit(self, inspect: dict[str, Any], action: str, at: int | None = None, **attributes: str) -> None:
        event = self.event(inspect, action, at, **attributes)
        with self._lock:
            self.ring.append(event)
            for subscriber in self._subscribers:
                subscriber.put(event)

    def change(self, inspect: dict[str, Any], action: str, **attributes: str) -> None:
        """What the daemon does: first its state changes, then it tells."""
        self.set(inspect)
        self.emit(inspect, action, **attributes)

    def lose(self, inspect: dict[str, Any]) -> None:
        """A change of which no event ever tells."""
        self.set(inspect)

    def cut_streams(self) -> None:
        with self._lock:
            for subscriber in self._subscribers:
                subscriber.put(None)
            self._subscribers.clear()

    def wait_subscribed(self, timeout: float = 5.0) -> None:
        end = time.monotonic() + timeout
        while not self._subscribers:
            assert time.monotonic() < end, "nobody subscribed"
            time.sleep(0.005)

    def then(self, action: Callable[..., Any], *arguments: Any, looks: int = 2) -> None:
        """Call something once the wait is listening and so many inspects were answered from now on.

        A wait looks at each container twice as it begins: at once, and when the event stream is there.
        """
        wanted = self._looks + looks

        def plan() -> None:
            while self._looks < wanted or not self._subscribers:
                if self._closing.wait(0.002):
                    return
            action(*arguments)

        threading.Thread(target=plan, daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        self.hang.clear()
        self.send_headers.set()
        self.register.set()
        self.cut_streams()
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _accept(self) -> None:
        while True:
            try:
                conn, _address = self._sock.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn: socket.socket) -> None:
        with contextlib.suppress(OSError), conn:
            data = b""
            while b"\r\n\r\n" not in data:
                part = conn.recv(65536)
                if not part:
                    return
                data += part
            if self.hang.is_set():
                conn.recv(1)
                return
            target = data.split(b" ")[1].decode()
            self.requests.append(target)
            self._answer(conn, target)
            if target.endswith("/json"):
                with self._lock:
                    self._looks += 1

    def _answer(self, conn: socket.socket, target: str) -> None:
        url = urlsplit(target)
        version, path = "", url.path
        if path.startswith("/v1."):
            version, path = path[2:].split("/", 1)[0], "/" + path[2:].split("/", 1)[1]
        if path == "/_ping":
            self._send(conn, 200, b"OK")
        elif path == "/version":
            self._send(conn, 200, json.dumps({"ApiVersion": self.api, "MinAPIVersion": self.minimum}).encode())
        elif version and _number(version) < _number(self.minimum):
            text = f"client version {version} is too old. Minimum supported API version is {self.minimum}"
            self._send(conn, 400, json.dumps({"message": text}).encode())
        elif self.fail_status:
            self._send(conn, self.fail_status, b'{"message": "the daemon is unwell"}')
        elif path == "/events":
            self._events(conn, parse_qs(url.query))
        elif path == "/containers/json":
            self._list(conn, parse_qs(url.query))
        else:
            self._container(conn, path)

    def _list(self, conn: socket.socket, query: dict[str, list[str]]) -> None:
        wanted = dict(label.split("=", 1) for label in json.loads(query["filters"][0])["label"])
        found = []
        for answer in list(self.containers.values()):
            inspect = answer() if callable(answer) else answer
            if inspect and all(inspect["Config"]["Labels"].get(k) == v for k, v in wanted.items()):
                found.append({"Id": inspect["Id"]})
        self._send(conn, 200, json.dumps(found).encode())

    def _container(self, conn: socket.socket, path: str) -> None:
        _empty, _containers, name, what = path.split("/", 3)
        name = unquote(name)
        inspect: Any = None
        for key, answer in list(self.containers.items()):
            one = answer() if callable(answer) and key == name else answer
            if isinstance(one, dict) and name in (key, one["Id"]):
                inspect = one
        if inspect is None:
            self._send(conn, 404, json.dumps({"message": f"No such container: {name}"}).encode())
        elif what == "json":
            self._send(conn, 200, json.dumps(inspect).encode())
        else:
            log = self.logs.get(inspect["Name"].lstrip("/"), b"")
            if isinstance(log, int):
                self._send(conn, log, b'{"message": "configured logging driver does not support reading"}')
            else:
                self._send(conn, 200, log)
                self.log_read_whole = True

    def _send(self, conn: socket.socket, status: int, body: bytes) -> None:
        kind = "Content-Type: application/json\r\n" if self.content_type else ""
        conn.sendall((f"HTTP/1.1 {status} Text\r\n{kind}{self._common()}Content-Length: {len(body)}\r\n\r\n").encode() + body)

    def _common(self) -> str:
        return f"Api-Version: {self.api}\r\nServer: {self.server}\r\nDate: {email.utils.formatdate(usegmt=True)}\r\n"

    def _events(self, conn: socket.socket, query: dict[str, list[str]]) -> None:
        if self.refuse_events:
            self._send(conn, 500, b'{"message": "no events today"}')
            return
        since = query["since"][0]
        self.streams.append(since)
        self.send_headers.wait(10)
        conn.sendall(f"HTTP/1.1 200 OK\r\n{self._common()}Transfer-Encoding: chunked\r\n\r\n".encode())
        self.headers_sent.set()
        self.register.wait(10)
        seconds, _dot, rest = since.partition(".")
        oldest = int(seconds) * SECOND + int(rest.ljust(9, "0"))
        subscriber: queue.Queue[Any] = queue.Queue()
        with self._lock:
            for event in self.ring[-256:]:
                if event["timeNano"] >= oldest:
                    subscriber.put(event)
            self._subscribers.append(subscriber)
        while not self._closing.is_set():
            event = subscriber.get()
            if event is None:
                return
            line = json.dumps(event).encode() + b"\n"
            conn.sendall(b"%x\r\n%s\r\n" % (len(line), line))


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def frames(*lines: bytes, stream: int = 1) -> bytes:
    """Log lines as Docker multiplexes them."""
    return b"".join(bytes([stream, 0, 0, 0]) + len(line).to_bytes(4, "big") + line for line in lines)


def check(name: str = "web", **options: Any) -> dict[str, Any]:
    return {"type": "docker", "name": name, "container": name, **options}


def shown(result: dict[str, Any], name: str = "web") -> Any:
    """What a result shows of the container of a check."""
    return result["checks"][name]["container"]
