"""What the roles deliver for a Cloud SQL instance, and what they leave out."""

import json
import pathlib

import pytest
from test_render import LOCAL, env, render, services

GIVEN = "MLFLOW_INSTANCE_CONNECTION=my-project:europe-west1:mlflow\nMLFLOW_DB_PASSWORD=hush\nMLFLOW_DB_USER=ml@my-project.iam\n"


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "secrets/.env").write_text(GIVEN)
    return tmp_path


def rendered(directory, *groups, **variables):
    inventory = {"hosts": {"one": LOCAL}, "children": {group: {"hosts": {"one": {}}} for group in groups or ("mlflow",)}}
    done = render(directory, inventory, "-e", json.dumps(variables))
    assert done.returncode == 0, done.stdout
    return services(directory, "one")


def secret_names(directory, role):
    return {path.name for path in pathlib.Path(directory, "one", role, "secrets").glob("*")}


def test_the_machine_s_own_identity_needs_no_key(directory):
    made = rendered(directory)
    assert "secrets" not in made["cloud-sql-proxy"] or not made["cloud-sql-proxy"]["secrets"]
    command = made["cloud-sql-proxy"]["command"]
    assert command[-1] == "my-project:europe-west1:mlflow" and "--structured-logs" in command and "--health-check" in command
    assert not any(word.startswith(("--credentials-file", "--private-ip", "--psc", "--auto-iam-authn")) for word in command)
    assert "ports" not in made["cloud-sql-proxy"] and made["mlflow"]["depends_on"] == ["cloud-sql-proxy"]
    assert secret_names(directory, "mlflow") == {"mlflow_pgpass"}
    found = env(directory, "one/mlflow/mlflow.env")
    assert found["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg://ml%40my-project.iam@cloud-sql-proxy:5432/mlflow?sslmode=disable"
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in found and found["MLOPS_CLOUD_SQL_GOOGLE"] == "https://sqladmin.googleapis.com/"


@pytest.mark.parametrize("ip, flag", [("private", "--private-ip"), ("psc", "--psc")])
def test_a_login_by_iam_has_no_password(directory, ip, flag):
    made = rendered(directory, mlflow_cloud_sql_iam_login=True, mlflow_cloud_sql_ip=ip)
    assert {flag, "--auto-iam-authn"} < set(made["cloud-sql-proxy"]["command"])
    assert secret_names(directory, "mlflow") == set() and not made["mlflow"]["secrets"]
    assert "PGPASSFILE" not in env(directory, "one/mlflow/mlflow.env")


def test_the_training_s_key_is_for_the_worker_alone(directory):
    (directory / "secrets/mlflow-trainer.json").write_text('{"type": "service_account", "private_key": "hush-trainer"}')
    made = rendered(directory, "infra", "mlflow", "airflow", "airflow_worker")
    readers = [name for name, service in made.items() if "airflow_trainer_key" in service.get("secrets", [])]
    assert readers == ["airflow-worker"]
    assert made["airflow-worker"]["environment"] == {"GOOGLE_APPLICATION_CREDENTIALS": "/run/secrets/airflow_trainer_key"}
    holders = [path.name for path in (directory / "one").rglob("*") if path.is_file() and "hush-trainer" in path.read_text(errors="replace")]
    assert holders == ["airflow_trainer_key"]


def test_without_an_instance_there_is_no_proxy(tmp_path):
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "secrets/gcp.json").write_text("{}")
    made = rendered(tmp_path, "infra", "mlflow")
    assert "cloud-sql-proxy" not in made and secret_names(tmp_path, "mlflow") == {"mlflow_pgpass"}
    assert "cloud-sql-proxy" not in (tmp_path / "one/mlflow/checks.json").read_text()
