"""One MLflow and one model runtime for all tests here; RegModels for a test, or for a file where they stay as they are."""

import pytest
from regmodel_docker import SHARED, remove_containers
from regmodel_runtime import Runtime
from regmodel_services import Mlflow, Service


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """The folder that every container sees, for files that the tests write; the images' users may read it."""
    folder = tmp_path_factory.mktemp("shared")
    folder.chmod(0o755)
    yield folder
    remove_containers()


@pytest.fixture(scope="session")
def write(shared):
    """Writes a file into the shared folder, and returns where containers find it."""

    def write_one(name, text):
        path = shared / name
        path.write_text(text)
        path.chmod(0o644)
        return f"{SHARED}/{name}"

    return write_one


@pytest.fixture(scope="session")
def runtime(shared, tmp_path_factory):
    with (tmp_path_factory.mktemp("runtime") / "log").open("w") as log:
        one = Runtime(shared, log)
        yield one
        one.close()


@pytest.fixture(scope="session")
def mlflow(shared, runtime):
    """MLflow; the runtime imports its libraries while this starts."""
    del runtime
    # As MLflow before 3.17, and one that a team runs by itself, take any source of a version.
    server = Mlflow(shared, MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES="http")
    yield server.start()
    server.close()


@pytest.fixture(scope="session")
def models(mlflow, runtime):
    """MLflow, with the fixture models in it."""
    runtime.log_models(mlflow.uri)
    return mlflow


@pytest.fixture
def regmodel(shared):
    """Makes RegModels, which end with the test."""
    services = []

    def make(uri, model="steps", **environ):
        services.append(Service(shared, uri, model, **environ))
        return services[-1]

    yield make
    for service in services:
        service.close()


@pytest.fixture(scope="module")
def regmodels(shared):
    """Makes RegModels, which end with the file."""
    services = []

    def make(uri, model="steps", **environ):
        services.append(Service(shared, uri, model, **environ))
        services[-1].launch()
        return services[-1]

    yield make
    for service in services:
        service.close()
