"""What the roles deliver for a Cloud SQL instance, and what they leave out."""

import subprocess

import pytest
import yaml
from test_render import LOCAL, env, render, services

GIVEN = "MLFLOW_INSTANCE_CONNECTION=my-project:europe-west1:mlflow\nMLFLOW_DB_PASSWORD=hush\nMLFLOW_DB_USER=ml@my-project.iam\n"


def prepared(path, **files):
    """A directory with the team's files."""
    (path / "secrets").mkdir(mode=0o700)
    for name, text in files.items():
        (path / "secrets" / name).write_text(text)
    return path


def rendered(directory, hosts, *groups):
    inventory = {"hosts": {name: {**LOCAL, **variables} for name, variables in hosts.items()},
                 "children": {group: {"hosts": dict.fromkeys(hosts, {})} for group in groups}}
    done = render(directory, inventory)
    assert done.returncode == 0, done.stdout


def secret_names(directory, role):
    return {path.name for path in (directory / role / "secrets").glob("*")}


@pytest.fixture(scope="module")
def instances(tmp_path_factory):
    """Four ways to an instance, each on a host of its own."""
    made = prepared(tmp_path_factory.mktemp("instances"), **{".env": GIVEN, "proxy.json": "{}"})
    # Logins would have a database on the stack's own PostgreSQL, which is not here.
    hosts = {name: {"mlops_address": f"10.0.0.{number}", "mlflow_auth": False} for number, name in enumerate(("identity", "private", "psc", "keyed"), 1)}
    hosts["keyed"]["mlflow_cloud_sql_key_file"] = str(made / "secrets/proxy.json")
    for name in ("private", "psc"):
        hosts[name].update(mlflow_cloud_sql_iam_login=True, mlflow_cloud_sql_ip=name)
    rendered(made, hosts, "mlflow")
    return made


def test_the_machine_s_own_identity_needs_no_key(instances):
    made = services(instances, "identity")
    assert not made["cloud-sql-proxy"]["secrets"] and "ports" not in made["cloud-sql-proxy"]
    command = made["cloud-sql-proxy"]["command"]
    assert command[-1] == "my-project:europe-west1:mlflow" and "--structured-logs" in command and "--health-check" in command
    assert not any(word.startswith(("--credentials-file", "--private-ip", "--psc", "--auto-iam-authn")) for word in command)
    assert made["mlflow"]["depends_on"] == ["cloud-sql-proxy"]
    assert secret_names(instances / "identity", "mlflow") == {"mlflow_pgpass"}
    found = env(instances, "identity/mlflow/mlflow.env")
    assert found["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg://ml%40my-project.iam@cloud-sql-proxy:5432/mlflow?sslmode=disable"
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in found and found["MLOPS_CLOUD_SQL_GOOGLE"] == "https://sqladmin.googleapis.com/"


@pytest.mark.parametrize("ip, flag", [("private", "--private-ip"), ("psc", "--psc")])
def test_a_login_by_iam_has_no_password(instances, ip, flag):
    made = services(instances, ip)
    assert {flag, "--auto-iam-authn"} < set(made["cloud-sql-proxy"]["command"])
    assert secret_names(instances / ip, "mlflow") == set() and not made["mlflow"]["secrets"]
    assert "PGPASSFILE" not in env(instances, ip + "/mlflow/mlflow.env")


def test_the_training_s_key_is_for_the_worker_alone(tmp_path):
    directory = prepared(tmp_path, **{".env": GIVEN, "mlflow-trainer.json": '{"type": "service_account", "private_key": "hush-trainer"}'})
    rendered(directory, {"one": {}}, "infra", "mlflow", "airflow", "airflow_worker")
    made = services(directory, "one")
    readers = [name for name, service in made.items() if "airflow_trainer_key" in service.get("secrets", [])]
    assert readers == ["airflow-worker"]
    assert made["airflow-worker"]["environment"] == {"GOOGLE_APPLICATION_CREDENTIALS": "/run/secrets/airflow_trainer_key"}
    holders = [path.name for path in (directory / "one").rglob("*") if path.is_file() and "hush-trainer" in path.read_text(errors="replace")]
    assert holders == ["airflow_trainer_key"]


def test_without_an_instance_there_is_no_proxy(tmp_path):
    directory = prepared(tmp_path, **{"gcp.json": "{}"})
    rendered(directory, {"one": {}}, "infra", "mlflow")
    assert "cloud-sql-proxy" not in services(directory, "one") and secret_names(directory / "one", "mlflow") == {"mlflow_pgpass"}
    assert "cloud-sql-proxy" not in (directory / "one/mlflow/checks.json").read_text()
    assert networks(directory, "one") == ({"mlflow": None}, None)


def networks(directory, host):
    """The networks of each service, and those that the role makes."""
    document = yaml.safe_load((directory / host / "mlflow/services.yaml").read_text())
    return {name: service.get("networks") for name, service in document["services"].items()}, document.get("networks")


@pytest.mark.parametrize("host, network", [("identity", "identity"), ("keyed", "cloud-sql")])
def test_the_proxy_is_on_a_network_with_the_server_alone(instances, host, network):
    """The one named identity leads to the cloud's metadata, and is the first by name: what is in both leaves the host by it."""
    services_of, made = networks(instances, host)
    assert services_of == {"cloud-sql-proxy": [network], "mlflow": ["default", network]}
    name = f"0-mlops-{network}"
    assert made == {network: {"name": name, "driver_opts": {"com.docker.network.bridge.name": f"mlops-{network}"}}} and name < "mlops"
    subprocess.run(["docker", "compose", "--project-directory", instances / host, "config", "--quiet"], check=True)
