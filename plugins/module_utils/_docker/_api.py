# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The few calls of the Docker Engine API that waiting needs, over a unix socket or plain TCP, on the standard library.

Every call has a deadline and its own connection: half a millisecond more than keep-alive, and nothing to repair when
the daemon restarts. Failures are NotReady; an answer that the API documents for the call (404) is a value.
"""

from __future__ import annotations

import calendar
import http.client
import json
import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any, Callable, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from ansible_collections.mlops.stack.plugins.module_utils._net._connection import HttpSocket, Net, Stream, read_at_most
from ansible_collections.mlops.stack.plugins.module_utils._net._outcome import (
    NotReady,
    permanent,
    shorten,
    suspect,
    transient,
)

NEWEST_TESTED = (1, 45)
MAX_REPLY = 16 * 1024 * 1024
MAX_EVENT = 65536
MAX_LOG = 4 * 1024 * 1024
ACTIONS = (
    "create", "start", "restart", "die", "oom", "kill", "pause", "unpause", "health_status", "rename", "destroy",
)  # fmt: skip


class Hello(NamedTuple):
    """What /_ping tells: the version to speak, the daemon's clock in whole seconds, and who answers."""

    version: str
    date: int
    podman: bool


def parse_host(text: str) -> tuple[str, int | None]:
    """``unix:///path`` or ``tcp://host:port`` as (path or host, port). Raises ValueError."""
    url = urlsplit(text)
    if url.scheme == "unix" and url.path.startswith("/"):
        if len(url.path.encode()) > 107:
            raise ValueError(f"docker_host {text!r}: a unix socket's path has at most 107 bytes")
        return url.path, None
    if url.scheme in ("tcp", "http") and url.hostname:
        return url.hostname, url.port or 2375
    raise ValueError(f"docker_host {text!r} is neither unix:///path nor tcp://host:port")


def parse_time(text: str | None) -> int:
    """An RFC 3339 time as integer nanoseconds since 1970; 0 for Docker's zero time and for nothing.

    datetime keeps six digits and, on Python 3.9, does not read the ``Z``: two lives of a container could look equal.
    """
    found = re.match(r"^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(Z|z|[+-]\d\d:?\d\d)?$", text or "")
    if not found or found.group(1) == "0001":
        return 0
    seconds = calendar.timegm(tuple(int(part) for part in found.groups()[:6]))
    zone = found.group(8) or "Z"
    if zone not in "Zz":
        offset = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
        seconds -= offset if zone[0] == "+" else -offset
    return seconds * 10**9 + int((found.group(7) or "").ljust(9, "0"))


class DockerApi:
    def __init__(self, docker_host: str, net: Net) -> None:
        self._host, self._port = parse_host(docker_host)
        self._where = docker_host
        self._net = net
        self.clock = net.clock
        self.version = ""

    def hello(self, deadline: float) -> Hello:
        """Greet the daemon and settle the API version; later calls use it."""
        status, headers, _body = self._call("/_ping", deadline, versioned=False)
        if status != 200:
            raise NotReady(suspect("docker_error", f"{self._where} answers /_ping with HTTP {status}"))
        offered = _version(headers.get("Api-Version") or "") or NEWEST_TESTED
        self.version = "%d.%d" % min(offered, NEWEST_TESTED)
        server = headers.get("Server") or ""
        return Hello(self.version, _http_date(headers.get("Date")), "libpod" in server.lower())

    def inspect(self, container: str, deadline: float) -> dict[str, Any] | None:
        status, value = self._json(f"/containers/{quote(container, safe='')}/json", deadline)
        return None if status == 404 else value

    def find(self, labels: list[str], deadline: float) -> list[str]:
        """Ids of all containers, stopped ones too, that carry all labels."""
        query = urlencode({"all": "1", "filters": json.dumps({"label": labels})})
        _status, value = self._json(f"/containers/json?{query}", deadline)
        return [entry["Id"] for entry in value or []]

    def offered(self, image: str, deadline: float) -> bool:
        """Whether a registry gives the image to the Engine, which knows mirrors and proxies, without a login."""
        return self._call(f"/distribution/{quote(image, safe='/:@')}/json", deadline)[0] == 200

    def _json(self, path: str, deadline: float) -> tuple[int, Any]:
        status, _headers, body = self._call(path, deadline)
        if status == 400 and b"API version" in body and self._floor(body, deadline):
            status, _headers, body = self._call(path, deadline)
        if status not in (200, 404):
            raise NotReady(suspect("docker_error", f"{self._where}: HTTP {status}: {_message(body)}"))
        try:
            return status, json.loads(body) if status == 200 else None
        except ValueError as exc:
            raise NotReady(suspect("docker_error", f"{self._where} does not answer with JSON: {exc}")) from exc

    def _floor(self, body: bytes, deadline: float) -> bool:
        """The daemon speaks only versions newer than those tested here: take the oldest it does."""
        _status, _headers, reply = self._call("/version", deadline, versioned=False)
        try:
            oldest = _version(json.loads(reply).get("MinAPIVersion") or "")
        except (ValueError, AttributeError):
            oldest = None
        if not oldest or "%d.%d" % oldest == self.version:
            return False
        self.version = "%d.%d" % oldest
        return True

    def _call(self, path: str, deadline: float, versioned: bool = True) -> tuple[int, Any, bytes]:
        with self._connect(deadline) as stream:
            response = self._request(stream, path, versioned)
            body = self._guard(read_at_most, response, MAX_REPLY)
            return response.status, response.headers, body

    def _connect(self, deadline: float) -> Stream:
        try:
            return self._net.connect(self._host, self._port, deadline)
        except NotReady as exc:
            outcome = exc.outcome
            if outcome.code == "denied":
                raise NotReady(permanent("docker_denied", f"{outcome.detail}; become root or a member of the docker group")) from exc
            if outcome.code == "timeout":
                raise NotReady(transient("docker_timeout", outcome.detail)) from exc
            raise NotReady(suspect("docker_unreachable", f"{outcome.detail}; is the Docker Engine running?")) from exc

    def _request(self, stream: Stream, path: str, versioned: bool = True) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("docker")
        connection.sock = HttpSocket(stream)
        prefix = f"/v{self.version}" if versioned and self.version else ""
        self._guard(connection.request, "GET", prefix + path, None, {"Connection": "close"})
        return self._guard(connection.getresponse)

    def _guard(self, operation: Callable[..., Any], *args: Any) -> Any:
        try:
            return operation(*args)
        except NotReady as exc:
            if exc.outcome.code == "timeout":
                raise NotReady(transient("docker_timeout", exc.outcome.detail)) from exc
            raise NotReady(suspect("docker_unreachable", exc.outcome.detail)) from exc
        except (http.client.HTTPException, ValueError) as exc:
            raise NotReady(suspect("docker_error", f"{self._where}: {type(exc).__name__}: {exc}")) from exc

    def events(self, since_ns: int, deadline: float, opened: Callable[[], None]) -> Iterator[dict[str, Any]]:
        """Container events from ``since_ns`` on, for as long as the daemon keeps the stream open.

        ``opened`` is called when the headers are there. The daemon sends them before it subscribes, so only
        ``since`` closes the gap; what happened between is replayed.
        """
        filters = json.dumps({"type": ["container"], "event": list(ACTIONS)})
        since = "%d.%09d" % divmod(since_ns, 10**9)
        with self._connect(deadline) as stream:
            response = self._request(stream, "/events?" + urlencode({"since": since, "filters": filters}))
            if response.status != 200:
                body = self._guard(response.read, 4096)
                raise NotReady(suspect("docker_error", f"{self._where} refuses events: HTTP {response.status}: {_message(body)}"))
            stream.deadline = None
            opened()
            while True:
                line = self._guard(response.readline, MAX_EVENT + 1)
                if not line:
                    return
                event = _event(line)
                if event:
                    yield event

    def log_tail(self, container: str, tty: bool, lines: int, size: int, deadline: float) -> list[str]:
        """The last ``lines`` lines, at most ``size`` bytes. Raises NotReady, for instance where the driver keeps none."""
        query = urlencode({"stdout": "1", "stderr": "1", "timestamps": "1", "tail": str(lines)})
        with self._connect(deadline) as stream:
            response = self._request(stream, f"/containers/{quote(container, safe='')}/logs?{query}")
            if response.status != 200:
                body = self._guard(response.read, 4096)
                raise NotReady(transient("log_unreadable", f"HTTP {response.status}: {_message(body)}"))
            tail = b""
            total = 0
            chunks = self._raw(response) if tty else self._frames(response)
            try:
                for chunk in chunks:
                    tail = (tail + chunk)[-size:]
                    total += len(chunk)
                    if total >= MAX_LOG:
                        break
            except NotReady:
                # What came before the failure is worth more than the failure.
                if not tail:
                    raise
        found = tail.decode("utf-8", "replace").splitlines()
        if total > len(tail) and len(found) > 1:
            found = found[1:]
        return found[-lines:] if lines else []

    def _raw(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        while True:
            chunk = self._guard(response.read1, 65536)
            if not chunk:
                return
            yield chunk

    def _frames(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """The payloads of Docker's multiplexed stream: 8 bytes of header (kind, length), then the data."""
        while True:
            header = self._guard(response.read, 8)
            if len(header) < 8:
                return
            left = int.from_bytes(header[4:8], "big")
            while left:
                part = self._guard(response.read, min(left, 65536))
                if not part:
                    return
                left -= len(part)
                yield part


def _version(text: str) -> tuple[int, int] | None:
    found = re.match(r"^(\d+)\.(\d+)$", text)
    return (int(found.group(1)), int(found.group(2))) if found else None


def _http_date(text: str | None) -> int:
    """Seconds since 1970 of a Date header; this machine's clock where there is none (same machine, as a rule)."""
    try:
        return int(parsedate_to_datetime(text or "").timestamp())
    except (TypeError, ValueError, IndexError):
        return int(time.time())


def _message(body: bytes) -> str:
    try:
        return shorten(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return shorten(body[:200].decode("utf-8", "replace"))


def _event(line: bytes) -> dict[str, Any] | None:
    """Only the fields that every API version has; a line that is no event of a container is no event."""
    try:
        raw = json.loads(line)
        actor = raw["Actor"]
        return {
            "action": raw["Action"],
            "id": actor["ID"],
            "attributes": actor.get("Attributes") or {},
            "time": int(raw["timeNano"]),
        }
    except (ValueError, KeyError, TypeError):
        return None
