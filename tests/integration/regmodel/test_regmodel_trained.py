"""Training against a real MLflow: what is registered, who is promoted, and what happens when it runs twice or cannot."""

import http.server
import json
import socket
import subprocess
import threading
import time

import pytest
from regmodel_harness import DAGS, Mlflow, train, venv, wait_for

WORSE = ("--estimator", "gradient_boosting", "--n-estimators", "5")


def result(done):
    return json.loads(done.stdout)


def test_a_better_version_is_promoted_a_worse_one_kept_back_and_a_tie_goes_to_the_fresher(mlflow, start):
    first = result(train(mlflow.uri))
    assert (first["version"], first["promoted"], first["previous_version"]) == ("1", True, None)
    assert mlflow.alias("regmodel") == "1"

    service = start(mlflow.uri, "regmodel")
    described = service.get("/model").json()
    assert described["run_id"] == first["run_id"]
    assert described["metrics"]["rmse"] == pytest.approx(first["rmse"])
    assert described["metrics"].keys() == {"rmse", "mae", "r2"}
    assert [one["name"] for one in described["signature"]["inputs"]][:3] == ["age", "sex", "bmi"]
    assert service.predict(described["example"]["inputs"]).json()["predictions"][0] == pytest.approx(168, abs=30)

    worse = result(train(mlflow.uri, *WORSE))
    assert (worse["version"], worse["promoted"], worse["previous_version"]) == ("2", False, "1")
    assert worse["rmse"] > worse["previous_rmse"] == pytest.approx(first["rmse"])
    assert mlflow.alias("regmodel") == "1"
    tags = mlflow.version("regmodel", 2)["tags"]
    assert tags["promotion.decision"].startswith("kept back: worse")
    assert (float(tags["promotion.rmse"]), float(tags["promotion.previous_rmse"])) == (
        worse["rmse"],
        worse["previous_rmse"],
    )

    tie = result(train(mlflow.uri, "--random-state", "7"))
    assert (tie["version"], tie["promoted"], tie["previous_version"]) == ("3", True, "1")
    assert "as good as" in mlflow.version("regmodel", 3)["tags"]["promotion.decision"]

    better = result(train(mlflow.uri, "--alpha", "0.001"))
    assert (better["version"], better["promoted"], better["previous_version"]) == ("4", True, "3")
    assert better["rmse"] < tie["rmse"]
    assert "better than" in mlflow.version("regmodel", 4)["tags"]["promotion.decision"]
    service.wait_model(version="4", run_id=better["run_id"])

    run = mlflow.call("GET", "runs/get", run_id=worse["run_id"])["run"]["data"]
    parameters = {one["key"]: one["value"] for one in run["params"]}
    assert (parameters["estimator"], parameters["n_estimators"], parameters["test_rows"]) == (
        "gradient_boosting",
        "5",
        "111",
    )


def test_a_repeated_training_makes_nothing_twice(mlflow):
    name = ("--model-name", "repeated")
    once = result(train(mlflow.uri, *name, "--key", "dag/run:1+2"))
    again = result(train(mlflow.uri, *name, "--key", "dag/run:1+2"))
    assert again == once
    assert mlflow.versions("repeated") == ["1"]

    # A promotion repeated after others have passed by is judged against what is served by then, and an old tie stays.
    newer = result(train(mlflow.uri, *name, "--key", "dag/run:2"))
    assert (newer["version"], newer["promoted"]) == ("2", True)
    late = result(train(mlflow.uri, *name, "--key", "dag/run:1+2"))
    assert (late["version"], late["promoted"], late["previous_version"]) == ("1", False, "2")
    assert mlflow.alias("repeated") == "2"


def test_a_served_version_that_cannot_be_judged_stops_the_promotion(models):
    models.set_alias("echo", 1)
    done = train(models.uri, "--model-name", "echo", expect=1)
    assert "version 1, to which alias champion of echo points, cannot be evaluated" in done.stderr
    assert "Nothing was moved" in done.stderr
    assert models.alias("echo") == "1"


@pytest.mark.parametrize("kind", ["refuses", "silent", "forbids"])
def test_without_mlflow_training_fails_soon_and_says_why(kind):
    limits = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
        if kind == "refuses":
            listener.close()
        elif kind == "forbids":
            listener.close()
            server = http.server.HTTPServer(("127.0.0.1", int(uri.rpartition(":")[2])), Forbidding)
            threading.Thread(target=server.serve_forever, daemon=True).start()
        started = time.monotonic()
        done = train(uri, expect=1, **limits)
        assert time.monotonic() - started < 30
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"regmodel_training: MLflow at {uri} gave no usable answer: ")
    wanted = {"refuses": "Connection refused", "silent": "timed out", "forbids": "Invalid Host header"}
    assert wanted[kind] in last


class Forbidding(http.server.BaseHTTPRequestHandler):
    """MLflow's answer to a host name that it does not know."""

    def do_POST(self):
        self.send_response(403)
        self.end_headers()
        self.wfile.write(b"Invalid Host header - possible DNS rebinding attack detected")

    def log_message(self, *_):
        pass


def test_importing_the_training_needs_no_library_of_its_own():
    """What reads the package for its names (an orchestrator, --help) has none of the ML libraries."""
    code = "import sys, regmodel_training; print(sorted({'mlflow', 'sklearn', 'pandas', 'numpy'} & set(sys.modules)))"
    python = venv("runtime") / "python"
    done = subprocess.run(
        [python, "-c", code],
        env={"PYTHONPATH": str(DAGS), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_training_and_serving_log_in_with_a_password_file(tmp_path, start):
    password = "a long pass/word"
    (tmp_path / "password").write_text(password + "\n")
    (tmp_path / "wrong").write_text("wrong password")
    config = tmp_path / "auth.ini"
    config.write_text(
        "[mlflow]\ndefault_permission = READ\nadmin_username = admin\n"
        f"database_uri = sqlite:///{tmp_path}/auth.db\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    server = Mlflow(
        tmp_path,
        MLFLOW_AUTH_CONFIG_PATH=str(config),
        MLFLOW_AUTH_ADMIN_PASSWORD=password,
        MLFLOW_FLASK_SERVER_SECRET_KEY="for this test only",
    )
    server.options = ["--app-name", "basic-auth"]
    server.auth = ("admin", password)
    login = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD_FILE": str(tmp_path / "password")}
    wrong = login | {"MLFLOW_TRACKING_PASSWORD_FILE": str(tmp_path / "wrong")}
    try:
        server.start()
        assert "not authenticated" in train(server.uri, expect=1, **wrong).stderr
        assert result(train(server.uri, **login))["promoted"]
        service = start(server.uri, "regmodel", **login)
        assert service.get("/model").json()["version"] == "1"
        stranger = start(server.uri, "regmodel", ready=False, **wrong)
        wait_for(lambda: "not authenticated" in stranger.get("/ready").text)
        assert "MLflow unreachable" in stranger.get("/ready").text
        assert password not in service.output() + stranger.output()
    finally:
        server.close()
