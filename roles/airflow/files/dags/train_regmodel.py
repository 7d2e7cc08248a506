"""Trains RegModel, and lets it be served if it is at least as good as the version that is served now.

The machine-learning libraries live in a virtual environment of their own: Airflow's Python never imports them, and
parses this file quickly. The work itself is in the package `regmodel_training` beside this file, which also runs alone.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from airflow.sdk import Param, dag, task

# Where Airflow's image has the virtual environment.
PYTHON = os.environ.get("REGMODEL_TRAINING_PYTHON") or "/opt/training/bin/python"
# The tasks inherit the worker's environment (MLFLOW_TRACKING_URI above all), but not a Python path that was meant for
# Airflow's own interpreter. The folder of this file is right in every kind of DAG bundle.
ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parent)}

DOC = """
### Train RegModel

`train` fits a model on scikit-learn's diabetes data (442 patients), logs it to MLflow and registers it as a new version.
`promote` compares that version with the one that the alias points to, both on the same held-out rows, and moves the
alias if the new one is better or equal. RegModel follows the alias within seconds.

Start it from the UI, or by the API with any of the parameters in `conf`:

    POST /api/v2/dags/train_regmodel/dagRuns
    {"logical_date": null, "conf": {"estimator": "gradient_boosting", "n_estimators": 300}}

`promote` returns `run_id`, `version`, `promoted`, `rmse`, `previous_version` and `previous_rmse`. The tags of the
model version in MLflow say the same. Both tasks can be cleared and run again: a trained version is found, not made twice.
"""

PARAMS = {
    "model_name": Param("regmodel", type="string", minLength=1, description="Registered model in MLflow"),
    "alias": Param("champion", type="string", minLength=1, description="Alias that RegModel follows"),
    "experiment": Param("regmodel", type="string", minLength=1, description="MLflow experiment"),
    "estimator": Param("ridge", type="string", enum=["ridge", "gradient_boosting"], description="Kind of regression"),
    "alpha": Param(1.0, type="number", minimum=0, description="ridge: strength of the penalty"),
    "n_estimators": Param(200, type="integer", minimum=1, maximum=5000, description="gradient_boosting: trees"),
    "learning_rate": Param(
        0.05, type="number", exclusiveMinimum=0, maximum=1, description="gradient_boosting: weight of each tree"
    ),
    "max_depth": Param(2, type="integer", minimum=1, maximum=20, description="gradient_boosting: depth of a tree"),
    "random_state": Param(
        0,
        type="integer",
        minimum=0,
        maximum=4294967295,
        description="Seed of the estimator; the held-out rows are fixed",
    ),
}


@dag(
    dag_id="train_regmodel",
    schedule=None,
    catchup=False,
    # Two runs at once could each judge itself against the same served version, and the worse one come last.
    max_active_runs=1,
    params=PARAMS,
    tags=["regmodel", "training", "mlflow"],
    doc_md=DOC,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=20)},
)
def train_regmodel() -> None:
    """The two tasks; `settings` reaches them as JSON text, which keeps the parameters' types."""

    @task.external_python(
        python=PYTHON, expect_airflow=False, env_vars=ENVIRONMENT, execution_timeout=timedelta(minutes=30)
    )
    def train(settings: str, key: str) -> dict:
        import json

        from regmodel_training import Settings, train

        return train(Settings(**json.loads(settings)), key)

    @task.external_python(
        python=PYTHON, expect_airflow=False, env_vars=ENVIRONMENT, execution_timeout=timedelta(minutes=10)
    )
    def promote(settings: str, trained: dict) -> dict:
        import json

        from regmodel_training import Settings, promote

        return promote(Settings(**json.loads(settings)), trained)

    settings = "{{ params | tojson }}"
    promote(settings, train(settings, key="{{ dag.dag_id }}/{{ run_id }}"))


train_regmodel()
