"""Real parts for these tests: virtual environments from the project's lock files, MLflow servers, RegModel processes.

The environments are made once, under the user's cache folder, and named after what they are made of.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[3]
APP = ROOT / "roles/regmodel/files/app"
DAGS = ROOT / "roles/airflow/files/dags"
LOCKS = {
    "runtime": ROOT / "roles/regmodel/files/requirements.lock",
    "mlflow": ROOT / "roles/images/files/mlflow/requirements.lock",
    "airflow": ROOT / "roles/images/files/airflow/requirements.lock",
}
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlops-stack-tests"


def python313() -> str:
    """The images' Python: $MLOPS_TEST_PYTHON313, or one found in the usual places."""
    named = os.environ.get("MLOPS_TEST_PYTHON313")
    found = (
        [named]
        if named
        else [shutil.which("python3.13"), *map(str, Path.home().glob(".pyenv/versions/3.13.*/bin/python"))]
    )
    for candidate in filter(None, found):
        # A version manager's shim may lie in PATH without a Python behind it.
        probe = subprocess.run(
            [candidate, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True
        )
        if probe.stdout.strip() == "(3, 13)":
            return candidate
    raise RuntimeError(f"no Python 3.13 among {found}: install it, or name it in MLOPS_TEST_PYTHON313")


def venv(name: str) -> Path:
    """The `bin` folder of the virtual environment of a lock file; made if it is not there."""
    lock = LOCKS[name]
    base = python313()
    digest = hashlib.sha256(lock.read_bytes() + base.encode()).hexdigest()[:12]
    folder = CACHE / f"{name}-{digest}"
    if not (folder / "complete").exists():
        uv = Path(sys.executable).with_name("uv")
        # sync installs what the lock lists and nothing that its packages ask for besides: some of that is left out.
        create = [uv, "venv", "--clear", "--python", base, folder]
        install = [uv, "pip", "sync", "--python", folder / "bin/python", "--require-hashes", "--compile-bytecode", lock]
        for step in (create, install):
            done = subprocess.run(step, env=os.environ | {"UV_SYSTEM_CERTS": "1"}, capture_output=True, text=True)
            if done.returncode != 0:
                raise RuntimeError(f"{name}: {done.stderr}")
        (folder / "complete").touch()
    return folder / "bin"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what: Callable[[], Any], seconds: float = 30, why: str = "") -> Any:
    """Ask until the answer is true, and return it. An unanswered connection counts as false."""
    end = time.monotonic() + seconds
    while True:
        try:
            answer = what()
        except requests.ConnectionError:
            answer = None
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {seconds} s: {why or what}"
        time.sleep(0.02)


class Process:
    """A child with its output in a file, ended by `stop`."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.child: subprocess.Popen | None = None

    def spawn(self, command: list[Any], **options: Any) -> None:
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                [str(part) for part in command], stdout=log, stderr=subprocess.STDOUT, start_new_session=True, **options
            )

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def stop(self, seconds: float = 15) -> int:
        """SIGTERM; the exit status. A child that does not end by itself is an error."""
        assert self.child is not None
        self.child.terminate()
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise

    def close(self) -> None:
        if self.child is not None and self.child.poll() is None:
            self.stop()


class Mlflow(Process):
    """An MLflow server on loopback, with SQLite and proxied artifacts; its data outlives a stop."""

    def __init__(self, folder: Path, **environ: str) -> None:
        super().__init__(folder / "mlflow.log")
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.environ = environ
        self.options: list[str] = []
        self.auth: tuple[str, str] | None = None

    def start(self) -> None:
        command = [venv("mlflow") / "mlflow", "server", "--host", "127.0.0.1", "--port", self.port, "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        command += ["--artifacts-destination", self.folder / "artifacts", "--serve-artifacts", *self.options]
        environ = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self.spawn(command, env=environ | self.environ, cwd=self.folder)
        wait_for(lambda: requests.get(f"{self.uri}/health", timeout=5).ok, 60, f"MLflow: {self.output()[-2000:]}")

    def call(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """One request to MLflow's REST API."""
        kind = {"params": body} if method == "GET" else {"json": body}
        url = f"{self.uri}/api/2.0/mlflow/{path}"
        answer = requests.request(method, url, timeout=30, auth=self.auth, **kind)
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


class Service(Process):
    """A RegModel process on loopback, as the container runs it."""

    def __init__(self, folder: Path, uri: str, model: str, **environ: str) -> None:
        super().__init__(folder / "regmodel.log")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.tmp = folder / "tmp"
        self.tmp.mkdir(exist_ok=True)
        self.environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(APP),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": "/nonexistent",
            "TMPDIR": str(self.tmp),
            "MLFLOW_TRACKING_URI": uri,
            "REGMODEL_MODEL_NAME": model,
            "REGMODEL_POLL_SECONDS": "0.1",
            "REGMODEL_HOST": "127.0.0.1",
            "REGMODEL_PORT": str(self.port),
            **environ,
        }

    def start(self, *, ready: bool = True) -> Service:
        self.spawn([venv("runtime") / "python", "-m", "regmodel"], env=self.environ, cwd="/")
        wait_for(lambda: self.get("/health").ok, why=f"/health: {self.output()[-2000:]}")
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        wait_for(lambda: self.get("/ready").ok, why=f"/ready: {self.output()[-2000:]}")

    def wait_model(self, **wanted: Any) -> dict[str, Any]:
        """Wait until /model's body has these values."""

        def found() -> dict[str, Any] | None:
            body = self.get("/model").json()
            return body if all(body.get(key) == value for key, value in wanted.items()) else None

        return wait_for(found, why=f"/model with {wanted}: {self.get('/model').text}\n{self.output()[-2000:]}")

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=10, **options)

    def predict(self, rows: Any, **headers: str) -> requests.Response:
        return requests.post(self.url + "/predict", json={"inputs": rows}, headers=headers, timeout=30)

    def metric(self, sample: str) -> float | None:
        """The value of a sample, named with its labels as /metrics writes them."""
        for line in self.get("/metrics").text.splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return None


def train(uri: str, *options: str, expect: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the training package as a shell user does."""
    command = [venv("runtime") / "python", "-m", "regmodel_training", *options]
    env = os.environ | {"PYTHONPATH": str(DAGS), "PYTHONDONTWRITEBYTECODE": "1", "MLFLOW_TRACKING_URI": uri} | environ
    done = subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == expect, done.stderr
    return done
