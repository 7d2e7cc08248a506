"""What a training is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ESTIMATORS = ("ridge", "gradient_boosting")


@dataclass(frozen=True)
class Settings:
    """One training.

    model_name, alias, experiment: names in MLflow.
    estimator: "ridge" (uses alpha) or "gradient_boosting" (uses n_estimators, learning_rate, max_depth).
    random_state: seed of the estimator. It does not move the split: see regmodel_training.data.

    Raises ValueError for an unknown estimator.
    """

    model_name: str = "regmodel"
    alias: str = "champion"
    experiment: str = "regmodel"
    estimator: str = "ridge"
    alpha: float = 1.0
    n_estimators: int = 200
    learning_rate: float = 0.05
    max_depth: int = 2
    random_state: int = 0

    def __post_init__(self) -> None:
        if self.estimator not in ESTIMATORS:
            raise ValueError(f"estimator {self.estimator!r} is unknown; known are {', '.join(ESTIMATORS)}")

    def hyperparameters(self) -> dict[str, Any]:
        """Those that the chosen estimator uses; they are logged as the run's parameters."""
        if self.estimator == "ridge":
            return {"alpha": self.alpha}
        return {
            "n_estimators": self.n_estimators,
            "learning_rate": self.learning_rate,
            "max_depth": self.max_depth,
            "random_state": self.random_state,
        }
