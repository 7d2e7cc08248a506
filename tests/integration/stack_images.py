"""The names of the collection's own images, for tests that run them."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import jinja2
import yaml
from ansible_collections.mlops.stack.plugins.filter.tree_digest import tree_digest

ROOT = Path(__file__).resolve().parents[2]
MAKE_IMAGES = ".venv/bin/ansible-playbook molecule/shared/machine.yml"


@functools.cache
def image(name: str) -> str:
    """The image of mlops_images that belongs to this checkout. It is an error if the machine lacks it."""
    variables = yaml.safe_load((ROOT / "roles/mlops/defaults/main/images.yml").read_text())
    templates = jinja2.Environment(undefined=jinja2.StrictUndefined)
    templates.filters["mlops.stack.tree_digest"] = tree_digest
    full = templates.from_string(variables["mlops_images"][name]).render({**variables, "mlops_airflow_requirements": []})  # no team gives any
    found = subprocess.run(["docker", "image", "inspect", "--format", "{{.Id}}", full], capture_output=True, text=True, check=False)
    assert found.returncode == 0, f"{full} cannot be used ({found.stderr.strip()}). To make what this machine lacks, run in {ROOT}: {MAKE_IMAGES}"
    return full
