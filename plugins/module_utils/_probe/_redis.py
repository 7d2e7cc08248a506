# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Redis probe: AUTH where there is a password, then PING, and the reply is read rather than trusted.

The server checks the login before it checks whether it is loading, so an answer to PING alone proves a listener only.
"""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.mlops.stack.plugins.module_utils._net._connection import Net, Stream
from ansible_collections.mlops.stack.plugins.module_utils._net._outcome import (
    NotReady,
    Outcome,
    permanent,
    ready,
    show_bytes,
    suspect,
    transient,
)
from ansible_collections.mlops.stack.plugins.module_utils._net._tls import context_of

MAX_LINE = 4096
_TRANSIENT = ("LOADING", "BUSY", "MASTERDOWN", "MISCONF", "TRYAGAIN", "CLUSTERDOWN")


def prepare(options: dict[str, Any], problem: Callable[[str], None]) -> dict[str, Any]:
    if options.get("username") is not None and options.get("password") is None:
        problem("username is given without password or password_file")
    tls = bool(options.get("tls"))
    for name in ("ca_path", "validate_certs"):
        if options.get(name) is not None and not tls:
            problem(f"{name} is given without tls")
    return {
        "host": options.get("host"),
        "port": 6379 if options.get("port") is None else options["port"],
        "username": options.get("username"),
        "password": options.get("password"),
        "tls": context_of(options, problem) if tls else None,
    }


def probe(check: dict[str, Any], net: Net, deadline: float) -> Outcome:
    try:
        with net.connect(check["host"], check["port"], deadline) as stream:
            if check["tls"] is not None:
                stream.start_tls(check["tls"], check["host"])
            if check["password"] is not None:
                login = [check["username"]] if check["username"] is not None else []
                _call(stream, "AUTH", *login, check["password"])
            return _call(stream, "PING")
    except NotReady as exc:
        return exc.outcome


def _call(stream: Stream, *words: str) -> Outcome:
    request = b"*%d\r\n" % len(words)
    for word in words:
        data = word.encode()
        request += b"$%d\r\n%s\r\n" % (len(data), data)
    stream.sendall(request)
    line = _line(stream)
    if line in (b"+OK", b"+PONG"):
        return ready("ok", line[1:].decode())
    raise NotReady(_refusal(line, words[0]))


def _line(stream: Stream) -> bytes:
    data = b""
    while not data.endswith(b"\r\n"):
        if data and data[:1] not in b"+-:$*":
            raise NotReady(_not_redis(stream, data))
        if len(data) >= MAX_LINE:
            raise NotReady(_not_redis(stream, data))
        part = stream.recv(MAX_LINE - len(data))
        if not part:
            raise NotReady(transient("closed", f"{stream.peer} closed the connection; it had sent '{show_bytes(data)}'"))
        data += part
        if b"\r\n" in data:
            data = data[: data.index(b"\r\n") + 2]
    return data[:-2]


def _not_redis(stream: Stream, data: bytes) -> Outcome:
    return suspect("not_redis", f"{stream.peer} does not speak the Redis protocol: '{show_bytes(data)}'")


def _refusal(line: bytes, command: str) -> Outcome:
    text = line[1:].decode("utf-8", "replace")
    word = text.split(" ", 1)[0]
    if line[:1] != b"-":
        return suspect("not_redis", f"unexpected reply to {command}: '{show_bytes(line)}'")
    code = f"redis_{word.lower()}"
    if word in _TRANSIENT or "max number of clients" in text:
        return transient(code, text)
    if word == "NOAUTH":
        return permanent(code, f"{text} Set password_file.")
    if word in ("WRONGPASS", "DENIED") or "invalid password" in text:
        return permanent(code, text)
    if word == "NOPERM" or command == "AUTH":
        return suspect(code, text)
    return transient(code, text)
