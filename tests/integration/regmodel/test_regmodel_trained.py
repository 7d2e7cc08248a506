"""Training against a real MLflow: what is registered, who is promoted, and what happens when it runs twice or cannot."""

import http.server
import json
import socket
import threading

import pytest
from regmodel_services import Mlflow

WORSE = ("--estimator", "gradient_boosting", "--n-estimators", "5")


def result(done):
    return json.loads(done.stdout)


def test_a_better_version_is_promoted_a_worse_one_kept_back_and_a_tie_goes_to_the_fresher(mlflow, runtime, regmodel):
    first = result(runtime.train(mlflow.uri, fresh=True))
    assert (first["version"], first["promoted"], first["previous_version"]) == ("1", True, None)
    assert mlflow.alias("regmodel") == "1"

    service = regmodel(mlflow.uri, "regmodel").start()
    described = service.get("/model").json()
    assert described["run_id"] == first["run_id"]
    assert described["metrics"]["rmse"] == pytest.approx(first["rmse"])
    assert described["metrics"].keys() == {"rmse", "mae", "r2"}
    assert [one["name"] for one in described["signature"]["inputs"]][:3] == ["age", "sex", "bmi"]
    assert service.predict(described["example"]["inputs"]).json()["predictions"][0] == pytest.approx(168, abs=30)

    worse = result(runtime.train(mlflow.uri, *WORSE))
    assert (worse["version"], worse["promoted"], worse["previous_version"]) == ("2", False, "1")
    assert worse["rmse"] > worse["previous_rmse"] == pytest.approx(first["rmse"])
    assert mlflow.alias("regmodel") == "1"
    tags = mlflow.version("regmodel", 2)["tags"]
    assert tags["promotion.decision"].startswith("kept back: worse")
    assert (float(tags["promotion.rmse"]), float(tags["promotion.previous_rmse"])) == (
        worse["rmse"],
        worse["previous_rmse"],
    )

    tie = result(runtime.train(mlflow.uri, "--random-state", "7"))
    assert (tie["version"], tie["promoted"], tie["previous_version"]) == ("3", True, "1")
    assert "as good as" in mlflow.version("regmodel", 3)["tags"]["promotion.decision"]

    better = result(runtime.train(mlflow.uri, "--alpha", "0.001"))
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


def test_a_repeated_training_makes_nothing_twice(mlflow, runtime):
    name = ("--model-name", "repeated")
    once = result(runtime.train(mlflow.uri, *name, "--key", "dag/run:1+2"))
    again = result(runtime.train(mlflow.uri, *name, "--key", "dag/run:1+2"))
    assert again == once
    assert mlflow.versions("repeated") == ["1"]

    # A promotion repeated after others have passed by is judged against what is served by then, and an old tie stays.
    newer = result(runtime.train(mlflow.uri, *name, "--key", "dag/run:2"))
    assert (newer["version"], newer["promoted"]) == ("2", True)
    late = result(runtime.train(mlflow.uri, *name, "--key", "dag/run:1+2"))
    assert (late["version"], late["promoted"], late["previous_version"]) == ("1", False, "2")
    assert mlflow.alias("repeated") == "2"


def test_a_served_version_that_cannot_be_judged_stops_the_promotion(models, runtime):
    done = runtime.train(models.uri, "--model-name", "echo", expect=1)
    assert "version 1, to which alias champion of echo points, cannot be evaluated" in done.stderr
    assert "Nothing was moved" in done.stderr
    assert models.alias("echo") == "1"


def test_without_mlflow_training_fails_soon_and_says_why(runtime):
    limits = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    with socket.create_server(("127.0.0.1", 0)) as silent, http.server.HTTPServer(("127.0.0.1", 0), Forbidding) as forbidding:
        threading.Thread(target=forbidding.serve_forever, daemon=True).start()
        ports = {1: "Connection refused", silent.getsockname()[1]: "timed out", forbidding.server_port: "Invalid Host header"}
        for port, why in ports.items():
            uri = f"http://127.0.0.1:{port}"
            done = runtime.train(uri, expect=1, **limits)
            assert done.stdout == ""
            last = done.stderr.splitlines()[-1]
            assert last.startswith(f"regmodel_training: MLflow at {uri} gave no usable answer: ")
            assert why in last
        forbidding.shutdown()


class Forbidding(http.server.BaseHTTPRequestHandler):
    """MLflow's answer to a host name that it does not know."""

    def do_POST(self):
        self.send_response(403)
        self.end_headers()
        self.wfile.write(b"Invalid Host header - possible DNS rebinding attack detected")

    def log_message(self, *_):
        pass


def test_importing_the_training_needs_no_library_of_its_own(runtime):
    """What reads the package for its names (an orchestrator, --help) has none of the ML libraries."""
    code = "import sys, regmodel_training; print(sorted({'mlflow', 'sklearn', 'pandas', 'numpy'} & set(sys.modules)))"
    assert runtime.python("-c", code, fresh=True).stdout.strip() == "[]"


@pytest.mark.full
def test_training_and_serving_log_in_with_a_password_file(shared, write, runtime, regmodel):
    password = "a long pass/word"
    config = write(
        "auth.ini",
        "[mlflow]\ndefault_permission = READ\nadmin_username = admin\n"
        "database_uri = sqlite:////var/lib/mlflow/auth.db\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
    )
    environ = {
        "MLFLOW_AUTH_CONFIG_PATH": config,
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "for this test only",
    }
    server = Mlflow(shared, "--app-name", "basic-auth", auth=("admin", password), **environ)
    login = {
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD_FILE": write("password", password + "\n"),
        # Checking a password costs MLflow a tenth of a second.
        "REGMODEL_POLL_SECONDS": "2",
    }
    wrong = login | {"MLFLOW_TRACKING_PASSWORD_FILE": write("wrong", "wrong password")}
    try:
        server.start()
        stranger = regmodel(server.uri, "regmodel", **wrong)
        stranger.launch()
        assert "not authenticated" in runtime.train(server.uri, expect=1, **wrong).stderr
        assert result(runtime.train(server.uri, **login))["promoted"]
        service = regmodel(server.uri, "regmodel", **login).start()
        assert service.get("/model").json()["version"] == "1"
        stranger.start_empty()
        assert "MLflow unreachable" in stranger.wait_detail("not authenticated")
        assert password not in service.output() + stranger.output()
    finally:
        server.close()
