# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Name resolution with a deadline.

getaddrinfo cannot be interrupted. Each name gets one daemon thread at a time, shared by all checks of that name: a
hung lookup costs the attempts that need it and nothing else, and does not keep the process alive.
"""

from __future__ import annotations

import socket
import threading
from typing import Any, Callable

from ansible_collections.mlops.stack.plugins.module_utils._net._outcome import NotReady, Outcome, suspect, transient

KEEP_FOUND = 1.0
KEEP_FAILED = 0.1

Address = tuple[int, Any]


class _Lookup:
    """One call of getaddrinfo; ``done`` is set when ``addresses`` or ``failure`` is there."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.ended = 0.0
        self.addresses: list[Address] = []
        self.failure: Outcome | None = None


def literal(host: str, port: int) -> Address | None:
    """The address, when ``host`` is one; no lookup is needed then."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, bare)
        except OSError:
            continue
        return family, (bare, port) if family == socket.AF_INET else (bare, port, 0, 0)
    return None


class Resolver:
    def __init__(self, clock: Callable[[], float], getaddrinfo: Callable[..., Any] | None = None) -> None:
        self._clock = clock
        self._getaddrinfo = getaddrinfo or socket.getaddrinfo
        self._lock = threading.Lock()
        self._lookups: dict[str, _Lookup] = {}

    def resolve(self, host: str, port: int, deadline: float) -> list[Address]:
        """All addresses of ``host`` with ``port`` filled in, or NotReady."""
        known = literal(host, port)
        if known:
            return [known]
        lookup = self._current(host)
        if not lookup.done.wait(max(0.0, deadline - self._clock())):
            raise NotReady(transient("dns_timeout", f"look up {host}: the resolver has not answered"))
        if lookup.failure:
            raise NotReady(lookup.failure)
        return [(family, (address[0], port) + tuple(address[2:])) for family, address in lookup.addresses]

    def _current(self, host: str) -> _Lookup:
        with self._lock:
            lookup = self._lookups.get(host)
            if lookup is not None:
                if not lookup.done.is_set():
                    return lookup
                keep = KEEP_FAILED if lookup.failure else KEEP_FOUND
                if self._clock() - lookup.ended < keep:
                    return lookup
            lookup = self._lookups[host] = _Lookup()
        threading.Thread(target=self._run, args=(host, lookup), name=f"lookup {host}", daemon=True).start()
        return lookup

    def _run(self, host: str, lookup: _Lookup) -> None:
        try:
            found = self._getaddrinfo(host, None, 0, socket.SOCK_STREAM)
            lookup.addresses = list(dict.fromkeys((entry[0], tuple(entry[4])) for entry in found))
            if not lookup.addresses:
                lookup.failure = suspect("dns_unknown", f"look up {host}: no address")
        except socket.gaierror as exc:
            lookup.failure = _from_gaierror(host, exc)
        except (OSError, UnicodeError) as exc:
            lookup.failure = transient("dns_error", f"look up {host}: {exc}")
        finally:
            lookup.ended = self._clock()
            lookup.done.set()


def _from_gaierror(host: str, exc: socket.gaierror) -> Outcome:
    detail = f"look up {host}: {exc.strerror or exc}"
    unknown = {getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)}
    # A container's name may appear later, so an unknown name is not the end yet.
    return suspect("dns_unknown", detail) if exc.errno in unknown else transient("dns_error", detail)
