"""Airflow's options as this container's environment gives them, without importing Airflow."""

import os
import shlex
import subprocess


def setting(section: str, key: str) -> str:
    """Return an Airflow option from its environment variable, or from the command in its ``_CMD``, as Airflow does."""
    name = f"AIRFLOW__{section.upper()}__{key.upper()}"
    if name in os.environ:
        return os.environ[name]
    command = os.environ.get(f"{name}_CMD")
    if not command:
        return ""
    return subprocess.run(shlex.split(command), check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
