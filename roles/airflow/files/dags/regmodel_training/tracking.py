"""MLflow's client, with time limits, and failures that say what to do."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Without these an unanswered request is tried for up to a quarter of an hour. The environment overrides them.
DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # The training code lies in no git repository; without this MLflow complains that there is no git.
    "GIT_PYTHON_REFRESH": "quiet",
}


class TrackingError(RuntimeError):
    """MLflow is not set, does not answer, or refuses; the message is for the task's log."""


@contextmanager
def tracking() -> Iterator[MlflowClient]:
    """Give a client that is known to be answered, and turn MLflow's errors inside the block into TrackingError.

    Reads MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD or MLFLOW_TRACKING_PASSWORD_FILE.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        raise TrackingError("MLFLOW_TRACKING_URI is not set: give MLflow's URL, for example http://mlflow:5000")
    for name, value in DEFAULTS.items():
        if not os.environ.get(name):
            os.environ[name] = value
    if os.environ.get("MLFLOW_TRACKING_PASSWORD_FILE"):
        os.environ["MLFLOW_TRACKING_PASSWORD"] = _password(os.environ["MLFLOW_TRACKING_PASSWORD_FILE"])

    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    # It warns at every model that the virtual environment has no pip, which needs none.
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    client = MlflowClient()
    try:
        # /health would prove only that the process lives; this asks the database, with the login and the host name.
        client.search_experiments(max_results=1)
    except MlflowException as error:
        raise TrackingError(
            f"MLflow at {uri} gave no usable answer: {_one_line(error)}. Check that it runs, that this host reaches it, "
            "that its allowed hosts have this name, and the login."
        ) from None
    try:
        yield client
    except MlflowException as error:
        raise TrackingError(f"MLflow at {uri} answered, then failed: {_one_line(error)}") from error


def _password(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise TrackingError(f"MLFLOW_TRACKING_PASSWORD_FILE: {error}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
