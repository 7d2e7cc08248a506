# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Password proofs of PostgreSQL: MD5 and SCRAM-SHA-256 (RFC 5802, RFC 7677; PostgreSQL manual, "SASL Authentication")."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import stringprep
import unicodedata

from ansible_collections.mlops.stack.plugins.module_utils._net._outcome import NotReady, show_bytes, suspect

# The server picks the work; 4096 is its default. The bound keeps a false server from holding a core.
MAX_ITERATIONS = 1000000


def md5_password(user: str, password: str, salt: bytes) -> bytes:
    # usedforsecurity: a node in FIPS mode would refuse MD5 although the server asked for it.
    inner = hashlib.md5(password.encode() + user.encode(), usedforsecurity=False).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode()


def saslprep(text: str) -> str:
    """RFC 4013; text that it forbids stays as it is, as the server does."""
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
    normal = unicodedata.normalize("NFKC", mapped)
    prohibited = (
        stringprep.in_table_c12,
        stringprep.in_table_c21_c22,
        stringprep.in_table_c3,
        stringprep.in_table_c4,
        stringprep.in_table_c5,
        stringprep.in_table_c6,
        stringprep.in_table_c7,
        stringprep.in_table_c8,
        stringprep.in_table_c9,
        stringprep.in_table_a1,
    )
    if not normal or any(table(c) for c in normal for table in prohibited):
        return text
    right_to_left = [stringprep.in_table_d1(c) for c in normal]
    mixed = any(stringprep.in_table_d2(c) for c in normal) or not (right_to_left[0] and right_to_left[-1])
    if any(right_to_left) and mixed:
        return text
    return normal


class Scram:
    """The client's side of one SCRAM-SHA-256 exchange, without channel binding."""

    def __init__(self, password: str, nonce: str = "") -> None:
        self._password = saslprep(password).encode()
        self._nonce = nonce or base64.b64encode(secrets.token_bytes(18)).decode()
        # PostgreSQL takes the user from the startup message and ignores the one here.
        self._bare = f"n=,r={self._nonce}"
        self._signature = b""
        self.verified = False

    def first(self) -> bytes:
        return f"n,,{self._bare}".encode()

    def final(self, server_first: bytes) -> bytes:
        text = server_first.decode("utf-8", "replace")
        try:
            fields = dict(part.split("=", 1) for part in text.split(","))
            nonce, salt, iterations = fields["r"], base64.b64decode(fields["s"], validate=True), int(fields["i"])
        except (KeyError, ValueError, binascii.Error) as exc:
            raise NotReady(suspect("pg_scram", f"the server's challenge is malformed: {show_bytes(server_first)}")) from exc
        if not nonce.startswith(self._nonce) or not 0 < iterations <= MAX_ITERATIONS:
            raise NotReady(suspect("pg_scram", "the server's challenge has a wrong nonce or iteration count"))
        salted = hashlib.pbkdf2_hmac("sha256", self._password, salt, iterations)
        client_key = _hmac(salted, b"Client Key")
        without_proof = f"c=biws,r={nonce}"
        signed = f"{self._bare},{text},{without_proof}".encode()
        proof = bytes(a ^ b for a, b in zip(client_key, _hmac(hashlib.sha256(client_key).digest(), signed)))
        self._signature = _hmac(_hmac(salted, b"Server Key"), signed)
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, server_final: bytes) -> None:
        """The server must prove that it knows the password as well."""
        wanted = b"v=" + base64.b64encode(self._signature)
        if not self._signature or not hmac.compare_digest(server_final, wanted):
            raise NotReady(suspect("pg_scram", "the server's signature is wrong: it does not know this password"))
        self.verified = True


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()
