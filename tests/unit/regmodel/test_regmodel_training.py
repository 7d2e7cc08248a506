"""Who wins, and what a training may be told; training itself is tested against a real MLflow."""

import json

import pytest
from regmodel_training import Settings
from regmodel_training.promotion import _result, _wins
from regmodel_training.tracking import TrackingError, tracking
from regmodel_training.training import _scores


@pytest.mark.parametrize(
    ("rmse", "version", "current_rmse", "current", "wins"),
    [
        (50.0, "1", None, None, True),
        (49.9, "2", 50.0, "1", True),
        (50.1, "2", 50.0, "1", False),
        (50.0, "2", 50.0, "1", True),
        (50.0, "1", 50.0, "2", False),
        (50.0 + 1e-12, "10", 50.0, "9", True),
        (50.0 - 1e-12, "9", 50.0, "10", False),
        (float("nan"), "2", 50.0, "1", False),
        (float("inf"), "2", 50.0, "1", False),
        (float("nan"), "1", None, None, False),
        (float("nan"), "2", float("nan"), "1", False),
        (50.0, "2", float("nan"), "1", True),
        (50.0, "1", float("inf"), "2", True),
    ],
)
def test_better_wins_and_a_tie_goes_to_the_fresher(rmse, version, current_rmse, current, wins):
    assert _wins(rmse, version, current_rmse, current) is wins


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf"), None])
def test_what_is_no_number_is_none_in_a_result(score):
    result = _result({"run_id": "r", "version": 2}, False, score, "1", score)
    assert (result["rmse"], result["previous_rmse"]) == (None, None)
    json.dumps(result, allow_nan=False)
    assert _scores({"rmse": score, "mae": 1.0}) == {"rmse": None, "mae": 1.0, "r2": None}


def test_only_the_parameters_of_the_estimator_are_its_hyperparameters():
    assert Settings(alpha=2.0).hyperparameters() == {"alpha": 2.0}
    assert set(Settings(estimator="gradient_boosting").hyperparameters()) == {
        "n_estimators",
        "learning_rate",
        "max_depth",
        "random_state",
    }


def test_an_unknown_estimator_is_refused():
    with pytest.raises(ValueError, match="'svm' is unknown; known are ridge, gradient_boosting"):
        Settings(estimator="svm")


def test_without_an_address_nothing_is_tried(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_URI is not set"), tracking():
        pass
