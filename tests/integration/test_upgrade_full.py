"""The scenario `upgrade`, which takes longer than any other."""

import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.full
def test_an_installation_of_an_earlier_commit_converges():
    subprocess.run(["tests/molecule", "upgrade"], cwd=ROOT, check=True)
