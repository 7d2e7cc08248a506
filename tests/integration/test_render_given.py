"""The five files that a team has from before, as they are: their values hold, and a change of one is a change of who uses it alone."""

import json

import pytest
import yaml
from test_render import ONE, env, render, services

DOTENV = {
    "_AIRFLOW_WWW_USER_USERNAME": "boss", "_AIRFLOW_WWW_USER_PASSWORD": "boss-password", "MLFLOW_DB_USER": "runs", "MLFLOW_DB_PASSWORD": "runs-password",
    "MLFLOW_DB_NAME": "tracking", "MLFLOW_INSTANCE_CONNECTION": "my-project:europe-west1:db", "GF_SECURITY_ADMIN_PASSWORD": "grafana-password",
    "DISCORD_WEBHOOK_URL": "https://discord.example/api/webhooks/1/x"}
PEM = "-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----\n"


def key(name):
    return json.dumps({"type": "service_account", "project_id": "my-project", "private_key": PEM % name, "client_email": name + "@my-project.iam"})


def seen(path):
    """What Compose compares of each service: its definition, with the digest of what it mounts, and its environment files."""
    found = {}
    for file in (path / "one").glob("*/services.yaml"):
        for name, service in yaml.safe_load(file.read_text())["services"].items():
            found[name] = service, [(file.parent / each).read_text() for each in service.get("env_file", [])]
    assert found
    return found


@pytest.fixture(scope="module")
def seed(tmp_path_factory):
    path = tmp_path_factory.mktemp("seed")
    (path / "secrets/backend/regmodel").mkdir(parents=True)
    (path / "secrets").chmod(0o700)
    files = {".env": "".join(f"{name}={value}\n" for name, value in DOTENV.items()), "backend/regmodel/.env": "OWN=1\n"}
    files |= {name: key(name) for name in ("gcp.json", "mlflow-ui-access.json", "mlflow-trainer.json")}
    for name, content in files.items():
        (path / "secrets" / name).write_text(content)
    done = render(path, ONE)
    assert done.returncode == 0, done.stdout
    return path, seen(path)


def test_their_values_hold(seed):
    path, _seen = seed
    assert env(path, "one/mlflow/mlflow.env")["MLFLOW_BACKEND_STORE_URI"].startswith("postgresql+psycopg://runs@cloud-sql-proxy:5432/tracking")
    assert services(path, "one")["cloud-sql-proxy"]["command"][-1] == DOTENV["MLFLOW_INSTANCE_CONNECTION"]
    assert env(path, "one/airflow/init.env")["_AIRFLOW_WWW_USER_USERNAME"] == "boss"
    assert env(path, "one/regmodel/regmodel.env")["OWN"] == "1"
    secrets = {file.name: file.read_text() for file in (path / "one").glob("*/secrets/*")}
    assert secrets["airflow_admin_password"] == "boss-password" and "runs-password" in secrets["mlflow_pgpass"]
    assert secrets["monitoring_discord_url"] == DOTENV["DISCORD_WEBHOOK_URL"]
    assert [name for name, content in secrets.items() if content == key("gcp.json")] == ["mlflow_cloud_sql_key"]
    assert secrets["mlflow_gcp_key"] == key("mlflow-ui-access.json") and secrets["airflow_trainer_key"] == key("mlflow-trainer.json")


@pytest.mark.parametrize("name, content, users", [
    ("backend/regmodel/.env", "OWN=2\n", {"regmodel-backend"}),
    ("gcp.json", key("another"), {"cloud-sql-proxy", "airflow-init"}),
    ("mlflow-ui-access.json", key("another"), {"mlflow"}),
    ("mlflow-trainer.json", key("another"), {"airflow-worker"}),
])
def test_a_change_of_one_changes_who_uses_it(seed, name, content, users):
    path, before = seed
    file = path / "secrets" / name
    old = file.read_text()
    file.write_text(content)
    # What a hand, or a run that was cut off, left of any role keeps no run from making it good.
    for left, text in {"regmodel/services.yaml": "services: {a: ${x", "mlflow/mlflow.env": "A='", "infra/.delivered.json": "{"}.items():
        (path / "one" / left).write_text(text)
    try:
        assert render(path, ONE).returncode == 0
    finally:
        file.write_text(old)
    after = seen(path)
    changed = {service for service in before if before[service] != after[service]}
    assert changed == users and after.keys() == before.keys()
