"""MLflow is not there, goes, comes back, or is replaced by nonsense; what is served stays served."""

import http.server
import socket
import threading

from regmodel_docker import wait_for
from regmodel_hammer import Hammer


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


def test_an_mlflow_that_never_answers_is_said_and_holds_nothing_up(regmodel):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        limits = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
        service = regmodel(uri, PYTHONPROFILEIMPORTTIME="1", **limits).start_empty()
        assert service.wait_detail("timed out").startswith("MLflow unreachable: 127.0.0.1:")
        assert service.stop() == 0
    # It listens before the seconds that the import of MLflow takes.
    before, _found, after = service.output().partition("Uvicorn running")
    imported = [{line.rpartition("|")[2].strip() for line in part.splitlines()} for part in (before, after)]
    assert "fastapi" in imported[0]
    assert "mlflow" in imported[1] - imported[0]


def test_mlflow_may_go_away_come_back_or_be_replaced_by_nonsense(models, regmodel):
    # Retries would only slow the impostor's round down.
    quick = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "REGMODEL_MODEL_ALIAS": "outage"}
    models.set_alias("steps", 1, alias="outage")
    early, late = (regmodel(models.uri, **quick) for _process in range(2))
    early.start()
    try:
        with Hammer(early, clients=1, pause=0.05) as hammer:
            models.stop()
            late.launch()
            body = early.wait_problem("MLflow unreachable: ")
            assert body["version"] == "1"
            last = early.metric("regmodel_registry_last_success_timestamp_seconds")
            errors = early.metric("regmodel_registry_errors_total")

            late.start_empty()
            reason = f"MLflow unreachable: 127.0.0.1:{models.port}: [Errno 111] Connection refused"
            assert late.wait_detail("refused") == reason
            assert late.get("/health").status_code == 200

            Impostor.served = 0
            with http.server.ThreadingHTTPServer(("127.0.0.1", models.port), Impostor) as fake:
                threading.Thread(target=fake.serve_forever, daemon=True).start()
                wait_for(lambda: Impostor.served > 4 * len(Impostor.answers))
                fake.shutdown()
            assert early.get("/ready").status_code == 200
            assert late.get("/ready").status_code == 503
            assert early.metric("regmodel_registry_last_success_timestamp_seconds") == last
            assert early.metric("regmodel_registry_errors_total") > errors + len(Impostor.answers)

            models.start()
            early.wait_model(problem=None)
            late.start()
            models.set_alias("steps", 2, alias="outage")
            for service in (early, late):
                service.wait_model(version="2")
            wait_for(lambda: "2" in hammer.versions)
        assert hammer.wrong == []
        assert set(hammer.versions) == {"1", "2"}
    finally:
        models.start()
