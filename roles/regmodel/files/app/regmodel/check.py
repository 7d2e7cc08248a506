"""``python -m regmodel.check``: whether this service would load the version that the alias points to. Nothing is loaded, and one line says what is.

It is asked before a service that serves takes the place of another. So only a refusal is a failure (status 3): where no version is there, or MLflow
does not give it, nothing is lost by the change.
"""

from __future__ import annotations

import os
import sys

from regmodel.registry import MlflowRegistry, NothingToServe, Unreachable, one_line
from regmodel.settings import SettingsError, prepare_mlflow_client, settings_from_env
from regmodel.trust import WIDENED_BY, UntrustedModel

REFUSED = 3


def main() -> int:
    """Check, say what was found, and return the exit status."""
    try:
        settings = settings_from_env(os.environ)
        prepare_mlflow_client(os.environ)
    except SettingsError as error:
        print(f"nothing was checked: {one_line(error)}")
        return 2
    registry = MlflowRegistry(settings.model_name, settings.alias, settings.allowed_flavors)
    try:
        version = registry.resolve()
    except (NothingToServe, Unreachable) as error:
        print(f"nothing was checked: {one_line(error)}")
        return 0
    what = f"version {version.version} of model {version.name}, which alias {settings.alias} points to,"
    try:
        registry.check(version)
    except UntrustedModel as error:
        allowed = f" ({WIDENED_BY} is {', '.join(sorted(settings.allowed_flavors))})" if WIDENED_BY not in str(error) else ""
        print(f"{what} is refused: {error}{allowed}")
        return REFUSED
    except Exception as error:  # an artifact store can be away in any way
        print(f"{what} was not checked: {type(error).__name__}: {one_line(error)}")
        return 0
    print(f"{what} may be loaded")
    return 0


if __name__ == "__main__":
    sys.exit(main())
