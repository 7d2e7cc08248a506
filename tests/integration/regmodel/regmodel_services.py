"""The two servers of these tests, as their images run them: MLflow and RegModel."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import requests
from regmodel_docker import PATIENCE, Container, free_port, wait_for


class Mlflow(Container):
    """An MLflow server with SQLite and proxied artifacts; its data outlives a stop."""

    def __init__(self, shared: Path, *options: str, auth: tuple[str, str] | None = None, **environ: str) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.auth = auth
        command = ["--host", "127.0.0.1", "--port", self.port, "--workers", "1", *options]
        settings = {
            "MLFLOW_BACKEND_STORE_URI": "sqlite:////var/lib/mlflow/mlflow.db",
            "MLFLOW_ARTIFACTS_DESTINATION": "/var/lib/mlflow/artifacts",
            "MLFLOW_SERVE_ARTIFACTS": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        super().__init__("mlflow", *command, shared=shared, environ=settings | environ)

    def start(self) -> Mlflow:
        """Start it if it does not run, and wait until it answers."""
        if not self.running():
            self.launch()
        wait_for(lambda: requests.get(f"{self.uri}/health", timeout=10).ok, lambda: f"MLflow: {self.output()[-2000:]}")
        return self

    def call(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """One request to MLflow's REST API."""
        kind: dict[str, Any] = {"params": body} if method == "GET" else {"json": body}
        answer = requests.request(method, f"{self.uri}/api/2.0/mlflow/{path}", timeout=60, auth=self.auth, **kind)
        assert answer.ok, answer.text
        return answer.json()

    def set_alias(self, name: str, version: str | int, alias: str = "champion") -> None:
        self.call("POST", "registered-models/alias", name=name, alias=alias, version=str(version))

    def remove_alias(self, name: str, alias: str = "champion") -> None:
        self.call("DELETE", "registered-models/alias", name=name, alias=alias)

    def alias(self, name: str, alias: str = "champion") -> str | None:
        """The version that an alias points to, asked of MLflow itself."""
        aliases = self.call("GET", "registered-models/get", name=name)["registered_model"].get("aliases", [])
        return next((one["version"] for one in aliases if one["alias"] == alias), None)

    def version(self, name: str, version: str | int) -> dict[str, Any]:
        found = self.call("GET", "model-versions/get", name=name, version=str(version))["model_version"]
        return found | {"tags": {tag["key"]: tag["value"] for tag in found.get("tags", [])}}

    def versions(self, name: str) -> list[str]:
        found = self.call("GET", "model-versions/search", filter=f"name='{name}'").get("model_versions", [])
        return sorted(one["version"] for one in found)

    def copy_version(self, name: str, version: str | int, to: str) -> str:
        """Register a version's model under another name too; the new version."""
        found = self.version(name, version)
        model = found["source"].rpartition("/")[2]
        made = self.call("POST", "model-versions/create", name=to, source=found["source"], run_id=found["run_id"], model_id=model)
        return made["model_version"]["version"]


class Service(Container):
    """A RegModel, as confined as the stack runs it."""

    options = (*Container.options, "--read-only", "--tmpfs", "/tmp")

    def __init__(self, shared: Path, uri: str, model: str = "steps", **environ: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        settings = {
            "MLFLOW_TRACKING_URI": uri,
            "REGMODEL_MODEL_NAME": model,
            "REGMODEL_POLL_SECONDS": "0.2",
            # Most of the fixture models are Python models.
            "REGMODEL_ALLOWED_FLAVORS": "sklearn,python_function",
            "REGMODEL_HOST": "127.0.0.1",
            "REGMODEL_PORT": port,
        }
        super().__init__("regmodel", shared=shared, environ=settings | environ)

    def start(self) -> Service:
        """Start it if it does not run, and wait until it has a model."""
        self.start_empty()
        wait_for(lambda: self.get("/ready").ok, lambda: f"/ready: {self.get('/ready').text}\n{self.output()[-2000:]}")
        return self

    def start_empty(self) -> Service:
        """Start it if it does not run, and wait until it answers at all."""
        if not self.running():
            self.launch()
        wait_for(lambda: self.get("/health").ok, lambda: f"/health: {self.output()[-2000:]}")
        return self

    def wait_detail(self, text: str) -> str:
        """Wait until the reason for serving nothing has this text, and return all of it."""

        def found() -> str | None:
            answer = self.get("/ready")
            return answer.json()["detail"] if answer.status_code == 503 and text in answer.json()["detail"] else None

        return wait_for(found, lambda: f"/ready with {text!r}: {self.get('/ready').text}")

    def wait_model(self, **wanted: Any) -> dict[str, Any]:
        """Wait until /model's body has these values, and return it."""

        def found() -> dict[str, Any] | None:
            body = self.get("/model").json()
            return body if all(body.get(key, "absent") == value for key, value in wanted.items()) else None

        return wait_for(found, lambda: f"/model with {wanted}: {self.get('/model').text}\n{self.output()[-2000:]}")

    def wait_problem(self, text: str) -> dict[str, Any]:
        """Wait until a model is served in spite of a problem with this text; /model's body."""

        def found() -> dict[str, Any] | None:
            body = self.get("/model").json()
            return body if text in (body["problem"] or "") else None

        return wait_for(found, lambda: f"/model with problem {text!r}: {self.get('/model').text}")

    def check(self, **environ: str) -> tuple[int, str]:
        """What the check of the alias's version says, as another such service would run it: status and line."""
        settings = [part for name, value in environ.items() for part in ("--env", f"{name}={value}")]
        command = ["docker", "exec", *settings, self.id, "python", "-m", "regmodel.check"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        return done.returncode, done.stdout

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=30, **options)

    def predict(self, rows: Any) -> requests.Response:
        return requests.post(self.url + "/predict", json={"inputs": rows}, timeout=60)

    def metric(self, sample: str) -> float | None:
        """The value of a sample, named with its labels as /metrics writes them."""
        for line in self.get("/metrics").text.splitlines():
            name, _blank, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return None
