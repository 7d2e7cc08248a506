"""Let a version be served, if it is not worse than the one that is served."""

from __future__ import annotations

import math
import os
import tempfile
from typing import TYPE_CHECKING, Any

from regmodel_training import data, trust
from regmodel_training.settings import Settings
from regmodel_training.tracking import TrackingError, tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient

DECISION = "promotion.decision"
RMSE = "promotion.rmse"
PREVIOUS = "promotion.previous_version"
PREVIOUS_RMSE = "promotion.previous_rmse"

# Errors closer than this are equal: the same model, evaluated twice, may differ in the last bits.
RELATIVE_TOLERANCE = 1e-9


def promote(settings: Settings, trained: dict[str, Any]) -> dict[str, Any]:
    """Move the alias to a trained version, if it is better than the current one on the held-out rows, or equal and newer.

    trained: what `train` returned. A tie goes to the fresher model: it was made by today's code and libraries.
    With no alias yet the version is promoted. The reason is written to the version's tags (promotion.*) first and the
    alias moved last, so a repeated call ends as the first one would have.

    Returns run_id, version, promoted, rmse, previous_version and previous_rmse (None without a previous version, or where it is not finite).
    Raises TrackingError if MLflow cannot be used, or if the current version cannot be evaluated: then nothing is moved.
    """
    version = str(trained["version"])
    with tracking() as client:
        current = _current(client, settings)
        if current == version:
            return _said_before(client, settings, trained)
        rmse = _evaluate(settings.model_name, version)
        current_rmse = None if current is None else _evaluate_current(settings, current)
        better = _wins(rmse, version, current_rmse, current)
        _say(client, settings, version, rmse, current, current_rmse, better)
        if better:
            client.set_registered_model_alias(settings.model_name, settings.alias, version)
    against = "no version was served" if current is None else f"version {current} has {current_rmse:.6g}"
    verb = "now points to" if better else "is not moved to"
    print(f"alias {settings.alias} {verb} version {version}: rmse {rmse:.6g}, {against}")
    return _result(trained, better, rmse, current, current_rmse)


def _current(client: MlflowClient, settings: Settings) -> str | None:
    """The version that the alias points to, or None."""
    aliases = client.get_registered_model(settings.model_name).aliases
    return str(aliases[settings.alias]) if settings.alias in aliases else None


def _wins(rmse: float, version: str, current_rmse: float | None, current: str | None) -> bool:
    """NaN and infinity are errors that nobody can compare: such a version never wins, and any other wins over it."""
    if not math.isfinite(rmse):
        return False
    if current is None or current_rmse is None or not math.isfinite(current_rmse):
        return True
    if math.isclose(rmse, current_rmse, rel_tol=RELATIVE_TOLERANCE):
        return int(version) > int(current)
    return rmse < current_rmse


def _evaluate(model_name: str, version: str) -> float:
    """The rmse of a registered version, checked, downloaded and loaded as RegModel does it, on the held-out rows; NaN if it predicts no number."""
    import numpy

    split = data.load()
    allowed = trust.allowed_from(os.environ.get(trust.VARIABLE, ""))
    with tempfile.TemporaryDirectory(prefix="regmodel-") as folder:
        predicted = numpy.asarray(trust.load(model_name, version, folder, allowed).predict(split.test_x), float)
    return data.scores(split.test_y, predicted)["rmse"] if numpy.isfinite(predicted).all() else math.nan


def _evaluate_current(settings: Settings, version: str) -> float:
    try:
        return _evaluate(settings.model_name, version)
    except Exception as error:  # any model can stand behind an alias, and fail in its own way
        raise TrackingError(
            f"version {version}, to which alias {settings.alias} of {settings.model_name} points, cannot be evaluated "
            f"({type(error).__name__}: {error}). Nothing was moved. Point the alias to a version that works, or delete "
            "it, and run this task again."
        ) from error


def _say(
    client: MlflowClient,
    settings: Settings,
    version: str,
    rmse: float,
    current: str | None,
    current_rmse: float | None,
    better: bool,
) -> None:
    """Write why, in the version's tags."""
    if not math.isfinite(rmse):
        decision = f"kept back: its rmse is {rmse}"
    elif current_rmse is None:
        decision = "promoted: no version was served"
    elif not better:
        decision = "kept back: worse than the served version"
    elif not math.isfinite(current_rmse):
        decision = f"promoted: the rmse of the served version is {current_rmse}"
    elif rmse < current_rmse and not math.isclose(rmse, current_rmse, rel_tol=RELATIVE_TOLERANCE):
        decision = "promoted: better than the served version"
    else:
        decision = "promoted: as good as the served version, and fresher"
    tags = {DECISION: decision, RMSE: repr(rmse)}
    if current is not None:
        tags |= {PREVIOUS: current, PREVIOUS_RMSE: repr(current_rmse)}
    for name, value in tags.items():
        client.set_model_version_tag(settings.model_name, version, name, value)


def _said_before(client: MlflowClient, settings: Settings, trained: dict[str, Any]) -> dict[str, Any]:
    """The alias is where it would be put: an earlier try, or somebody, moved it. Say again what the tags say."""
    version = str(trained["version"])
    tags = client.get_model_version(settings.model_name, version).tags
    print(f"alias {settings.alias} points to version {version} already: nothing to do")
    previous_rmse = tags.get(PREVIOUS_RMSE)
    rmse = float(tags.get(RMSE) or trained["rmse"] or math.nan)
    return _result(trained, True, rmse, tags.get(PREVIOUS), None if previous_rmse is None else float(previous_rmse))


def _result(
    trained: dict[str, Any], promoted: bool, rmse: float, previous: str | None, previous_rmse: float | None
) -> dict[str, Any]:
    """What a task returns is JSON, which has no NaN: PostgreSQL refuses it as a task's result."""
    return {
        "run_id": trained["run_id"],
        "version": str(trained["version"]),
        "promoted": promoted,
        "rmse": data.finite(rmse),
        "previous_version": previous,
        "previous_rmse": data.finite(previous_rmse),
    }
