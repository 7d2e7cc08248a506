"""The tracking server, its registry and its artifact proxy, by MLflow's own client."""

import os

# Read when mlflow is imported; the test waits by itself.
os.environ.update(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false", MLFLOW_DISABLE_TELEMETRY="true")

import mlflow
import pytest
import requests
from conftest import eventually
from mlflow.exceptions import MlflowException

URL = "http://127.0.0.1:5000"


@pytest.fixture
def client(on_host):
    mlflow.set_tracking_uri(URL)
    return mlflow.MlflowClient(URL)


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


@pytest.mark.parametrize(("name", "status"), [("mlflow:5000", 200), ("localhost:5000", 200), ("evil.example", 403)])
def test_only_known_names_are_served(on_host, name, status):
    answer = requests.post(f"{URL}/api/2.0/mlflow/experiments/search", json={"max_results": 1}, headers={"Host": name}, timeout=10)
    assert answer.status_code == status


def test_prometheus_metrics_are_exposed(on_host):
    assert "mlflow_http_request_total" in requests.get(f"{URL}/metrics", timeout=10).text


def test_killed_server_comes_back_with_its_data(client, host):
    pid = host.check_output("docker inspect --format '{{.State.Pid}}' mlops-mlflow-1")
    host.check_output(f"kill -9 {pid}")
    found = eventually(client.search_experiments, timeout=90, errors=(MlflowException,))
    assert "kept" in {experiment.name for experiment in found}
    assert host.check_output("docker inspect --format '{{.RestartCount}}' mlops-mlflow-1") == "1"
