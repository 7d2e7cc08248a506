"""The data: scikit-learn's diabetes set, which needs no download."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pandas

TARGET = "disease_progression"

# What scikit-learn calls s1 to s6, by its own description of the set.
NAMES = {
    "s1": "total_cholesterol",
    "s2": "ldl",
    "s3": "hdl",
    "s4": "cholesterol_hdl_ratio",
    "s5": "log_triglycerides",
    "s6": "blood_sugar",
    "bp": "blood_pressure",
}

# Fixed, whatever the training's seed: the served version is never judged on rows that it was trained on, and all
# versions are compared on the same ones.
SPLIT_SEED = 442
HELD_OUT = 0.25


class Split(NamedTuple):
    """Features in their natural units (age in years, sex 1 or 2, ...) and the target, for training and held out."""

    train_x: pandas.DataFrame
    test_x: pandas.DataFrame
    train_y: pandas.Series
    test_y: pandas.Series


def load() -> Split:
    """Load the set and split it: 331 rows to train on, 111 held out."""
    from sklearn.datasets import load_diabetes
    from sklearn.model_selection import train_test_split

    x, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    return Split(
        *train_test_split(x.rename(columns=NAMES), y.rename(TARGET), test_size=HELD_OUT, random_state=SPLIT_SEED)
    )


def scores(truth: pandas.Series, predicted: object) -> dict[str, float]:
    """rmse and mae in the target's unit, and r2."""
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    return {
        "rmse": float(root_mean_squared_error(truth, predicted)),
        "mae": float(mean_absolute_error(truth, predicted)),
        "r2": float(r2_score(truth, predicted)),
    }


def finite(score: float | None) -> float | None:
    """None for NaN and infinity, which JSON has not."""
    return score if score is not None and math.isfinite(score) else None
