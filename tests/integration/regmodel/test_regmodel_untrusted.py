"""Models whose loading would run code, or send MLflow's password away: neither RegModel nor the training's comparison loads them."""

import http.server
import threading

import pytest
from regmodel_docker import wait_for

WIDENED = "regmodel_allowed_flavors"
# What each version is refused for.
REFUSED = {
    "loader os": f"loader_module 'os'), and loading that can run code of its author. If all who may write to MLflow may run code here, "
                 f"add python_function to {WIDENED}",
    "loader subprocess": "loader_module 'subprocess'",
    "Python model": f"add python_function to {WIDENED}",
    "code": f"it brings code of its own (flavors.'python_function'.code). If all who may write to MLflow may run code here, add python_function to {WIDENED}",
    "own loader": "loader_module 'own_loader'",
    "pickle": f"add sklearn:pickle to {WIDENED}",
    "cloudpickle": f"add sklearn:cloudpickle to {WIDENED}",
    "no flavor": f"add sklearn:pickle to {WIDENED}",
    "second MLmodel": "flavors.python_function.data is 'inner/model.pkl', wanted is the name of what lies beside MLmodel",
    "trusting itself": f"has types that are not trusted: posix.system. If all who may write to MLflow may run code here, add sklearn:posix.system to {WIDENED}",
    "path upwards": "model_path is '../../../../etc/hostname'",
    "absolute path": "data is '/etc/hostname'",
    "method": "it wants to predict by '__reduce__'",
    "example of the host": "saved_input_example_info.artifact_path is '../../../../etc/hostname'",
    "bomb": "YAML aliases",
    "huge": "usable are 1048576",
    "inflated": "skops does not compress",
    "elsewhere": "its files are at http://127.0.0.1:",
}
LOGIN = {"MLFLOW_TRACKING_USERNAME": "regmodel", "MLFLOW_TRACKING_PASSWORD": "of this test"}


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """A server that is not MLflow's, and keeps what it is shown."""

    shown: list[str | None] = []

    def do_GET(self):
        self.shown.append(self.headers["Authorization"])
        self.send_error(404)

    do_POST = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def elsewhere():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def versions(mlflow, runtime, elsewhere):
    """What each version of the model `hostile` tries -> its number."""
    return runtime.log_hostile_models(mlflow.uri, elsewhere)


def test_no_version_runs_code_or_gets_the_password_and_the_served_one_stays(mlflow, versions, regmodel):
    service = regmodel(mlflow.uri, "hostile", REGMODEL_ALLOWED_FLAVORS="", **LOGIN).start()
    assert versions.keys() == REFUSED.keys() | {"good"}
    for what, why in REFUSED.items():
        mlflow.set_alias("hostile", versions[what])
        body = service.wait_problem(f"model failed to load: version {versions[what]}: UntrustedModel: ")
        assert why in body["problem"], what
        assert service.get("/ready").json()["problem"] == body["problem"]
        assert service.predict([{"a": 1.0}]).json()["model"]["version"] == versions["good"]
    assert "OWNED" not in service.output()
    assert Elsewhere.shown == []


def test_what_would_be_refused_is_told_before_a_service_is_replaced(mlflow, versions, regmodel):
    service = regmodel(mlflow.uri, "hostile", REGMODEL_ALLOWED_FLAVORS="", **LOGIN)
    service.launch()
    for what in ("own loader", "trusting itself", "elsewhere"):
        mlflow.set_alias("hostile", versions[what])
        status, line = service.check()
        assert status == 3
        assert line.startswith(f"version {versions[what]} of model hostile, which alias champion points to, is refused: ")
        assert REFUSED[what] in line and WIDENED in line and line.count("\n") == 1
    assert Elsewhere.shown == []
    mlflow.set_alias("hostile", versions["own loader"])
    assert service.check(REGMODEL_ALLOWED_FLAVORS="python_function")[0] == 0
    mlflow.set_alias("hostile", versions["good"])
    may = f"version {versions['good']} of model hostile, which alias champion points to, may be loaded\n"
    assert service.check() == (0, may)
    assert "OWNED" not in service.output()


def test_what_is_not_there_or_does_not_answer_keeps_no_service_from_its_start(mlflow, versions, regmodel):
    del versions
    service = regmodel(mlflow.uri, "hostile")
    service.launch()
    for environ, why in (({"REGMODEL_MODEL_NAME": "none"}, "no such registered model: none"),
                         ({"REGMODEL_MODEL_ALIAS": "none"}, "alias none is not set on hostile"),
                         ({"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}, "127.0.0.1:1: ")):
        status, line = service.check(**environ)
        assert status == 0 and line.startswith(f"nothing was checked: {why}")


def test_the_trainings_comparison_loads_none_either(mlflow, versions, runtime):
    for what in ("own loader", "pickle", "trusting itself", "elsewhere"):
        mlflow.set_alias("hostile", versions[what])
        done = runtime.train(mlflow.uri, "--model-name", "hostile", "--key", "once", expect=1, **LOGIN)
        assert f"version {versions[what]}, to which alias champion of hostile points, cannot be evaluated (UntrustedModel: " in done.stderr
        assert REFUSED[what] in done.stderr
        assert "OWNED" not in done.stdout + done.stderr
        assert mlflow.alias("hostile") == versions[what]
    assert Elsewhere.shown == []


def test_what_is_allowed_by_name_is_loaded(mlflow, versions, runtime, regmodel):
    """Which also shows that the versions above would do what they try."""
    for allowed, what in (("sklearn,sklearn:pickle", "pickle"), ("python_function", "own loader")):
        mlflow.set_alias("hostile", versions[what])
        service = regmodel(mlflow.uri, "hostile", REGMODEL_ALLOWED_FLAVORS=allowed)
        service.launch()
        wait_for(lambda service=service: "OWNED" in service.output(), service.output)
    done = runtime.train(mlflow.uri, "--model-name", "hostile", "--key", "once", expect=1, REGMODEL_ALLOWED_FLAVORS="sklearn:pickle")
    assert "UntrustedModel" in done.stderr
    mlflow.set_alias("hostile", versions["pickle"])
    done = runtime.train(mlflow.uri, "--model-name", "hostile", "--key", "once", expect=1, REGMODEL_ALLOWED_FLAVORS="sklearn,sklearn:pickle")
    assert "OWNED" in done.stdout + done.stderr


def test_mlflows_client_alone_would_have_sent_the_password(runtime, elsewhere):
    code = f"import mlflow; mlflow.artifacts.download_artifacts('http://{elsewhere}/api/2.0/mlflow-artifacts/artifacts/model')"
    runtime.python("-c", code, fresh=True, expect=1, MLFLOW_TRACKING_URI=f"http://{elsewhere}", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", **LOGIN)
    assert any((shown or "").startswith("Basic ") for shown in Elsewhere.shown)


def test_numbers_that_json_has_not_are_null_and_told_in_words(mlflow, versions, regmodel):
    mlflow.set_alias("hostile", versions["good"])
    service = regmodel(mlflow.uri, "hostile").start()
    body = service.get("/model").json()
    assert body["metrics"]["rmse"] == 1.5
    assert body["metrics"]["nothing"] is None
    assert body["metrics_not_finite"]["nothing"] == "nan"
    assert service.get("/").status_code == 200
