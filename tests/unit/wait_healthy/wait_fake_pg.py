"""The server's side of the PostgreSQL start-up, spoken by hand, with a SCRAM-SHA-256 written from RFC 5802."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import struct
from collections.abc import Callable
from typing import Any

AUTH_OK = b"R" + struct.pack("!ii", 8, 0)
READY = b"S" + struct.pack("!i", 22) + b"server_version\0" + b"15\0" + b"Z" + struct.pack("!i", 5) + b"I"
SASL = b"R" + struct.pack("!ii", 8 + 15, 10) + b"SCRAM-SHA-256\0\0"
SSL_REQUEST = struct.pack("!ii", 8, 80877103)


def error(state: str, text: str = "text") -> bytes:
    body = b"SFATAL\0VFATAL\0C" + state.encode() + b"\0M" + text.encode() + b"\0\0"
    return b"E" + struct.pack("!i", len(body) + 4) + body


def auth(method: int, data: bytes = b"") -> bytes:
    return b"R" + struct.pack("!ii", 8 + len(data), method) + data


def exact(conn: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = conn.recv(size - len(data))
        if not part:
            raise OSError("the client is gone")
        data += part
    return data


def startup(conn: socket.socket, answer_ssl: bytes = b"N") -> dict[str, str]:
    """Read the startup message, after answering an SSLRequest."""
    while True:
        size, code = struct.unpack("!ii", exact(conn, 8))
        if code != 80877103:
            words = exact(conn, size - 8).decode().split("\0")
            assert code == 196608
            return {words[i]: words[i + 1] for i in range(0, len(words) - 1, 2)}
        conn.sendall(answer_ssl)


def password_message(conn: socket.socket) -> bytes:
    kind, size = struct.unpack("!ci", exact(conn, 5))
    assert kind == b"p"
    return exact(conn, size - 4)


def says(*messages: bytes) -> list[Callable[[socket.socket], None]]:
    """A script: read the start-up, say these, close."""

    def talk(conn: socket.socket) -> None:
        startup(conn)
        for message in messages:
            conn.sendall(message)

    return [talk]


def asks_password(method: int, right: Callable[[bytes], bool], data: bytes = b"") -> list[Any]:
    """A script that asks for a cleartext (3) or MD5 (5) password."""

    def talk(conn: socket.socket) -> None:
        startup(conn)
        conn.sendall(auth(method, data))
        good = right(password_message(conn).rstrip(b"\0"))
        conn.sendall(AUTH_OK + READY if good else error("28P01", "password authentication failed"))

    return [talk]


def scram(password: str, forge: bool = False, skip: bool = False, iterations: int = 4096) -> list[Any]:
    """A script that runs SCRAM. ``forge``: with a false signature; ``skip``: lets the client in without one."""

    def talk(conn: socket.socket) -> None:
        startup(conn)
        conn.sendall(SASL)
        message = password_message(conn)
        mechanism, rest = message.split(b"\0", 1)
        assert mechanism == b"SCRAM-SHA-256"
        (size,) = struct.unpack("!i", rest[:4])
        first = rest[4 : 4 + size].decode()
        assert first.startswith("n,,")
        bare = first[3:]
        nonce = bare.split("r=")[1] + "serverpart"
        salt = b"0123456789abcdef"
        server_first = f"r={nonce},s={base64.b64encode(salt).decode()},i={iterations}"
        conn.sendall(auth(11, server_first.encode()))
        final = password_message(conn).decode()
        without_proof, proof = final.rsplit(",p=", 1)
        assert without_proof == f"c=biws,r={nonce}"
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
        signed = f"{bare},{server_first},{without_proof}".encode()
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
        mask = int.from_bytes(base64.b64decode(proof), "big") ^ int.from_bytes(signature, "big")
        if mask.to_bytes(32, "big") != client_key:
            conn.sendall(error("28P01", "password authentication failed"))
            return
        verifier = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
        if forge:
            verifier = bytes(32)
        if not skip:
            conn.sendall(auth(12, b"v=" + base64.b64encode(verifier)))
        conn.sendall(AUTH_OK + READY)

    return [talk]
