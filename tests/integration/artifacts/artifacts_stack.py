"""MLflow with its artifacts in a real S3 server (SeaweedFS) or in an emulator of Google's, brought up by a play of the role."""

import datetime
import json
import pathlib
import subprocess
import time

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from stack_plays import free_ports

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PROJECT = "mlops-test-artifacts"
# Minutes of a core when they are built for the first time.
TOOLS = ROOT / ".build/bin"
MODULES = {"weed": ("github.com/seaweedfs/seaweedfs", "v0.0.0-20261109003541-7506e5f91cd6", "weed"),
           "fake-gcs-server": ("github.com/fsouza/fake-gcs-server", "v1.56.1", "")}
ENDPOINT = "https://store:8333"
# What may be in a secret key, and what a file of keys could take for something else.
KEY, SECRET = "team", "hush/0451+%(x)s=#;"


def build(name):
    """Builds a store from its Go module, where it is not there yet. SeaweedFS replaces modules, which `go install` of a version refuses."""
    if (TOOLS / name).exists():
        return
    module, version, package = MODULES[name]
    where = ROOT / ".build/go" / name
    where.mkdir(parents=True, exist_ok=True)
    (where / "go.mod").write_text("module store\n")
    path = f"{module}/{package}".rstrip("/")
    for command in (["get", f"{path}@{version}"], ["build", "-o", TOOLS / name, path]):
        done = subprocess.run(["go", *command], cwd=where, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]


def certificate(name):
    """PEM of a key, and of a certificate for a host name that signs itself."""
    pair = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(pair.public_key()).serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=9))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(pair, hashes.SHA256()))
    private = pair.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private.decode(), made.public_bytes(serialization.Encoding.PEM).decode()


class Stack:
    """The inventory and the team's .env in a directory."""

    def __init__(self, directory):
        self.directory = directory
        (self.port,) = free_ports(1)
        (directory / "secrets").mkdir(mode=0o700)
        (directory / "secrets/.env").write_text(
            f"MLFLOW_ARTIFACTS_DESTINATION=s3://artifacts/ml\nMLFLOW_S3_ENDPOINT_URL={ENDPOINT}\nAWS_DEFAULT_REGION=eu-west-3\n"
            f"AWS_ACCESS_KEY_ID={KEY}\nAWS_SECRET_ACCESS_KEY='{SECRET}'\n")
        (directory / "secrets/.env").chmod(0o600)
        key, self.certificate = certificate("store")
        (directory / "ca.crt").write_text(self.certificate)
        actions = [f"{action}:artifacts" for action in ("Read", "Write", "List", "Tagging")]
        identities = {"identities": [
            {"name": "team", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": actions},
            {"name": "reader", "credentials": [{"accessKey": "reader", "secretKey": "hush-0452"}], "actions": ["Read:artifacts", "List:artifacts"]}]}
        self.files = {"s3/identities.json": json.dumps(identities), "s3/store.crt": self.certificate, "s3/store.key": key}

    def play(self, *arguments, **variables):
        """A run of the play, with further arguments and variables; its exit status and all that it printed."""
        inventory = {
            "hosts": {"one": {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}},
            "children": {"mlflow": {"hosts": {"one": {}}}},
            "vars": {
                "mlops_dir": str(self.directory / "opt"), "mlops_project": PROJECT, "mlops_secrets_dir": str(self.directory / "secrets"),
                "mlflow_port": self.port, "mlops_timeout": 120, "mlflow_s3_ca_file": str(self.directory / "ca.crt"),
                # The database is no matter here.
                "mlflow_db_host": "nowhere.invalid", "mlflow_db_port": 5432,
                "mlflow_environment": {"MLFLOW_BACKEND_STORE_URI": "sqlite:////var/lib/mlflow/mlflow.db"},
                "play_tools": str(TOOLS), "play_files": self.files}}
        (self.directory / "hosts.yml").write_text(yaml.safe_dump({"all": inventory}))
        done = subprocess.run(
            ["ansible-playbook", "-i", self.directory / "hosts.yml", HERE / "play.yml", "-e", json.dumps(variables), "-vvv", *arguments],
            cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        return done.returncode, done.stdout + done.stderr

    def start(self, *arguments):
        return subprocess.Popen(["docker", "compose", "--project-directory", self.directory / "opt", *arguments],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def compose(self, *arguments, check=True):
        done = subprocess.run(["docker", "compose", "--project-directory", self.directory / "opt", *arguments],
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout + done.stderr

    def shell(self, command):
        """What SeaweedFS' own shell says; it waits for the servers itself."""
        done = subprocess.run(["docker", "exec", "--interactive", f"{PROJECT}-store-1", "/opt/weed", "shell", "-master=store:9333"],
                              input=command + "\n", capture_output=True, text=True, timeout=120, check=True)
        return done.stdout

    def make_bucket(self):
        """Until the store, which has just begun to start, has it."""
        deadline = time.monotonic() + 120
        while "  artifacts\t" not in (said := self.shell("s3.bucket.create -name artifacts\ns3.bucket.list")):
            assert time.monotonic() < deadline, said
