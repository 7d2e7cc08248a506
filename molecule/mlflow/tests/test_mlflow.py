"""The tracking server, its registry and its artifact proxy, by MLflow's own client, with the logins that it asks for."""

import os

# Read when mlflow is imported; the test waits by itself.
os.environ.update(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false", MLFLOW_DISABLE_TELEMETRY="true")

import mlflow
import pytest
import requests
from conftest import eventually, play, secret
from mlflow.exceptions import MlflowException

URL = "http://127.0.0.1:5000"


USERS = {name: f"mlflow_{name}_password" for name in ("admin", "trainer", "regmodel")}


@pytest.fixture
def client(on_host, monkeypatch):
    """MLflow as the training sees it."""
    return as_user(monkeypatch, "trainer")


def as_user(monkeypatch, name: str) -> mlflow.MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", secret(USERS[name]))
    mlflow.set_tracking_uri(URL)
    return mlflow.MlflowClient(URL)


def search(auth=None, **headers) -> int:
    """Status of an experiment search."""
    return requests.post(f"{URL}/api/2.0/mlflow/experiments/search", json={"max_results": 1}, headers=headers, auth=auth, timeout=10).status_code


def login(name: str) -> tuple[str, str]:
    return name, secret(USERS[name])


def test_nobody_gets_in_without_the_right_password(on_host):
    assert search() == search(("admin", "wrong password")) == search(("nobody", secret(USERS["admin"]))) == 401
    assert [search(login(name)) for name in USERS] == [200, 200, 200]
    assert requests.get(f"{URL}/health", timeout=10).status_code == 200


def test_run_and_artifact_are_written_and_read_back(client, tmp_path):
    mlflow.set_experiment("kept")
    with mlflow.start_run() as run:
        mlflow.log_param("alpha", 0.5)
        mlflow.log_metric("rmse", 1.25)
        mlflow.log_text("é", "notes/model.txt")
    # A destination of its own would make clients go around the server.
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    read = client.get_run(run.info.run_id)
    assert (read.data.params, read.data.metrics) == ({"alpha": "0.5"}, {"rmse": 1.25})
    path = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="notes/model.txt", dst_path=str(tmp_path))
    with open(path, encoding="utf-8") as text:
        assert text.read() == "é"


def test_model_version_is_found_by_its_alias(client, tmp_path):
    run = client.search_runs([client.get_experiment_by_name("kept").experiment_id])[0]
    client.create_registered_model("kept")
    version = client.create_model_version("kept", f"{run.info.artifact_uri}/notes", run.info.run_id)
    client.set_registered_model_alias("kept", "champion", version.version)
    assert client.get_model_version_by_alias("kept", "champion").run_id == run.info.run_id
    mlflow.artifacts.download_artifacts("models:/kept@champion", dst_path=str(tmp_path))
    assert (tmp_path / "model.txt").read_text(encoding="utf-8") == "é"


def test_the_model_service_reads_and_does_not_write(on_host, monkeypatch):
    reader = as_user(monkeypatch, "regmodel")
    run = reader.get_run(reader.get_model_version_by_alias("kept", "champion").run_id)
    assert run.data.metrics == {"rmse": 1.25}
    for write in (lambda: reader.log_metric(run.info.run_id, "rmse", 0), lambda: reader.set_registered_model_alias("kept", "champion", "1")):
        with pytest.raises(MlflowException, match="Permission denied"):
            write()


def test_training_writes_to_what_another_user_made(on_host, monkeypatch):
    experiment = as_user(monkeypatch, "admin").create_experiment("of the admin")
    trainer = as_user(monkeypatch, "trainer")
    trainer.log_metric(trainer.create_run(experiment).info.run_id, "rmse", 1)


@pytest.mark.parametrize(("name", "status"), [
    ("mlflow:5000", 200), ("localhost:5000", 200), ("127.0.0.1:5000", 200), ("mlops-mlflow:5000", 200), ("mlflow.example.org", 200),
    ("mlflow", 403), ("localhost:5001", 403), ("mlflow.example.org:8443", 403), ("evil.example", 403),
])
def test_only_known_names_are_served(on_host, name, status):
    assert search(login("admin"), Host=name) == status


@pytest.mark.parametrize(("origin", "status"), [("https://mlflow.example.org", 200), ("https://evil.example", 403)])
def test_pages_of_another_origin_do_not_write(on_host, origin, status):
    assert search(login("admin"), Host="mlflow.example.org", Origin=origin) == status


def test_pages_of_another_origin_call_no_gateway_either(on_host):
    asked = requests.post("http://127.0.0.1:5000/gateway/any/mlflow/invocations", data='{"messages": []}', timeout=30, auth=login("admin"),
                          headers={"Content-Type": "text/plain", "Origin": "https://evil.example"})
    assert (asked.status_code, asked.text) == (403, "Cross-origin request blocked")


@pytest.mark.parametrize(("name", "status"), [("admin", 200), ("trainer", 403), (None, 401)])
def test_prometheus_metrics_are_for_administrators(on_host, name, status):
    answer = requests.get(f"{URL}/metrics", auth=name and login(name), timeout=10)
    assert answer.status_code == status
    assert ("mlflow_http_request_total" in answer.text) == (status == 200)


def test_no_secret_is_seen_from_outside(host):
    hidden = [secret(name) for name in (*USERS.values(), "mlflow_secret_key", "mlflow_db_password", "mlflow_auth_db_password")]
    for seen in ("docker inspect mlops-mlflow-1", "docker top mlops-mlflow-1 -eo pid,args", "docker logs mlops-mlflow-1 2>&1"):
        text = host.check_output(seen)
        assert not any(value in text for value in hidden), seen


def test_logins_lie_in_a_database_that_only_their_own_role_enters(host):
    def psql(database, statement):
        return host.check_output(f"docker exec mlops-postgres-airflow-1 psql -XAt -U postgres {database} -c \"{statement}\"")

    assert psql("mlflow", "SELECT to_regclass('users') IS NULL") == "t"
    assert psql("mlflow_auth", "SELECT count(*) FROM users") == "3"
    assert psql("mlflow_auth", "SELECT has_database_privilege('mlflow', 'mlflow_auth', 'CONNECT')") == "f"
    assert psql("mlflow_auth", "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = 'mlflow_auth'") == "f"


def test_killed_server_comes_back_with_its_data(client, host):
    pid = host.check_output("docker inspect --format '{{.State.Pid}}' mlops-mlflow-1")
    host.check_output(f"kill -9 {pid}")
    found = eventually(client.search_experiments, timeout=90, errors=(MlflowException,))
    assert "kept" in {experiment.name for experiment in found}
    assert host.check_output("docker inspect --format '{{.RestartCount}}' mlops-mlflow-1") == "1"


def test_a_changed_password_holds_after_the_next_run(on_host, tmp_path):
    """The last one: only the next converge gives the administrator the generated password back."""
    old, key = login("admin"), secret("mlflow_secret_key")
    given = tmp_path / "given.yml"
    given.write_text("mlflow_admin_password: 'chang%ed: \u00e9 \"pass\" word'\n", encoding="utf-8")
    play("converge.yml", "-e", f"@{given}")
    new = "chang%ed: \u00e9 \"pass\" word".encode()
    assert (search(old), search(("admin", new))) == (401, 200)
    # Nothing else of the logins changed.
    assert (search(login("trainer")), secret("mlflow_secret_key")) == (200, key)
    # Nor does an administrator of another name leave the former one in.
    play("converge.yml", "-e", f"@{given}", "-e", "mlflow_admin_username=boss")
    assert (search(("admin", new)), search(("boss", new)), search(login("trainer"))) == (401, 200, 200)
