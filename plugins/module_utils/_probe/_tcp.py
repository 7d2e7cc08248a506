# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TCP probe: something accepts, stays for a moment and, if asked, says the right thing."""

from __future__ import annotations

import re
from typing import Any, Callable

from ansible_collections.mlops.stack.plugins.module_utils._net._connection import Net, Stream
from ansible_collections.mlops.stack.plugins.module_utils._net._outcome import (
    NotReady,
    Outcome,
    ready,
    show_bytes,
    transient,
)

BANNER = 4096


def prepare(options: dict[str, Any], problem: Callable[[str], None]) -> dict[str, Any]:
    pattern = None
    if options.get("expect_regex") is not None:
        try:
            pattern = re.compile(options["expect_regex"].encode())
        except (re.error, RecursionError, OverflowError) as exc:
            problem(f"expect_regex {options['expect_regex']!r}: {exc}")
    hold = 0.1 if options.get("hold") is None else options["hold"]
    if hold < 0:
        problem(f"hold is {hold}, it cannot be negative")
    return {"host": options.get("host"), "port": options.get("port"), "pattern": pattern, "hold": hold}


def probe(check: dict[str, Any], net: Net, deadline: float) -> Outcome:
    try:
        with net.connect(check["host"], check["port"], deadline) as stream:
            if check["pattern"]:
                return _expect(check["pattern"], stream)
            return _hold(check["hold"], stream, net, deadline)
    except NotReady as exc:
        return exc.outcome


def _expect(pattern: re.Pattern[bytes], stream: Stream) -> Outcome:
    seen = b""
    while len(seen) < BANNER:
        try:
            part = stream.recv(BANNER - len(seen))
        except NotReady as exc:
            if exc.outcome.code != "timeout":
                raise
            return transient("no_match" if seen else "timeout", f"{exc.outcome.detail}; {_seen(seen)}")
        if not part:
            return transient("closed", f"{stream.peer} closed the connection; {_seen(seen)}")
        seen += part
        if pattern.search(seen):
            return ready("ok", show_bytes(seen))
    return transient("no_match", f"expect_regex is not in the first {BANNER} bytes; {_seen(seen)}")


def _seen(data: bytes) -> str:
    return f"it had sent '{show_bytes(data)}'" if data else "it had sent nothing"


def _hold(hold: float, stream: Stream, net: Net, deadline: float) -> Outcome:
    """A port forwarder accepts although nobody listens behind it, and hangs up a moment later."""
    if hold <= 0:
        return ready("ok")
    stream.deadline = min(deadline, net.clock() + hold)
    try:
        data = stream.recv(1)
    except NotReady as exc:
        if exc.outcome.code == "timeout":
            return ready("ok")
        raise
    if data:
        return ready("ok")
    return transient("closed", f"{stream.peer} accepted, then closed within {hold:g} s: nothing seems to listen behind it")
