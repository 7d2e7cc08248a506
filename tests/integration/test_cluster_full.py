"""The long part of the scenario `cluster`, on hosts of its own."""

import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCENARIO = ROOT / "molecule/cluster"
EPHEMERAL = ROOT / ".build/molecule/cluster"


@pytest.fixture
def cluster():
    """Environment of tests on the scenario's hosts, converged."""
    run = ["tests/molecule", "cluster"]
    subprocess.run([*run, "destroy"], cwd=ROOT, check=True)
    try:
        subprocess.run([*run, "converge"], cwd=ROOT, check=True)
        yield {**os.environ, "PYTHONPATH": f"{ROOT / 'molecule'}:{SCENARIO / 'tests'}", "MOLECULE_PROJECT_DIRECTORY": str(ROOT),
               "MOLECULE_SCENARIO_DIRECTORY": str(SCENARIO), "MOLECULE_EPHEMERAL_DIRECTORY": str(EPHEMERAL),
               "MOLECULE_INVENTORY_FILE": str(EPHEMERAL / "inventory/ansible_inventory.yml"), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    finally:
        subprocess.run([*run, "destroy"], cwd=ROOT, check=True)


@pytest.mark.full
@pytest.mark.parametrize("part", ["matrix", "rollouts"])
def test_cluster(cluster, part):
    subprocess.run(["pytest", "-v", "--rootdir", str(ROOT), str(SCENARIO / f"full/test_cluster_{part}.py")], cwd=ROOT, env=cluster, check=True)
