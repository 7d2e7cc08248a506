# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TLS contexts, and what a failed handshake means. Certificates are judged by OpenSSL's number: its texts differ
between versions, the numbers do not."""

from __future__ import annotations

import os
import ssl
from typing import Any, Callable

from ansible_collections.mlops.stack.plugins.module_utils._net._outcome import Outcome, suspect, transient

# X509_V_ERR_*: not yet valid, expired, self-signed, self-signed in the chain, unknown issuer, host name.
_CERTIFICATE = {
    9: "the certificate is not valid yet",
    10: "the certificate has expired",
    18: "the certificate is self-signed",
    19: "the chain ends in a self-signed certificate that ca_path does not hold",
    20: "the certificate's issuer is unknown; set ca_path",
    62: "the certificate is for another host name",
    64: "the certificate is for another address",
}
# "record layer failure" is what newer OpenSSL says of plain text where it wanted a TLS record.
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")


def make_context(
    validate: bool = True, ca_path: str | None = None, cert: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    """A client context. Raises OSError (ssl.SSLError is one) when a file cannot be read or used."""
    is_dir = bool(ca_path) and os.path.isdir(str(ca_path))
    context = ssl.create_default_context(cafile=None if is_dir else ca_path or None, capath=ca_path if is_dir else None)
    if not validate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert:
        context.load_cert_chain(cert, key or None)
    return context


def context_of(options: dict[str, Any], problem: Callable[[str], None]) -> ssl.SSLContext | None:
    """The context that a check's options ask for; files that cannot be used are its problem, and give None."""
    paths = [options.get(name) for name in ("ca_path", "client_cert", "client_key")]
    try:
        return make_context(options.get("validate_certs") is not False, *paths)
    except OSError as exc:
        problem(f"TLS files ({', '.join(path for path in paths if path) or 'the system CA'}) cannot be used: {exc}")
        return None


def from_ssl_error(exc: ssl.SSLError, doing: str) -> Outcome:
    if isinstance(exc, ssl.SSLCertVerificationError):
        number = exc.verify_code
        text = _CERTIFICATE.get(number) or exc.verify_message
        return suspect("tls_certificate", f"{doing}: {text} (verify code {number})")
    reason = exc.reason or ""
    if reason in _NOT_TLS:
        return suspect("not_tls", f"{doing}: the port does not speak TLS ({reason})")
    if "ALERT_CERTIFICATE_REQUIRED" in reason:
        return suspect("tls_client_certificate", f"{doing}: the server wants a client certificate; set client_cert")
    if "HANDSHAKE_FAILURE" in reason:
        return suspect("tls_handshake", f"{doing}: {reason}; the server may want client_cert")
    if isinstance(exc, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return transient("tls_closed", f"{doing}: the server closed the connection; it may want client_cert")
    return transient("tls_error", f"{doing}: {reason or exc}")
