"""The certificates of mlops_tls: renewed before they end, and watched by a probe as a client would ask."""

from __future__ import annotations

import datetime
import json
import subprocess
import time
import urllib.parse
import urllib.request
import uuid
from pathlib import Path

import jinja2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from stack_images import ROOT, image
from stack_plays import Stack

PLAY = """
- hosts: one
  gather_facts: false
  tasks:
    - import_role: {name: mlops.stack.mlops, tasks_from: tls}
"""


def sh(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout.strip()


def aged(directory: Path, days: int) -> bytes:
    """Puts an authority there that has so many days left; returns its key's public half."""
    directory.mkdir(parents=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=days))
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    (directory / "ca.crt").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    (directory / "ca.key").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def days_left(path: Path) -> int:
    found = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    return (found - datetime.datetime.now(datetime.UTC)).days


@pytest.fixture
def tls(tmp_path: Path) -> tuple[Path, bytes]:
    """The certificates that a run leaves where the authority has less time left than it may sign for."""
    stack = Stack(tmp_path)
    stack.vars.update(mlops_tls=True, mlops_secrets_dir=str(tmp_path / "secrets"), mlops_project="authority")
    directory = tmp_path / "secrets/generated/tls"
    public = aged(directory, 900)
    (tmp_path / "play.yml").write_text(PLAY)
    status, said = stack.play(tmp_path / "play.yml")
    assert status == 0, said
    return directory, public


def test_an_authority_outlives_what_it_signs_and_a_probe_sees_when_that_ends(tls: tuple[Path, bytes], tmp_path: Path) -> None:
    directory, public = tls
    authority, server = (x509.load_pem_x509_certificate((directory / name).read_bytes()) for name in ("ca.crt", "server.crt"))
    assert days_left(directory / "ca.crt") > 3600 and days_left(directory / "server.crt") == 824
    # Renewed with its key, so that what it signed before is still good.
    assert authority.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo) == public
    server.verify_directly_issued_by(authority)
    assert probe(directory, tmp_path) == int(server.not_valid_after_utc.timestamp())


def probe(directory: Path, tmp_path: Path) -> int:
    """When the certificate ends, by the blackbox exporter with the role's configuration, asked for a Redis that has it."""
    config = (ROOT / "roles/monitoring/templates/blackbox/config.yml.j2").read_text()
    (tmp_path / "config.yml").write_text(jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(config).render(monitoring_redis_tls=True))
    (directory / "server.key").chmod(0o644)
    name = f"certificates-test-{uuid.uuid4().hex[:6]}"
    directory.chmod(0o755)
    for parent in (directory.parent, directory.parent.parent):
        parent.chmod(0o755)
    sh("docker", "network", "create", name)
    try:
        sh("docker", "run", "--detach", "--name", f"{name}-redis", "--network", name, "--network-alias", "redis-airflow", "--volume", f"{directory}:/tls:ro",
           image("redis"), "redis-server", "--port", "0", "--tls-port", "6379", "--tls-cert-file", "/tls/server.crt", "--tls-key-file", "/tls/server.key",
           "--tls-ca-cert-file", "/tls/ca.crt", "--tls-auth-clients", "no", "--requirepass", "hush")
        sh("docker", "run", "--detach", "--name", f"{name}-blackbox", "--network", name, "--volume", f"{tmp_path}/config.yml:/config.yml:ro",
           "--volume", f"{directory}:/etc/mlops/tls:ro", image("blackbox_exporter"), "--config.file=/config.yml")
        networks = json.loads(sh("docker", "inspect", f"{name}-blackbox"))[0]["NetworkSettings"]["Networks"]
        query = urllib.parse.urlencode({"target": "redis-airflow:6379", "module": "tls_connect"})
        return ends_at(f"http://{networks[name]['IPAddress']}:9115/probe?{query}")
    finally:
        sh("docker", "rm", "--force", f"{name}-redis", f"{name}-blackbox")
        sh("docker", "network", "rm", name)


def ends_at(url: str) -> int:
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                said = answer.read().decode()
            if "\nprobe_success 1" in said:
                return int(float(next(line for line in said.splitlines() if line.startswith("probe_ssl_earliest_cert_expiry ")).split()[1]))
        except OSError as error:
            said = str(error)
        assert time.monotonic() < end, said
        time.sleep(0.2)
