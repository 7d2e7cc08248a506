"""One MLflow for all tests but those that stop it; one RegModel for each test that needs its own."""

import os
import subprocess
from pathlib import Path

import pytest
from regmodel_harness import Mlflow, Service, venv


def log_models(uri, *options):
    """Log the models of regmodel_fixture_models.py."""
    script = Path(__file__).with_name("regmodel_fixture_models.py")
    env = os.environ | {"MLFLOW_TRACKING_URI": uri, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [str(venv("runtime") / "python"), str(script), *options], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory):
    server = Mlflow(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def models(mlflow):
    """The shared MLflow, with the fixture models in it."""
    log_models(mlflow.uri)
    return mlflow


@pytest.fixture
def start(tmp_path):
    """Starts RegModel processes, and ends them with the test."""
    services = []

    def start_one(uri, model="steps", *, ready=True, **environ):
        folder = tmp_path / str(len(services))
        folder.mkdir()
        services.append(Service(folder, uri, model, **environ))
        return services[-1].start(ready=ready)

    yield start_one
    for service in services:
        service.close()
