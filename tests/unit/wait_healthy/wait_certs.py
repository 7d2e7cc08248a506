"""Certificates for the tests, made on the spot: good ones and each kind of bad one."""

from __future__ import annotations

import datetime
import ipaddress
import pathlib
import ssl
import time
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)
Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


class Certs:
    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.ca = self._make("test CA", None, authority=True)
        self.ca_file = self._write("ca", self.ca)

    def context(self, name: str, issuer: Pair | None, host: str = "127.0.0.1", start: int = -1, days: int = 10) -> ssl.SSLContext:
        """A server context with a certificate for ``host``, valid from ``start`` days from now; no issuer means self-signed."""
        path = self.write(name, issuer, host, start, days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def write(self, name: str, issuer: Pair | None, host: str = "127.0.0.1", start: int = -1, days: int = 10) -> str:
        return self._write(name, self._make(host, issuer, start=start, days=days))

    def other_ca(self) -> Pair:
        return self._make("another CA", None, authority=True)

    def _make(self, subject: str, issuer: Pair | None, authority: bool = False, start: int = -1, days: int = 10) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        begin = datetime.datetime.fromtimestamp(time.time(), datetime.timezone(datetime.timedelta())) + start * DAY
        builder: Any = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer[0].subject if issuer else name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + days * DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if issuer:
            builder = builder.add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer[1].public_key()), critical=False
            )
        if authority:
            usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
            builder = builder.add_extension(usage, critical=True)
        else:
            try:
                alternative: Any = x509.IPAddress(ipaddress.ip_address(subject))
            except ValueError:
                alternative = x509.DNSName(subject)
            builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key

    def _write(self, name: str, pair: Pair) -> str:
        certificate, key = pair
        path = self.directory / f"{name}.pem"
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        return str(path)
