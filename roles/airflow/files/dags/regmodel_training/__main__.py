"""Train and promote from a shell: prints the result as one line of JSON on standard output."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import uuid
from dataclasses import fields

from regmodel_training import Settings, promote, train
from regmodel_training.settings import ESTIMATORS
from regmodel_training.tracking import TrackingError


def main(arguments: list[str] | None = None) -> int:
    """Returns 0, or 1 if MLflow cannot be used, after saying why on standard error."""
    parser = argparse.ArgumentParser(
        prog="regmodel_training",
        description="Train RegModel, register it in MLflow, and move the alias if it is not worse than the served version. "
        "MLFLOW_TRACKING_URI says where MLflow is.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for field in fields(Settings):
        option = "--" + field.name.replace("_", "-")
        choices = ESTIMATORS if field.name == "estimator" else None
        parser.add_argument(option, default=field.default, type=type(field.default), choices=choices)
    parser.add_argument("--key", default=None, help="name of this training; one key trains once (default: random)")
    parser.add_argument("--no-promote", action="store_true", help="leave the alias alone")
    given = vars(parser.parse_args(arguments))
    key, no_promote = given.pop("key") or f"shell/{uuid.uuid4()}", given.pop("no_promote")
    settings = Settings(**given)
    try:
        # What is told along the way goes to standard error, so that standard output is the result alone.
        with contextlib.redirect_stdout(sys.stderr):
            result = train(settings, key)
            if not no_promote:
                result = promote(settings, result)
    except TrackingError as error:
        print(f"regmodel_training: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
