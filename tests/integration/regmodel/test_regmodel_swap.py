"""The alias moves, fails, disappears; MLflow goes and comes back. Clients notice only what they should."""

import http.server
import socket
import threading
import time

import pytest
import requests
from conftest import log_models
from regmodel_harness import Mlflow, wait_for

ROWS = [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 4.0}]
SUMS = [5.0, 11.0]


class Hammer:
    """Clients that predict without a pause, and keep what was wrong with the answers."""

    def __init__(self, service, clients=4):
        self.service = service
        self.wrong = []
        self.versions = []
        self.answers = 0
        self.slowest = 0.0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def _run(self):
        session = requests.Session()
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                answer = session.post(f"{self.service.url}/predict", json={"inputs": ROWS}, timeout=30)
            except requests.RequestException as error:
                self.wrong.append(repr(error))
                continue
            self.slowest = max(self.slowest, time.monotonic() - started)
            self.answers += 1
            if answer.status_code != 200:
                self.wrong.append((answer.status_code, answer.text))
                continue
            body = answer.json()
            version = body["model"]["version"]
            if body["predictions"] != pytest.approx([total + 1000 * int(version) for total in SUMS]):
                self.wrong.append(body)
            self.versions.append(version)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_no_request_is_lost_or_mixed_while_models_are_swapped(models, start):
    models.set_alias("steps", 1)
    service = start(models.uri)
    with Hammer(service) as hammer:
        for version in ("2", "3", "4", "1", "2", "4", "3"):
            models.set_alias("steps", version)
            service.wait_model(version=version)
            seen = len(hammer.versions)
            wait_for(lambda seen=seen: len(hammer.versions) > seen + 20)
    assert hammer.wrong == []
    assert set(hammer.versions) == {"1", "2", "3", "4"}
    assert service.metric('regmodel_predict_requests_total{status="200"}') == hammer.answers
    assert service.metric("regmodel_model_loads_total") == 8


def test_a_slow_load_blocks_nobody_and_the_old_version_serves_meanwhile(models, start):
    models.set_alias("steps", 1)
    service = start(models.uri)
    with Hammer(service, clients=1) as hammer:
        models.set_alias("steps", 5)
        service.wait_model(loading="5", version="1")
        probes = []
        while service.get("/model").json()["loading"]:
            before = time.monotonic()
            assert service.get("/health").status_code == 200
            assert service.get("/ready").status_code == 200
            probes.append(time.monotonic() - before)
        service.wait_model(version="5", loading=None)
    # The load computes for three seconds; on its event loop nothing would have been answered in that time.
    assert len(probes) > 10
    assert [wrong for wrong in hammer.wrong if not isinstance(wrong, dict)] == []
    assert set(hammer.versions) == {"1", "5"}


UNSERVABLE = {
    "6": "OSError: the weights are missing",
    "7": "ZeroDivisionError: no warm-up for me",
    "8": "it has no signature",
    "9": "no named columns",
}


def test_a_version_that_cannot_be_served_leaves_the_old_one(models, start):
    models.set_alias("steps", 1)
    service = start(models.uri)
    for failures, (version, why) in enumerate(UNSERVABLE.items(), 1):
        models.set_alias("steps", version)
        failed = f"model failed to load: version {version}: "
        wait_for(lambda failed=failed: failed in (service.get("/model").json()["problem"] or ""), why=why)
        body = service.get("/model").json()
        assert (body["version"], body["alias_version"]) == ("1", version)
        assert why in body["problem"]
        assert service.predict(ROWS).json()["predictions"] == pytest.approx([1005.0, 1011.0])
        assert service.get("/ready").json()["problem"] == body["problem"]
        assert service.metric("regmodel_model_load_failures_total") >= failures
        assert service.metric("regmodel_model_version") == 1
        assert service.metric("regmodel_alias_version") == int(version)
        assert why in service.output()
    models.set_alias("steps", 2)
    service.wait_model(version="2", problem=None)


def test_a_first_version_that_cannot_be_served_is_the_reason(models, start):
    models.set_alias("steps", 6)
    service = start(models.uri, ready=False)
    wait_for(lambda: "the weights are missing" in service.get("/ready").text)
    answer = service.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("model failed to load: version 6: OSError")


def test_a_binary_column_cannot_be_served_over_json(models, start):
    models.set_alias("echo", 2)
    service = start(models.uri, "echo", ready=False)
    wait_for(lambda: "column 'a' is of type binary" in service.get("/ready").text)


def test_the_reason_says_what_is_missing_and_an_alias_removed_ends_serving(models, start):
    service = start(models.uri, "steps", ready=False, REGMODEL_MODEL_ALIAS="canary")
    wait_for(lambda: service.get("/ready").json()["detail"] == "alias canary is not set on steps")
    for path in ("/ready", "/model"):
        assert service.get(path).status_code == 503
    refused = service.predict(ROWS)
    assert (refused.status_code, refused.json()["detail"]) == (503, "alias canary is not set on steps")
    assert "alias canary is not set on steps" in service.get("/").text
    assert service.get("/health").status_code == 200

    models.set_alias("steps", 10, alias="canary")
    service.wait_ready()
    assert service.predict(ROWS).json()["predictions"] == pytest.approx([10005.0, 10011.0])

    models.remove_alias("steps", alias="canary")
    wait_for(lambda: service.get("/ready").status_code == 503)
    assert service.get("/ready").json()["detail"] == "alias canary is not set on steps"
    assert service.metric("regmodel_model_loaded") == 0
    assert service.metric('regmodel_predict_requests_total{status="503"}') == 1


def test_a_model_that_is_not_registered_is_the_reason(models, start):
    service = start(models.uri, "nobody", ready=False)
    wait_for(lambda: service.get("/ready").json()["detail"] == "no such registered model: nobody")


class Impostor(http.server.BaseHTTPRequestHandler):
    """What may stand where MLflow stood: a proxy's error pages, and JSON that is not MLflow's."""

    answers = [
        (404, "text/html", b"<h1>404</h1>"),
        (404, "application/json", b'{"detail": "Not Found"}'),
        (403, "text/plain", b"Invalid Host header"),
        (401, "text/plain", b"You are not authenticated"),
        (502, "text/html", b"<h1>Bad\nGateway</h1>"),
        (200, "text/html", b"<h1>Maintenance</h1>"),
        (500, "application/json", b'{"error_code": "INTERNAL_ERROR", "message": "database is gone"}'),
    ]
    served = 0

    def do_GET(self):
        code, kind, body = self.answers[Impostor.served % len(self.answers)]
        Impostor.served += 1
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_an_mlflow_that_never_answers_is_said_and_holds_nothing_up(start):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        limits = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
        service = start(uri, ready=False, **limits)
        wait_for(lambda: "timed out" in service.get("/ready").json()["detail"])
        assert service.get("/ready").json()["detail"].startswith("MLflow unreachable: 127.0.0.1:")
        started = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - started < 2


def test_mlflow_may_go_away_come_back_or_be_replaced_by_nonsense(tmp_path, start):
    server = Mlflow(tmp_path)
    # Retries would only slow the impostor's round down.
    quick = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    try:
        early = start(server.uri, ready=False, **quick)
        wait_for(lambda: early.get("/ready").json()["detail"].startswith("MLflow unreachable: "))
        assert f"127.0.0.1:{server.port}: [Errno 111] Connection refused" in early.get("/ready").text
        assert early.get("/health").status_code == 200

        server.start()
        wait_for(lambda: early.get("/ready").json()["detail"] == "no such registered model: steps")
        log_models(server.uri, "2")
        server.set_alias("steps", 1)
        early.wait_ready()

        with Hammer(early, clients=1) as hammer:
            server.stop()
            body = wait_for(lambda: (found := early.get("/model").json())["problem"] and found)
            assert body["problem"].startswith("MLflow unreachable: ")
            last = early.metric("regmodel_registry_last_success_timestamp_seconds")
            errors = early.metric("regmodel_registry_errors_total")

            Impostor.served = 0
            fake = http.server.ThreadingHTTPServer(("127.0.0.1", server.port), Impostor)
            threading.Thread(target=fake.serve_forever, daemon=True).start()
            wait_for(lambda: Impostor.served > 2 * len(Impostor.answers))
            fake.shutdown()
            fake.server_close()

            assert early.get("/ready").status_code == 200
            assert early.metric("regmodel_registry_last_success_timestamp_seconds") == last
            assert early.metric("regmodel_registry_errors_total") > errors + len(Impostor.answers)

            server.start()
            early.wait_model(problem=None)
            server.set_alias("steps", 2)
            early.wait_model(version="2")
        assert hammer.wrong == []
        assert set(hammer.versions) == {"1", "2"}
    finally:
        server.close()
