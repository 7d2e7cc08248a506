"""Logs the models that the tests serve; run by the model runtime's Python against MLFLOW_TRACKING_URI.

The Python models are pickled by value, because this file is the main program: the service never imports it.
"""

import time

import mlflow
import numpy
import pandas
from mlflow.models import ModelSignature, infer_signature
from mlflow.pyfunc import PythonModel
from mlflow.types import ColSpec, DataType, Schema
from sklearn.linear_model import LinearRegression

REQUIREMENTS = ["mlflow-skinny", "scikit-learn"]
ROWS = pandas.DataFrame({"a": [0.0, 1.0, 2.0, 5.0], "b": [0.0, 1.0, -1.0, 2.0]})
OUTPUT = Schema([ColSpec(DataType.double, "y")])
A_AND_B = ModelSignature(Schema([ColSpec(DataType.double, "a"), ColSpec(DataType.double, "b")]), OUTPUT)


class Slow(PythonModel):
    """Version 5 of `steps`: takes its time to load."""

    def load_context(self, context):
        del context
        end = time.monotonic() + 3
        # Not a sleep: a load that keeps the interpreter busy is the one that could starve the event loop.
        while time.monotonic() < end:
            sum(range(1000))

    def predict(self, context, model_input, params=None):
        return model_input["a"] + 2 * model_input["b"] + 5000


class Fragile(PythonModel):
    """Fails in each way that a model can fail, as its input says."""

    def predict(self, context, model_input, params=None):
        first = model_input["a"].iloc[0]
        if first == -1:
            raise RuntimeError("negative\nage")
        if first == -2:
            return numpy.array([numpy.nan] * len(model_input))
        if first == -3:
            return numpy.array([1.0])
        if first == -4:
            print("a slow prediction begins", flush=True)
            time.sleep(2)
        return model_input[["a"]]


class Echo(PythonModel):
    """Says what it got: the names and types of its columns."""

    def predict(self, context, model_input, params=None):
        text = ",".join(f"{name}:{dtype}" for name, dtype in model_input.dtypes.items())
        values = model_input.astype(object).where(model_input.notna(), None)
        return [f"{text}|{[str(value) for value in row]}" for row in values.itertuples(index=False)]


class Broken(PythonModel):
    """Cannot be loaded."""

    def load_context(self, context):
        raise OSError("the weights are missing")

    def predict(self, context, model_input, params=None):
        return model_input["a"]


class FailsOnce(PythonModel):
    """Loads, but cannot predict."""

    def predict(self, context, model_input, params=None):
        raise ZeroDivisionError("no warm-up for me")


def sklearn_version(name, offset, **options):
    """y = a + 2 b + offset, exactly: a prediction tells which version made it."""
    model = LinearRegression().fit(ROWS, ROWS["a"] + 2 * ROWS["b"] + offset)
    options = {
        "signature": infer_signature(ROWS, pandas.DataFrame({"y": [0.0]})),
        "input_example": ROWS.head(1),
    } | options
    mlflow.log_metric("offset", offset)
    mlflow.sklearn.log_model(model, name="model", registered_model_name=name, pip_requirements=REQUIREMENTS, **options)


def python_version(name, model, signature=A_AND_B):
    mlflow.pyfunc.log_model(
        name="model",
        python_model=model,
        registered_model_name=name,
        signature=signature,
        pip_requirements=["mlflow-skinny", "cloudpickle"],
    )


def log(function, *arguments, **options):
    with mlflow.start_run():
        function(*arguments, **options)


def main():
    mlflow.set_experiment("fixtures")
    for number in (1, 2, 3, 4):
        log(sklearn_version, "steps", 1000 * number)
    log(python_version, "steps", Slow())  # 5
    log(python_version, "steps", Broken())  # 6
    log(python_version, "steps", FailsOnce())  # 7
    log(sklearn_version, "steps", 8000, signature=False, input_example=None)  # 8
    tensor = infer_signature(ROWS.to_numpy(), numpy.array([0.0]))
    log(sklearn_version, "steps", 9000, signature=tensor, input_example=None)  # 9
    log(sklearn_version, "steps", 10000, input_example=None)  # 10
    binary = ModelSignature(Schema([ColSpec(DataType.binary, "a")]), OUTPUT)
    log(python_version, "steps", Echo(), binary)  # 11

    log(python_version, "fragile", Fragile())
    kinds = [ColSpec(kind, kind.name) for kind in DataType if kind.name != "binary"]
    optional = [ColSpec(DataType.double, "maybe", required=False), ColSpec(DataType.long, "count", required=False)]
    log(python_version, "echo", Echo(), ModelSignature(Schema(kinds + optional), Schema([ColSpec(DataType.string)])))
    for name in ("steps", "fragile", "echo"):
        mlflow.MlflowClient().set_registered_model_alias(name, "champion", "1")


if __name__ == "__main__":
    main()
