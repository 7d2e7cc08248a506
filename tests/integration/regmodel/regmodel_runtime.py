"""The model runtime of Airflow's image, kept at hand for the programs that the tests run in it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import IO

from regmodel_docker import DAGS, HERE, LABELS, SHARED
from stack_images import image

PYTHON = "/opt/training/bin/python"
FORKS = "/opt/tests/regmodel_forks.py"
MODELS = "/opt/tests/regmodel_fixture_models.py"
HOSTILE = "/opt/tests/regmodel_hostile_models.py"
SECONDS = 120
ENVIRON = {
    "PYTHONPATH": "/opt/airflow/dags",
    "PYTHONDONTWRITEBYTECODE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
    # Threads do not outlive a fork.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


class Runtime:
    """One container that runs one program at a time."""

    def __init__(self, shared: Path, log: IO[str]) -> None:
        self.log = log
        environ = [part for name, value in ENVIRON.items() for part in ("--env", f"{name}={value}")]
        volumes = ["--volume", f"{DAGS}:/opt/airflow/dags:ro", "--volume", f"{HERE}:/opt/tests:ro", "--volume", f"{shared}:{SHARED}:ro"]
        self.client = subprocess.Popen(
            ["docker", "run", "--rm", "--interactive", "--pull", "never", "--network", "host", "--init", *LABELS, *volumes, *environ,
             image("airflow"), PYTHON, FORKS],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        )

    def python(self, *command: str, fresh: bool = False, expect: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a program as `python COMMAND` does; it must end with `expect`."""
        assert self.client.stdin and self.client.stdout
        order = {"command": command, "environ": environ, "fresh": fresh, "seconds": SECONDS}
        self.client.stdin.write(json.dumps(order) + "\n")
        self.client.stdin.flush()
        line = self.client.stdout.readline()
        assert line, f"the model runtime has ended: {Path(self.log.name).read_text()}"
        done = subprocess.CompletedProcess(command, **json.loads(line))
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    def train(self, uri: str, *options: str, fresh: bool = False, expect: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run the training package as a shell user does."""
        return self.python("-m", "regmodel_training", *options, fresh=fresh, expect=expect, MLFLOW_TRACKING_URI=uri, **environ)

    def log_models(self, uri: str) -> None:
        """Log and register the models of regmodel_fixture_models.py."""
        self.python(MODELS, MLFLOW_TRACKING_URI=uri)

    def log_hostile_models(self, uri: str, elsewhere: str) -> dict[str, str]:
        """Log and register the models of regmodel_hostile_models.py; the version of each."""
        return json.loads(self.python(HOSTILE, elsewhere, MLFLOW_TRACKING_URI=uri).stdout.splitlines()[-1])

    def close(self) -> None:
        """End of orders; the container removes itself."""
        assert self.client.stdin and self.client.stdout
        self.client.stdin.close()
        self.client.stdout.close()
        self.client.wait(60)
