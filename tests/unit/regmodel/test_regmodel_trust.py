"""What is loaded and what is not, by a model's MLmodel; what MLflow and skops make of such models is tested with them."""

import copy
import os
from pathlib import Path

import pytest
import yaml
from regmodel import trust
from regmodel_training import trust as in_training

GOOD = {
    "flavors": {
        "python_function": {"loader_module": "mlflow.sklearn", "model_path": "model.pkl", "predict_fn": "predict", "env": {"conda": "conda.yaml"}},
        "sklearn": {"code": None, "pickled_model": "model.pkl", "serialization_format": "pickle", "sklearn_version": "1.9.1"},
    },
    "saved_input_example_info": {"artifact_path": "input_example.json", "type": "dataframe"},
}
PICKLE = frozenset({"sklearn", "sklearn:pickle"})


@pytest.fixture
def folder(tmp_path):
    """The files of a model, and a file beside them."""
    (tmp_path / "model" / "inner").mkdir(parents=True)
    for name in ("model/model.pkl", "model/input_example.json", "model/inner/model.pkl", "outside.pkl"):
        (tmp_path / name).write_text("")
    return tmp_path / "model"


def write(folder, text):
    (folder / "MLmodel").write_text(text if isinstance(text, str) else yaml.safe_dump(text))


def changed(*path, to):
    described = copy.deepcopy(GOOD)
    place = described
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return described


def test_training_and_service_have_the_same_check():
    assert Path(trust.__file__).read_text() == Path(in_training.__file__).read_text()


def test_a_model_that_is_allowed_passes(folder):
    write(folder, GOOD)
    trust.check(folder, PICKLE)


FUNCTION = ("flavors", "python_function")


@pytest.mark.parametrize(("described", "why"), [
    (changed(*FUNCTION, "loader_module", to="os"), "loader_module 'os'"),
    (changed(*FUNCTION, "loader_module", to="mlflow.pyfunc.model"), "its flavor is python_function"),
    (changed(*FUNCTION, "loader_module", to="mlflow.pyfunc.loaders.code_model"), "its flavor is python_function"),
    (changed(*FUNCTION, "loader_module", to="mlflow.xgboost"), "add xgboost to regmodel_allowed_flavors"),
    (changed(*FUNCTION, "loader_module", to="mlflow.sklearn\n"), "its flavor is python_function"),
    (changed(*FUNCTION, "loader_module", to=["mlflow.sklearn"]), "its flavor is python_function"),
    (changed(*FUNCTION, "loader_module", to=None), "loader_module None"),
    (changed(*FUNCTION, "code", to="code"), "code of its own"),
    (changed("flavors", "sklearn", "code", to="code"), "code of its own"),
    (changed(*FUNCTION, "model_path", to="../outside.pkl"), "model_path is '../outside.pkl'"),
    (changed(*FUNCTION, "model_path", to="inner/model.pkl"), "model_path is 'inner/model.pkl'"),
    (changed(*FUNCTION, "model_path", to="/etc/passwd"), "model_path is '/etc/passwd'"),
    (changed(*FUNCTION, "model_path", to=None), "model_path is None"),
    (changed(*FUNCTION, "data", to=".."), "data is '..'"),
    (changed(*FUNCTION, "data", to="."), "data is '.'"),
    (changed(*FUNCTION, "data", to="inner"), "inner is a directory"),
    (changed(*FUNCTION, "predict_fn", to="__reduce__"), "'__reduce__'"),
    (changed(*FUNCTION, "predict_fn", to=["predict"]), "['predict']"),
    (changed("saved_input_example_info", "artifact_path", to="../outside.pkl"), "artifact_path is '../outside.pkl'"),
    (changed("saved_input_example_info", to="input_example.json"), "no usable saved_input_example_info"),
    (changed("flavors", "sklearn", "serialization_format", to="cloudpickle"), "add sklearn:cloudpickle to regmodel_allowed_flavors"),
    (changed("flavors", "sklearn", "serialization_format", to=["skops"]), "it is stored as ['skops']"),
    (changed("flavors", "sklearn", to=None), "no usable flavors.sklearn"),
    (changed("flavors", to={}), "no usable flavors.python_function"),
    (changed("flavors", to=[]), "no usable flavors"),
    ("[]", "no usable MLmodel"),
    ("", "no usable MLmodel"),
    ("flavors: !!python/object/apply:os.system [id]", "its MLmodel cannot be read: ConstructorError"),
    ("flavors: {", "its MLmodel cannot be read: ParserError"),
    ("a: &a [x]\nb: [" + "*a, " * 17 + "]", "more than 16 YAML aliases"),
    ("#" * (1024 * 1024 + 1), "1048577 bytes"),
    ("[" * 100_000, "its MLmodel cannot be read"),
])
def test_a_model_that_could_run_code_does_not_pass(folder, described, why):
    write(folder, described)
    with pytest.raises(trust.UntrustedModel) as caught:
        trust.check(folder, PICKLE)
    assert why in str(caught.value)
    # RegModel tells the first 300 characters.
    assert len(str(caught.value)) < 270


def test_a_pickle_is_refused_unless_it_is_allowed(folder):
    write(folder, GOOD)
    with pytest.raises(trust.UntrustedModel, match=r"log it with serialization_format='skops'.*add sklearn:pickle to regmodel_allowed_flavors \(now sklearn\)"):
        trust.check(folder, trust.allowed_from(""))
    write(folder, changed("flavors", "sklearn", to={}))
    with pytest.raises(trust.UntrustedModel, match="it is stored as 'pickle'"):
        trust.check(folder, trust.allowed_from(""))


def test_whoever_allows_python_models_allows_code(folder):
    write(folder, changed(*FUNCTION, "loader_module", to="own_loader"))
    trust.check(folder, frozenset({"python_function"}))


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/etc/passwd"), os.mkfifo])
def test_what_is_no_file_is_refused(folder, make):
    write(folder, GOOD)
    make(folder / "inner" / "x")
    with pytest.raises(trust.UntrustedModel, match="inner/x is neither a file nor a directory"):
        trust.check(folder, PICKLE)


@pytest.mark.parametrize(("text", "entries"), [
    ("", {"sklearn"}), (" , ", {"sklearn"}), ("python_function", {"python_function"}),
    ("sklearn, sklearn:cloudpickle,sklearn:mypackage.Model", {"sklearn", "sklearn:cloudpickle", "sklearn:mypackage.Model"}),
])
def test_what_may_be_allowed(text, entries):
    assert trust.allowed_from(text) == entries


@pytest.mark.parametrize("text", ["*", "Sklearn", "sklearn:", "sklearn:Model", "python_function;xgboost", "mlflow.sklearn", "xgboost:pickle"])
def test_what_cannot_be_allowed_is_named(text):
    with pytest.raises(ValueError, match="REGMODEL_ALLOWED_FLAVORS has '"):
        trust.allowed_from("sklearn," + text)


@pytest.mark.parametrize("uri", ["mlflow-artifacts:/1/models/m-1/artifacts", "mlflow-artifacts://mlflow:5000/1", "s3://bucket/1", "gs://bucket/1"])
def test_files_come_from_mlflow_or_an_object_store(uri):
    trust.check_source(uri, "http://user:password@mlflow:5000")


@pytest.mark.parametrize("uri", ["http://mlflow:5000/x", "https://evil.example/x", "mlflow-artifacts://evil.example:5000/x", "mlflow-artifacts://mlflow/x",
                                 "file:///etc", "/etc", "ftp://evil.example/x", "sftp://user:password@evil.example/x", "hdfs://evil.example/x"])
def test_files_come_from_nowhere_else(uri):
    with pytest.raises(trust.UntrustedModel, match="wanted is MLflow itself") as caught:
        trust.check_source(uri, "http://user:password@mlflow:5000")
    assert "password" not in str(caught.value)
