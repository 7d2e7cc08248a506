"""Who wins, and what a training may be told; training itself is tested against a real MLflow."""

import pytest
from regmodel_training import Settings
from regmodel_training.promotion import _wins
from regmodel_training.tracking import TrackingError, tracking


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
    ],
)
def test_better_wins_and_a_tie_goes_to_the_fresher(rmse, version, current_rmse, current, wins):
    assert _wins(rmse, version, current_rmse, current) is wins


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
