"""MLflow on a Cloud SQL instance, brought up by a play of the role against stand-ins for Google."""

import json
import pathlib
import subprocess

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from stack_plays import free_ports

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PROJECT = "mlops-test-cloudsql"
INSTANCE, DARK = "my-project:europe-west1:mlflow", "my-project:europe-west1:dark"
PASSWORD, VAULT_PASSWORD = "pass:word\\0451", "vault-0451"


class Stack:
    """The inventory and the team's files in a directory; gcp.json is the key of an account that may connect."""

    def __init__(self, directory):
        self.directory = directory
        (self.port,) = free_ports(1)
        self.accounts = {}
        self.secrets = directory / "secrets"
        self.secrets.mkdir(mode=0o700)
        (directory / "vault").write_text(VAULT_PASSWORD)
        self.write(".env", f"MLFLOW_INSTANCE_CONNECTION={INSTANCE}\nMLFLOW_DB_PASSWORD='{PASSWORD}'\n")
        self.private_key = self.key("gcp.json")
        self.key("denied.json", allowed=False)
        self.key("deleted.json", known=False)
        self.key("mlflow-ui-access.json")

    def write(self, name, text):
        path = self.secrets / name
        path.write_text(text)
        path.chmod(0o600)

    def key(self, name, allowed=True, known=True):
        """Writes the key of an account of its own, which Google knows or not; returns its private key."""
        pair = rsa.generate_private_key(65537, 2048)
        private = pair.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
        email = f"{name.removesuffix('.json')}@my-project.iam.gserviceaccount.com"
        if known:
            public = pair.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            self.accounts[email] = {"public_key": public.decode(), "allowed": allowed}
        self.write(name, json.dumps({"type": "service_account", "project_id": "my-project", "private_key_id": "1", "private_key": private,
                                     "client_email": email, "token_uri": "http://google:8080/token"}))
        return private

    def encrypt(self, name):
        subprocess.run(["ansible-vault", "encrypt", "--vault-password-file", self.directory / "vault", self.secrets / name],
                       cwd=ROOT, capture_output=True, check=True)

    def play(self, *arguments, **variables):
        """A run of the play, with further arguments and variables; its exit status and all that it printed."""
        inventory = {
            "hosts": {"one": {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}},
            "children": {"mlflow": {"hosts": {"one": {}}}},
            "vars": {
                "mlops_dir": str(self.directory / "opt"), "mlops_project": PROJECT, "mlops_secrets_dir": str(self.secrets), "mlflow_port": self.port,
                # Whatever fails has to do so by itself, long before this.
                "mlops_timeout": 90, "mlflow_cloud_sql_api_endpoint": "http://google:8080/",
                "play_password": PASSWORD, "play_config": {
                    # The dark instance is known and nobody listens at its address.
                    "accounts": self.accounts, "instances": {INSTANCE: {"ip": ""}, DARK: {"ip": "127.0.0.9"}},
                    "database": {"host": "instance", "port": 5432}}}}
        (self.directory / "hosts.yml").write_text(yaml.safe_dump({"all": inventory}))
        done = subprocess.run(
            ["ansible-playbook", "-i", self.directory / "hosts.yml", HERE / "play.yml", "-e", json.dumps(variables), "-vvv",
             "--vault-password-file", self.directory / "vault", *arguments],
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
