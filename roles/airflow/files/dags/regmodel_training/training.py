"""Fit a model, log it to MLflow with its metrics and signature, and register it as a new version."""

from __future__ import annotations

from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any

from regmodel_training import data
from regmodel_training.settings import Settings
from regmodel_training.tracking import tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from sklearn.pipeline import Pipeline

# Marks run and version with the key of the training, so that a repeated task finds what the first try made.
KEY_TAG = "training.key"

# skops, the stored format, refuses these unless they are named: trees are raw arrays that a forged file could use to
# crash the reader. Our own tree models come from the training above, through a registry that only we write to.
TRUSTED_TYPES = ["sklearn.tree._tree.Tree"]

# What loading the model needs, in the versions that it was trained with. Named here because MLflow would find them out
# by loading the model in another process, for seconds.
REQUIREMENTS = ("mlflow-skinny", "numpy", "pandas", "scikit-learn", "skops")


def pipeline(settings: Settings) -> Pipeline:
    """The untrained model."""
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    kinds = {"ridge": Ridge, "gradient_boosting": GradientBoostingRegressor}
    estimator = kinds[settings.estimator](**settings.hyperparameters())
    return Pipeline([("scale", StandardScaler()), ("regress", estimator)])


def train(settings: Settings, key: str) -> dict[str, Any]:
    """Train once for a key, and return run_id, version (as MLflow writes it: a string) and rmse, mae, r2 (None where not finite).

    key: names this training, for example an orchestrator's run. Called again with the same key, the registered version
    is returned as it is; a run that ended before it was registered is left as it is, and a new one made.

    Raises TrackingError if MLflow cannot be used, ValueError for a key with a quote (MLflow's filters cannot escape it).
    """
    if "'" in key:
        raise ValueError(f"the key {key} must not have a quote in it")
    with tracking() as client:
        made = _find(client, settings, key)
        if made is not None:
            print(f"version {made['version']} of {settings.model_name} was made for {key} before: nothing to train")
            return made
        return _train(settings, key)


def _find(client: MlflowClient, settings: Settings, key: str) -> dict[str, Any] | None:
    versions = client.search_model_versions(f"name = '{settings.model_name}' and tags.`{KEY_TAG}` = '{key}'")
    for found in sorted(versions, key=lambda version: int(version.version)):
        if found.run_id:
            metrics = client.get_run(found.run_id).data.metrics
            return {"run_id": found.run_id, "version": str(found.version), **_scores(metrics)}
    return None


def _train(settings: Settings, key: str) -> dict[str, Any]:
    import mlflow
    import pandas
    from mlflow.models import infer_signature

    split = data.load()
    model = pipeline(settings).fit(split.train_x, split.train_y)
    metrics = data.scores(split.test_y, model.predict(split.test_x))
    fitted = pandas.DataFrame({data.TARGET: model.predict(split.train_x)})

    mlflow.set_experiment(settings.experiment)
    with mlflow.start_run(tags={KEY_TAG: key}) as run:
        mlflow.log_params({"estimator": settings.estimator, **settings.hyperparameters()})
        mlflow.log_params(
            {"split_seed": data.SPLIT_SEED, "train_rows": len(split.train_x), "test_rows": len(split.test_x)}
        )
        mlflow.log_metrics(metrics)
        info = mlflow.sklearn.log_model(
            model,
            name="model",
            signature=infer_signature(split.train_x, fitted),
            input_example=split.test_x.head(3).reset_index(drop=True),
            pip_requirements=[f"{name}=={installed(name)}" for name in REQUIREMENTS],
            skops_trusted_types=TRUSTED_TYPES if settings.estimator == "gradient_boosting" else None,
        )
    # The tag is part of the one request that makes the version: there is no moment in which it lies there without.
    made = mlflow.register_model(info.model_uri, settings.model_name, await_registration_for=60, tags={KEY_TAG: key})
    version = str(made.version)
    print(
        f"trained {settings.estimator}: {settings.model_name} version {version}, {_text(metrics)} on the held-out rows"
    )
    return {"run_id": run.info.run_id, "version": version, **_scores(metrics)}


def _scores(metrics: dict[str, float]) -> dict[str, float | None]:
    return {name: data.finite(metrics.get(name)) for name in ("rmse", "mae", "r2")}


def _text(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
