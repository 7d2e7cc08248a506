# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PostgreSQL probe without libpq: the startup message of protocol 3.0, and what the server says to it.

``accepting`` is what pg_isready tells, except that it does not take a full server for a good one; ``ready`` logs in
and waits for ReadyForQuery, so the role, the password and the database are proven too.
"""

from __future__ import annotations

import ssl
import struct
from typing import Any, Callable, NamedTuple

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
from ansible_collections.mlops.stack.plugins.module_utils._probe._pg_auth import Scram, md5_password

SSL_REQUEST = 80877103
PROTOCOL_3 = 196608
MAX_MESSAGE = 65536
TERMINATE = b"X\x00\x00\x00\x04"
# The messages a server sends between the startup message and ReadyForQuery.
_KNOWN = b"RSKNEZv"


class Message(NamedTuple):
    kind: bytes
    body: bytes


def prepare(options: dict[str, Any], problem: Callable[[str], None]) -> dict[str, Any]:
    host, port = options.get("host") or "", 5432 if options.get("port") is None else options["port"]
    for name in ("user", "database"):
        if "\0" in (options.get(name) or ""):
            problem(f"{name} holds a NUL character")
    return {
        # As in libpq, a host that begins with a slash is the directory of the server's socket.
        "host": f"{host.rstrip('/')}/.s.PGSQL.{port}" if host.startswith("/") else host,
        "port": port,
        "user": options.get("user") or "postgres",
        "database": options.get("database"),
        "level": options.get("level") or "accepting",
        "password": options.get("password"),
        "sslmode": "disable" if host.startswith("/") else options.get("sslmode") or "prefer",
    }


def probe(check: dict[str, Any], net: Net, deadline: float) -> Outcome:
    try:
        with net.connect(check["host"], check["port"], deadline) as stream:
            if check["sslmode"] != "disable":
                refused = _start_tls(stream, check["sslmode"])
                if refused:
                    return refused
            _send_startup(stream, check)
            return _login(stream, check)
    except NotReady as exc:
        return exc.outcome


def _start_tls(stream: Stream, sslmode: str) -> Any:
    """Ask for TLS. The answer comes before the server looks at its own state, so it proves nothing else."""
    stream.sendall(struct.pack("!ii", 8, SSL_REQUEST))
    answer = stream.recv_exact(1)
    if answer == b"S":
        # As with libpq's prefer and require, the certificate is not verified.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        stream.start_tls(context, None)
        return None
    if answer == b"N":
        return suspect("tls_refused", "the server has no TLS, and sslmode is require") if sslmode == "require" else None
    if answer == b"E":
        return _from_error(_read_rest(stream, answer), {"level": "ready", "database": None})
    return _not_postgres(stream, answer)


def _send_startup(stream: Stream, check: dict[str, Any]) -> None:
    words = ["user", check["user"], "application_name", "wait_healthy"]
    if check["database"]:
        words += ["database", check["database"]]
    body = b"".join(word.encode() + b"\0" for word in words) + b"\0"
    stream.sendall(struct.pack("!ii", len(body) + 8, PROTOCOL_3) + body)


def _login(stream: Stream, check: dict[str, Any]) -> Outcome:
    """Follow the server's messages until they settle the level that was asked for."""
    scram = None
    while True:
        message = _read_rest(stream, stream.recv_exact(1))
        if message.kind == b"E":
            return _from_error(message, check)
        if message.kind == b"Z":
            stream.sendall(TERMINATE)
            return ready("ok", "logged in")
        if message.kind != b"R":
            continue
        if len(message.body) < 4:
            return _not_postgres(stream, b"R" + message.body)
        method, data = struct.unpack("!i", message.body[:4])[0], message.body[4:]
        if method == 0:
            if scram and not scram.verified:
                return suspect("pg_scram", "the server let us in without proving that it knows the password")
            continue
        if check["level"] == "accepting":
            # Hanging up here leaves no line in the server's log.
            return ready("ok", "asks for a login")
        if method not in (3, 5, 10, 11, 12):
            return permanent("pg_auth_method", f"the server asks for authentication method {method}, which is not supported here")
        if check["password"] is None:
            return permanent("pg_password_missing", f"the server asks {check['user']} for a password; set password_file")
        if method == 3:
            _send_password(stream, check["password"].encode() + b"\0")
        elif method == 5:
            _send_password(stream, md5_password(check["user"], check["password"], data[:4]) + b"\0")
        elif method == 10:
            if b"SCRAM-SHA-256" not in data.split(b"\0"):
                return permanent("pg_auth_method", f"the server offers only {show_bytes(data)}, which is not supported here")
            scram = Scram(check["password"])
            first = scram.first()
            _send_password(stream, b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first)
        elif scram is None:
            return _not_postgres(stream, b"R" + message.body)
        elif method == 11:
            _send_password(stream, scram.final(data))
        else:
            scram.verify(data)


def _send_password(stream: Stream, data: bytes) -> None:
    stream.sendall(b"p" + struct.pack("!i", len(data) + 4) + data)


def _read_rest(stream: Stream, kind: bytes) -> Message:
    if kind not in _KNOWN:
        raise NotReady(_not_postgres(stream, kind))
    length = stream.recv_exact(4)
    size = struct.unpack("!i", length)[0]
    # The length is a stranger's word: nothing is allocated on it before it is plausible.
    if not 4 <= size <= MAX_MESSAGE:
        raise NotReady(_not_postgres(stream, kind + length))
    return Message(kind, stream.recv_exact(size - 4))


def _not_postgres(stream: Stream, data: bytes) -> Outcome:
    return suspect("not_postgres", f"{stream.peer} does not speak the PostgreSQL protocol: '{show_bytes(data)}'")


def _from_error(message: Message, check: dict[str, Any]) -> Outcome:
    fields = {part[:1]: part[1:].decode("utf-8", "replace") for part in message.body.split(b"\0") if part}
    state, text = fields.get(b"C", ""), fields.get(b"M", "no text")
    code = f"pg_{state or 'error'}"
    if check["level"] == "accepting":
        if state in ("28000", "28P01") or (state == "3D000" and not check["database"]):
            return ready("ok", text)
        return transient(code, text)
    if state in ("28000", "28P01"):
        return suspect(code, text)
    return transient(code, text)
