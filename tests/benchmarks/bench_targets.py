"""What the benchmark waits for: ports and containers that become ready at a moment that is written down."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
import socket
import tempfile
import time
import uuid
from collections.abc import Callable
from typing import NamedTuple, Protocol

# An HTTP target answers 503 for the last part of its ready time; before that its port is closed.
UNAVAILABLE_FROM = 0.6
REPLY = "HTTP/1.1 {}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
DEADLINE = 300.0  # seconds after which the benchmark gives up on the Engine


class Moment(NamedTuple):
    mono: float
    wall: float


def now() -> Moment:
    return Moment(time.monotonic(), time.time())


class Targets(Protocol):
    """``count`` targets; the i-th becomes ready i/count of the ready time after ``arm``, the last one at its end."""

    kind: str
    count: int
    ready: list[Moment]

    def arm(self, seconds: float) -> None:
        """Become ready, the last of them in ``seconds``."""


class Ports:
    """Ports of this process on the loopback: closed (refused), then for http 503, then 200; for tcp closed, then open."""

    def __init__(self, kind: str, count: int) -> None:
        self.kind, self.count = kind, count
        self.ready: list[Moment] = []
        self._serving: list[asyncio.Task[asyncio.Server]] = []
        # Bound and not listening: nobody else gets the port, and a connection is refused.
        self._sockets = [socket.socket() for _number in range(count)]
        for sock in self._sockets:
            sock.setblocking(False)
            sock.bind(("127.0.0.1", 0))
        self.ports: list[int] = [sock.getsockname()[1] for sock in self._sockets]
        self._good: set[int] = set()

    def arm(self, seconds: float) -> None:
        begin = asyncio.get_running_loop().time()
        for index in range(self.count):
            at = seconds * (index + 1) / self.count
            if self.kind == "http":
                self._at(begin + at * UNAVAILABLE_FROM, self._open, index)
            self._at(begin + at, self._become_ready, index)

    def _at(self, when: float, action: Callable[[int], None], index: int) -> None:
        loop = asyncio.get_running_loop()
        if when <= loop.time():
            action(index)
        else:
            loop.call_at(when, action, index)

    def _become_ready(self, index: int) -> None:
        self._good.add(index)
        if self.kind == "tcp":
            self._open(index)
        self.ready.append(now())

    def _open(self, index: int) -> None:
        sock = self._sockets[index]
        sock.listen(128)

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                if self.kind == "http":
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(REPLY.format("200 OK" if index in self._good else "503 Service Unavailable").encode())
                    await writer.drain()
                else:
                    await reader.read()
            writer.close()

        self._serving.append(asyncio.ensure_future(asyncio.start_server(answer, sock=sock, backlog=128)))

    async def close(self) -> None:
        for serving in self._serving:
            (await serving).close()
        for sock in self._sockets:
            sock.close()


class Containers:
    """A Compose project whose containers' healthchecks pass as soon as a file is there: the application is ready."""

    kind = "docker"

    def __init__(self, image: str, count: int, interval: float) -> None:
        self.count, self.interval = count, interval
        self.ready: list[Moment] = []
        self.healthy: dict[str, int] = {}  # name: timeNano of the last health_status: healthy
        self.project = f"wait-bench-{uuid.uuid4().hex[:6]}"
        self.services = [f"c{index:03}" for index in range(count)]
        self.names = [f"{self.project}-{service}-1" for service in self.services]
        self._directory = tempfile.TemporaryDirectory(prefix="wait-bench-")
        self.directory = pathlib.Path(self._directory.name)
        self._gate = self.directory / "gate"
        self._gate.mkdir()
        self._heard = asyncio.Condition()
        # Never unhealthy before it is healthy, for the peers take that for the end.
        patient = {"interval": f"{interval}s", "timeout": "30s", "retries": 100000}
        services = {
            service: {
                "image": image, "pull_policy": "never", "network_mode": "none", "stop_grace_period": "0s",
                "entrypoint": ["sleep", "infinity"], "volumes": [f"{self._gate}:/gate:ro"],
                "healthcheck": {"test": ["CMD", "test", "-e", f"/gate/{service}"], **patient},
            } for service in self.services}
        (self.directory / "compose.yaml").write_text(json.dumps({"name": self.project, "services": services}))

    async def _compose(self, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            "docker", "compose", "--project-directory", str(self.directory), *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        out, _err = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"docker compose {' '.join(arguments)} exited with {process.returncode}: {out.decode()}")

    async def __aenter__(self) -> Containers:
        self._events = await asyncio.create_subprocess_exec(
            "docker", "events", "--format", "{{json .}}", "--filter", "event=health_status",
            "--filter", f"label=com.docker.compose.project={self.project}", stdout=asyncio.subprocess.PIPE)
        self._listening = asyncio.ensure_future(self._listen())
        await self._compose("up", "--detach")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._listening.cancel()
        self._events.terminate()
        await self._events.wait()
        await self._compose("down", "--volumes", "--timeout", "0")
        self._directory.cleanup()

    async def _listen(self) -> None:
        assert self._events.stdout
        async for line in self._events.stdout:
            event = json.loads(line)
            if event["Action"] == "health_status: healthy":
                async with self._heard:
                    self.healthy[event["Actor"]["Attributes"]["name"]] = event["timeNano"]
                    self._heard.notify_all()

    async def reset(self) -> None:
        """All containers start anew, not ready."""
        for path in self._gate.iterdir():
            path.unlink()
        await self._compose("restart", "--timeout", "0")
        self.ready, self.healthy = [], {}

    def arm(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        for index, service in enumerate(self.services):
            loop.call_later(seconds * (index + 1) / self.count, self._become_ready, service)

    def _become_ready(self, service: str) -> None:
        (self._gate / service).touch()
        self.ready.append(now())

    async def last_healthy(self) -> float:
        """When Docker said of the last container that it is healthy, by the event's own stamp, in seconds since 1970."""
        async with self._heard:
            await asyncio.wait_for(self._heard.wait_for(lambda: len(self.healthy) == self.count), DEADLINE)
        return max(self.healthy.values()) / 1e9
