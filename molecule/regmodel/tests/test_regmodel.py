"""The model API as its clients see it: without a model, with one, and after its alias has moved; with a key and a login at MLflow."""

import json
import pathlib
import subprocess

import pytest
import requests
from conftest import eventually, play, secret

URL = "http://127.0.0.1:8000"
ROOT = pathlib.Path(__file__).resolve().parents[3]
TRAINING = ROOT / "roles/airflow/files/dags/regmodel_training"
REFERENCE = ROOT / "playbooks/files/reference_prediction.py"


def key() -> dict[str, str]:
    return {"X-API-Key": secret("regmodel_api_key")}


def get(path: str) -> requests.Response:
    return requests.get(URL + path, headers=key(), timeout=10)


def predict(body) -> requests.Response:
    return requests.post(f"{URL}/predict", json=body, headers=key(), timeout=10)


@pytest.fixture(scope="module")
def python(host):
    """Runs Python in the service's image, on the stack's network, with the training package at hand."""
    host.check_output("mkdir -p /srv/training")
    subprocess.run(["docker", "cp", str(TRAINING), f"{host.backend.host}:/srv/training/"], check=True)
    image = host.check_output("docker inspect --format '{{.Config.Image}}' mlops-regmodel-backend-1")

    def run(*arguments: str, script: str = "") -> dict:
        command = ["docker", "exec", "--interactive", host.backend.host, "docker", "run", "--rm", "--interactive", "--network", "mlops",
                   "--volume", "/srv/training:/srv/training:ro", "--env", "PYTHONPATH=/srv/training",
                   "--env", "MLFLOW_TRACKING_URI=http://mlflow:5000", "--env", "MLFLOW_TRACKING_USERNAME=trainer",
                   "--env", f"MLFLOW_TRACKING_PASSWORD={secret('mlflow_trainer_password')}", image, "python", *arguments]
        done = subprocess.run(command, input=script, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])
    return run


@pytest.fixture(scope="module")
def champion(python):
    """The first version, trained by the stack's own training and promoted to the alias that is served."""
    return python("-m", "regmodel_training")


@pytest.fixture(scope="module")
def reference(python, champion):
    """Rows, and what the version gives for them when it is loaded from MLflow."""
    return python("-", "regmodel", champion["version"], script=REFERENCE.read_text())


def serves(version: str) -> dict:
    answer = get("/model").json()
    assert answer.get("version") == version, answer
    return answer


def test_without_a_model_it_lives_and_says_why_it_is_not_ready(on_host):
    assert get("/health").status_code == 200
    ready = get("/ready")
    assert ready.status_code == 503
    assert "regmodel" in ready.json()["detail"]
    refused = predict({"inputs": [{}]})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")


def test_version_with_the_alias_is_served(on_host, champion):
    eventually(lambda: serves(champion["version"]), timeout=30)
    assert get("/ready").status_code == 200


def test_predictions_equal_those_of_the_model_loaded_from_mlflow(on_host, champion, reference):
    answer = predict({"inputs": reference["rows"]}).json()
    assert answer["predictions"] == reference["predictions"]
    assert answer["model"]["version"] == champion["version"]


def test_without_the_key_there_is_no_prediction_and_no_model(on_host, champion, reference):
    asked = [lambda **how: requests.post(f"{URL}/predict", json={"inputs": reference["rows"]}, timeout=10, **how),
             lambda **how: requests.get(f"{URL}/model", timeout=10, **how)]
    for ask in asked:
        assert [ask().status_code, ask(headers={"X-API-Key": "guessed"}).status_code] == [401, 401]
        assert ask(headers={"Authorization": f"Bearer {secret('regmodel_api_key')}"}).status_code == 200
    assert [requests.get(URL + path, timeout=10).status_code for path in ("/health", "/ready", "/metrics")] == [200, 200, 200]


def test_no_secret_is_seen_from_outside(host):
    hidden = [secret("regmodel_api_key"), secret("mlflow_regmodel_password")]
    for seen in ("docker inspect mlops-regmodel-backend-1", "docker top mlops-regmodel-backend-1 -eo pid,args", "docker logs mlops-regmodel-backend-1 2>&1"):
        assert not any(value in host.check_output(seen) for value in hidden), seen


@pytest.mark.parametrize(("change", "problem"), [
    (lambda row: {"inputs": [{name: value for name, value in row.items() if name != "bmi"}]}, "missing"),
    (lambda row: {"inputs": [{**row, "bmi": "high"}]}, "wrong_type"),
    (lambda row: {"inputs": [{**row, "shoe_size": 44}]}, "unknown"),
    (lambda row: {"inputs": []}, "empty"),
    (lambda row: {"rows": [row]}, "unknown_key"),
    (lambda row: [row], "wrong_type"),
])
def test_what_does_not_fit_the_signature_is_refused(on_host, reference, change, problem):
    answer = predict(change(reference["rows"][0]))
    assert answer.status_code == 422, answer.text
    assert problem in answer.text


def test_metrics_count_the_predicted_rows(on_host, reference):
    def predicted() -> float:
        return float(next(line for line in get("/metrics").text.splitlines() if line.startswith("regmodel_predict_rows_total")).split()[-1])

    before = predicted()
    predict({"inputs": reference["rows"]})
    assert predicted() == before + len(reference["rows"])


def test_next_version_takes_over_in_the_same_process(on_host, python, reference):
    def started() -> str:
        return on_host.check_output("docker inspect --format '{{.State.StartedAt}}' mlops-regmodel-backend-1")

    before = started()
    again = python("-m", "regmodel_training")
    assert again["promoted"], "equally good is good enough"
    eventually(lambda: serves(again["version"]), timeout=30)
    assert predict({"inputs": reference["rows"]}).json()["model"]["version"] == again["version"]
    assert started() == before


def test_what_would_refuse_the_model_does_not_take_the_place_of_what_serves_it(on_host):
    def container() -> str:
        return on_host.check_output("docker inspect --format '{{.Id}} {{.State.StartedAt}}' mlops-regmodel-backend-1")

    before, version = container(), get("/model").json()["version"]
    said = " ".join(play("converge.yml", "-e", '{"regmodel_allowed_flavors": ["xgboost"]}', succeeds=False).split())
    assert f"version {version} of model regmodel, which alias champion points to, is refused: its flavor is sklearn" in said
    assert "or set regmodel_allowed_flavors for all hosts, then run again" in said
    assert container() == before
    serves(version)
    assert on_host.check_output("docker ps --all --quiet --filter label=com.docker.compose.oneoff=True") == ""


def test_a_folder_of_the_team_takes_the_place_of_the_shipped_service(on_host):
    """The last one: the service that the others ask is gone."""
    play("own.yml")
    answer = eventually(lambda: get("/health").json(), errors=(requests.ConnectionError,))
    assert answer == {"service": "own", "tracking_uri": "http://mlflow:5000", "user": "regmodel"}
    image = on_host.check_output("docker inspect --format '{{.Config.Image}}' mlops-regmodel-backend-1")
    assert image.startswith("mlops/regmodel:own-")
    assert on_host.check_output("ls /opt/mlops/regmodel/build").split() == ["Dockerfile", "server.py"]
