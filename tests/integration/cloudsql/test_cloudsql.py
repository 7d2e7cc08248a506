"""MLflow's database behind the real Cloud SQL proxy: it works, and each way in which it cannot has a sentence of its own."""

import json
import os
import subprocess

# Read when mlflow is imported.
os.environ.update(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false", MLFLOW_DISABLE_TELEMETRY="true")

import mlflow
import pytest
from cloudsql_stack import DARK, INSTANCE, PASSWORD, PROJECT

ROWS = ["exec", "-T", "instance", "psql", "--username=mlflow", "--no-align", "--tuples-only", "--command"]


def inspected(service):
    return json.loads(subprocess.run(["docker", "inspect", f"{PROJECT}-{service}-1"], check=True, capture_output=True, text=True).stdout)[0]


def test_a_run_and_its_model_are_written_and_read_back(stack, tmp_path):
    url = f"http://127.0.0.1:{stack.port}"
    mlflow.set_tracking_uri(url)
    client = mlflow.MlflowClient(url)
    mlflow.set_experiment("cloud")
    with mlflow.start_run() as run:
        mlflow.log_metric("rmse", 1.25)
        mlflow.log_text("é", "model/weights.txt")
    client.create_registered_model("cloud")
    version = client.create_model_version("cloud", f"{run.info.artifact_uri}/model", run.info.run_id)
    client.set_registered_model_alias("cloud", "champion", version.version)
    assert client.get_run(run.info.run_id).data.metrics == {"rmse": 1.25}
    mlflow.artifacts.download_artifacts("models:/cloud@champion", dst_path=str(tmp_path))
    assert (tmp_path / "weights.txt").read_text(encoding="utf-8") == "é"
    # It is the instance that holds it, and the tunnel that led there.
    assert run.info.run_id in stack.compose(*ROWS, "SELECT run_uuid FROM runs")
    assert "Accepted connection" in stack.compose("logs", "cloud-sql-proxy")


def test_the_proxy_has_no_more_than_it_needs(stack):
    proxy = inspected("cloud-sql-proxy")
    config = proxy["HostConfig"]
    assert proxy["Config"]["User"] == "65532:65532" and config["ReadonlyRootfs"] and config["CapDrop"] == ["ALL"]
    assert config["SecurityOpt"] == ["no-new-privileges:true"] and config["Memory"] and config["PidsLimit"] and not config["PortBindings"]
    key = stack.directory / "opt/mlflow/secrets/mlflow_cloud_sql_key"
    assert (key.stat().st_mode & 0o777, key.stat().st_uid) == (0o400, 65532)
    # Encrypted on the controller, whole where the proxy reads it.
    assert json.loads(key.read_text())["private_key"] == stack.private_key
    assert subprocess.run(["docker", "exec", f"{PROJECT}-cloud-sql-proxy-1", *proxy["Config"]["Healthcheck"]["Test"][1:]], check=False).returncode == 0


def test_no_secret_is_told(stack):
    status, printed = stack.play(mlflow_cloud_sql_arguments=["my-project:europe-west1:dark?port=5433"])
    assert status == 0 and "changed=0" in printed, printed[-3000:]
    shown = printed + json.dumps([inspected(service) for service in ("mlflow", "cloud-sql-proxy")])
    shown += stack.compose("logs", "mlflow", "cloud-sql-proxy") + stack.compose("top", "mlflow", "cloud-sql-proxy")
    lines = stack.private_key.splitlines()[1:-1]
    assert not any(line in shown for line in lines) and PASSWORD not in shown


def test_the_server_has_its_own_key_for_artifacts(stack):
    server = inspected("mlflow")
    assert "GOOGLE_APPLICATION_CREDENTIALS=/run/secrets/mlflow_gcp_key" in server["Config"]["Env"]
    read = ["exec", "-T", "mlflow", "python", "-c", "import google.auth; print(google.auth.default()[0].service_account_email)"]
    assert stack.compose(*read).strip() == "mlflow-ui-access@my-project.iam.gserviceaccount.com"


@pytest.fixture(scope="module")
def gates(stack):
    """What the server's gate says, by case, of databases that it gives up on; all at the same time, for some get ten seconds."""
    denied = ["run", "--detach", "--no-deps", "--name", f"{PROJECT}-denied", "--volume", f"{stack.directory}/denied.json:/key.json:ro",
              "cloud-sql-proxy", "--address=0.0.0.0", "--port=5432", "--prometheus", "--http-address=0.0.0.0", "--credentials-file=/key.json",
              "--sqladmin-api-endpoint=http://google:8080/", INSTANCE]
    (stack.directory / "denied.json").write_bytes((stack.secrets / "denied.json").read_bytes())
    stack.compose(*denied)
    cases = {"dark": (DARK, "cloud-sql-proxy", 5433, "mlflow"), "no database": (INSTANCE, "cloud-sql-proxy", 5432, "nothing"),
             "no permission": (INSTANCE, f"{PROJECT}-denied", 5432, "mlflow"), "no proxy": (INSTANCE, "nowhere", 5432, "mlflow")}
    running = {}
    for case, (instance, host, port, database) in cases.items():
        environment = {"MLOPS_CLOUD_SQL_INSTANCE": instance, "MLOPS_CLOUD_SQL_METRICS": f"http://{host}:9090/metrics",
                       "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg://mlflow@{host}:{port}/{database}?sslmode=disable"}
        running[case] = stack.start("run", "--rm", "--no-deps", "-T", *[f"--env={name}={value}" for name, value in environment.items()], "mlflow")
    ended = {case: process.communicate(timeout=60)[0] for case, process in running.items()}
    assert all("gives up: " in text for text in ended.values()), ended
    return {case: text.split("gives up: ")[1].strip() for case, text in ended.items()}


@pytest.mark.parametrize("case, sentence", [
    ("dark", f"Cloud SQL: the instance {DARK} cannot be reached over its public address, port 3307; start it"),
    ("no database", 'Cloud SQL: database "nothing" does not exist; create it in the instance, or correct MLFLOW_DB_NAME'),
    ("no permission", f"Cloud SQL: the key has no permission for {INSTANCE} (Google says notAuthorized); give its account the role Cloud SQL Client"),
    ("no proxy", "Cloud SQL: the proxy is down; `docker compose logs cloud-sql-proxy` has its last words"),
])
def test_the_gate_says_why_it_gives_up(gates, case, sentence):
    assert gates[case].startswith(sentence)


@pytest.mark.parametrize("variables, check, sentence", [
    ({"mlflow_db_password": "wrong"}, "mlflow",
     'the database refuses the login: password authentication failed for user "mlflow"; correct MLFLOW_DB_USER and MLFLOW_DB_PASSWORD'),
    ({"mlflow_cloud_sql_key_file": "{{ mlops_secrets_dir }}/deleted.json"}, "mlflow", "Cloud SQL: Google refuses the key"),
    ({"mlflow_instance_connection": "my-project:europe-west1:nowhere"}, "mlflow",
     "Cloud SQL: there is no instance my-project:europe-west1:nowhere (Google says instanceDoesNotExist); correct MLFLOW_INSTANCE_CONNECTION"),
    ({"mlflow_cloud_sql_key_file": "{{ mlops_secrets_dir }}/.env"}, "cloud-sql-proxy", "unable to start: error initializing dialer: config error"),
], ids=["password", "key refused", "unknown instance", "proxy down"])
def test_a_run_that_cannot_succeed_fails_with_the_reason(stack, variables, check, sentence):
    # A server that serves takes ten seconds to stop, which tells nothing here.
    stack.compose("kill", "mlflow")
    status, printed = stack.play("--skip-tags", "google", **variables)
    assert status != 0
    # By itself, not by the timeout.
    assert "1 of 2 checks failed after" in printed and f" s: {check}: container {PROJECT}-{check}-1 was restarted" in printed, printed[-4000:]
    assert sentence in printed, printed[-4000:]
    # The operator finds it on the host too.
    assert sentence in stack.compose("logs", check)
