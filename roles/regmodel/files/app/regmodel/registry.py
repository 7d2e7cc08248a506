"""MLflow: which version the alias points to, and how to load it.

Only the follower's thread comes here. MLflow is imported on first use: that takes seconds, and /health must not wait.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from regmodel.model import Model, Version
from regmodel.schema import Schema
from regmodel.trust import DEFAULT, fetch, load


class NothingToServe(Exception):
    """MLflow answered, and no version is meant to be served; the message says why."""


class Unreachable(Exception):
    """MLflow gave no usable answer; the message says why."""


class Registry(Protocol):
    """What the follower needs."""

    def resolve(self) -> Version:
        """The version that the alias points to. Raises NothingToServe or Unreachable."""

    def load(self, version: Version) -> Model:
        """Download, load and warm a version. Raises whatever goes wrong on the way."""


class MlflowRegistry:
    """The registry of the MLflow server that MLFLOW_TRACKING_URI names. allowed: see regmodel.trust."""

    def __init__(self, model_name: str, alias: str, allowed: Collection[str] = DEFAULT) -> None:
        self.model_name = model_name
        self.alias = alias
        self.allowed = allowed

    def resolve(self) -> Version:
        """See Registry."""
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException, RestException

        try:
            found = MlflowClient().get_model_version_by_alias(self.model_name, self.alias)
        except RestException as error:
            # Only MLflow's own JSON answer may empty the service: a proxy's 404 page is not one.
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise NothingToServe(f"no such registered model: {self.model_name}") from None
            if error.error_code == "INVALID_PARAMETER_VALUE":
                raise NothingToServe(f"alias {self.alias} is not set on {self.model_name}") from None
            raise Unreachable(one_line(error)) from None
        except MlflowException as error:
            if error.error_code == "PERMISSION_DENIED" and self._hidden():
                raise NothingToServe(f"no such registered model, or this login may not read it: {self.model_name}") from None
            raise Unreachable(_no_answer(error)) from None
        return Version(found.name, str(found.version), found.run_id, int(found.creation_timestamp or 0))

    def _hidden(self) -> bool:
        """Whether MLflow lists no such model to this login. Of one that is not there it denies the alias to all but administrators."""
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            return not MlflowClient().search_registered_models(f"name = '{self.model_name}'", max_results=1)
        except MlflowException:
            return False

    def load(self, version: Version) -> Model:
        """See Registry. The downloaded files are gone when this returns."""
        with tempfile.TemporaryDirectory(prefix="regmodel-") as folder:
            predictor = load(version.name, version.version, folder, self.allowed)
            signature = predictor.metadata.signature
            schema = Schema.from_signature(signature)
            model = Model(
                version=version,
                predictor=predictor,
                schema=schema,
                outputs=signature.outputs.to_dict() if signature.outputs else None,
                metrics=self._metrics(version),
                example=_rows(predictor.input_example, schema),
                loaded_at=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            model.warm_up()
        return model

    def check(self, version: Version) -> None:
        """Download a version and check it, without loading it. Raises UntrustedModel, and whatever goes wrong on the way."""
        with tempfile.TemporaryDirectory(prefix="regmodel-") as folder:
            fetch(version.name, version.version, folder, self.allowed)

    @staticmethod
    def _metrics(version: Version) -> dict[str, float]:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        if not version.run_id:
            return {}
        try:
            return dict(MlflowClient().get_run(version.run_id).data.metrics)
        except MlflowException:
            # The run may have been deleted; its metrics are shown, not needed.
            return {}


def one_line(error: BaseException, limit: int = 300) -> str:
    """The message of an error without line breaks, at most `limit` characters, with the type where it is empty."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _no_answer(error: BaseException) -> str:
    """What kept MLflow's client from an answer: the socket's own error if there is one, else the client's message."""
    from mlflow import get_tracking_uri
    from requests import RequestException

    cause: BaseException | None = error
    found = None
    while cause is not None:
        # Every exception of requests is an OSError too, and repeats the whole request before it comes to the point.
        if isinstance(cause, OSError) and not isinstance(cause, RequestException):
            found = cause
        cause = cause.__cause__ or cause.__context__
    if found is None:
        return one_line(error)
    return f"{urlsplit(get_tracking_uri()).netloc.rpartition('@')[2]}: {one_line(found)}"


def _rows(example: Any, schema: Schema, limit: int = 3) -> list[dict[str, Any]]:
    """The first rows of a model's input example, as JSON values; none if it is not a table.

    Rows are left out in which a required number is NaN or infinite: a request cannot have it.
    """
    if not hasattr(example, "to_json"):
        return []
    rows = json.loads(example.head(limit).to_json(orient="records", date_format="iso", double_precision=15))
    numbers = [field.name for field in schema.fields if field.required and field.type in ("float", "double")]
    return [row for row in rows if all(row.get(name, 0) is not None for name in numbers)]
