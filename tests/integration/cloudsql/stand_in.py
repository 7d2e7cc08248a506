"""Stands in for Google: the token endpoint, the SQL Admin API, and the instance's end of the tunnel. stand_in.py CONFIG

CONFIG is JSON: the accounts (e-mail -> {"public_key": PEM, "allowed": whether it may connect}), the instances
(project:region:name -> {"ip": where its end of the tunnel is; empty: here}), and the database that the tunnel leads to (host, port).

What is answered is what the real ones answer: https://developers.google.com/identity/protocols/oauth2/service-account,
https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1beta4 (connect.get, connect.generateEphemeralCert).
"""

import base64
import contextlib
import datetime
import http.server
import json
import re
import socket
import ssl
import sys
import tempfile
import threading
import urllib.parse
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

HTTP_PORT, TUNNEL_PORT = 8080, 3307
BUFFER = 65536


def pem(thing) -> str:
    return thing.public_bytes(serialization.Encoding.PEM).decode()


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


class Authority:
    """Signs the instances' certificates and those that the proxy asks for."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.certificate = self.sign("Stand-in CA", self.key.public_key(), ca=True)

    def sign(self, common_name: str, public_key, ca: bool = False) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (x509.CertificateBuilder().subject_name(name(common_name)).issuer_name(name("Stand-in CA")).public_key(public_key)
                   .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(minutes=5))
                   .not_valid_after(now + datetime.timedelta(hours=1)).add_extension(x509.BasicConstraints(ca, None), critical=True))
        return builder.sign(self.key, hashes.SHA256())

    def server_context(self, instance: str) -> ssl.SSLContext:
        """TLS 1.3 with the instance's certificate, for clients whose certificate this authority signed."""
        project, _region, short = instance.split(":")
        key = rsa.generate_private_key(65537, 2048)
        text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=pem(self.certificate))
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(text + pem(self.sign(f"{project}:{short}", key.public_key())))
            file.flush()
            context.load_cert_chain(file.name)
        return context


class Google(http.server.BaseHTTPRequestHandler):
    """POST /token, GET .../connectSettings, POST ...:generateEphemeralCert."""

    config: dict
    authority: Authority
    tokens: dict[str, str] = {}
    address = ""

    def answer(self, status: int, content: dict) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status: int, reason: str, message: str) -> None:
        self.answer(status, {"error": {"code": status, "message": message,
                                       "errors": [{"message": message, "domain": "global", "reason": reason}]}})

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def token(self) -> None:
        assertion = urllib.parse.parse_qs(self.body().decode())["assertion"][0]
        signed, _dot, signature = assertion.rpartition(".")
        claims = json.loads(decoded(signed.split(".")[1]))
        account = self.config["accounts"].get(claims["iss"])
        try:
            if account is None:
                raise InvalidSignature
            serialization.load_pem_public_key(account["public_key"].encode()).verify(
                decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            self.answer(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
            return
        token = f"token-of-{claims['iss']}"
        self.tokens[token] = claims["iss"]
        self.answer(200, {"access_token": token, "expires_in": 3600, "token_type": "Bearer"})

    def instance(self, project: str, short: str) -> str | None:
        """The instance that is asked for; None, and the answer is given, where it may not or cannot be had."""
        account = self.tokens.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))
        if account is None:
            self.refuse(401, "authError", "Request had invalid authentication credentials.")
            return None
        if not self.config["accounts"][account]["allowed"]:
            self.refuse(403, "notAuthorized", "The client is not authorized to make this request.")
            return None
        for instance in self.config["instances"]:
            if instance.split(":")[0] == project and instance.split(":")[2] == short:
                return instance
        self.refuse(404, "instanceDoesNotExist", "The Cloud SQL instance does not exist.")
        return None

    def do_GET(self) -> None:
        found = re.fullmatch(r"/sql/v1beta4/projects/([^/]+)/instances/([^/]+)/connectSettings", urllib.parse.urlsplit(self.path).path)
        if not found:
            self.refuse(404, "notFound", "Not Found")
            return
        instance = self.instance(*found.groups())
        if instance:
            self.answer(200, {
                "kind": "sql#connectSettings", "backendType": "SECOND_GEN", "databaseVersion": "POSTGRES_17", "region": instance.split(":")[1],
                "ipAddresses": [{"type": "PRIMARY", "ipAddress": self.config["instances"][instance]["ip"] or self.address}],
                "serverCaCert": {"kind": "sql#sslCert", "cert": pem(self.authority.certificate)},
            })

    def do_POST(self) -> None:
        if self.path == "/token":
            self.token()
            return
        found = re.fullmatch(r"/sql/v1beta4/projects/([^/]+)/instances/([^/:]+):generateEphemeralCert", urllib.parse.urlsplit(self.path).path)
        asked = self.body()
        instance = self.instance(*found.groups()) if found else self.refuse(404, "notFound", "Not Found")
        if instance:
            # Google marks PKIX as an RSA key (cloudsqlconn, fetchEphemeralCert).
            text = json.loads(asked)["public_key"].replace("RSA PUBLIC KEY", "PUBLIC KEY")
            certificate = self.authority.sign("client", serialization.load_pem_public_key(text.encode()))
            self.answer(200, {"ephemeralCert": {"kind": "sql#sslCert", "cert": pem(certificate)}})


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def pump(source, target) -> None:
    """Copies until either side ends, then ends both, which the other direction may have done already."""
    with contextlib.suppress(OSError):
        while data := source.recv(BUFFER):
            target.sendall(data)
    for side in (source, target):
        with contextlib.suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)


def tunnel(raw: socket.socket, context: ssl.SSLContext, database: tuple[str, int]) -> None:
    try:
        client = context.wrap_socket(raw, server_side=True)
        client.recv(0)
        server = socket.create_connection(database, 5)
    except OSError as error:
        print(f"no tunnel: {error}", flush=True)
        raw.close()
        return
    server.settimeout(None)
    threading.Thread(target=pump, args=(server, client), daemon=True).start()
    pump(client, server)


def main(path: str) -> None:
    config = json.loads(Path(path).read_text())
    Google.config, Google.authority, Google.address = config, Authority(), socket.gethostbyname(socket.gethostname())
    here = next(instance for instance, row in config["instances"].items() if not row["ip"])
    context = Google.authority.server_context(here)
    listener = socket.create_server(("0.0.0.0", TUNNEL_PORT))
    threading.Thread(target=http.server.ThreadingHTTPServer(("0.0.0.0", HTTP_PORT), Google).serve_forever, daemon=True).start()
    print("ready", flush=True)
    while True:
        raw, _peer = listener.accept()
        threading.Thread(target=tunnel, args=(raw, context, (config["database"]["host"], config["database"]["port"])), daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
