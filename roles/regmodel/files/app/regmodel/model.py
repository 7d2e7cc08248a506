"""One loaded version of the model: what it is, and how it predicts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from regmodel.schema import InvalidInput, Schema


class UnusableModel(Exception):
    """The version loads, but cannot be served; the message says why."""


@dataclass(frozen=True)
class Version:
    """A registered version. MLflow counts again from 1 when a model is deleted and made anew, hence `created_ms`."""

    name: str
    version: str
    run_id: str | None
    created_ms: int

    def public(self) -> dict[str, Any]:
        """The part that answers of the API carry."""
        return {"name": self.name, "version": self.version, "run_id": self.run_id}


@dataclass(frozen=True)
class Model:
    """A version in memory, ready to predict from any thread.

    predictor: a mlflow.pyfunc.PyFuncModel.
    outputs: the signature's outputs as MLflow writes them, or None.
    metrics: those of the training run; empty if the run cannot be read.
    example: rows that the model accepts, for people and warm-up; empty if the model was logged without an example.
    loaded_at: ISO 8601, UTC.
    """

    version: Version
    predictor: Any = field(repr=False)
    schema: Schema
    outputs: list[dict[str, Any]] | None
    metrics: dict[str, float]
    example: list[dict[str, Any]]
    loaded_at: str

    def predict(self, columns: dict[str, list[Any]]) -> list[Any]:
        """Predict from what Schema.columns returned; one JSON value a row.

        Raises UnusableModel if the answer is not one finite value a row, and whatever the model itself raises.
        """
        frame = self.schema.frame(columns)
        predictions = self.predictor.predict(frame)
        if hasattr(predictions, "to_numpy"):
            predictions = predictions.to_numpy()
        values = predictions.tolist() if hasattr(predictions, "tolist") else list(predictions)
        # A frame of one column, or an array of shape (n, 1), is one value a row too.
        values = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in values]
        if len(values) != len(frame):
            raise UnusableModel(f"the model gave {len(values)} predictions for {len(frame)} rows")
        for index, value in enumerate(values):
            for number in value if isinstance(value, list) else [value]:
                if isinstance(number, float) and not math.isfinite(number):
                    raise UnusableModel(f"the model predicted {number} for row {index}")
        return values

    def warm_up(self) -> None:
        """Predict once, so that the first request does not pay for lazy imports and a broken model is found out.

        The rows are the model's own example, or zeros where every field is a number. Raises UnusableModel.
        """
        rows = self.example
        if not rows:
            if not all(field.type in ("integer", "long", "float", "double") for field in self.schema.fields):
                return
            rows = [{field.name: 0 for field in self.schema.fields}]
        try:
            columns = self.schema.columns(rows)
        except InvalidInput as error:
            raise UnusableModel(f"its input example does not fit its signature: {error}") from None
        self.predict(columns)
