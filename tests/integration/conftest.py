"""What several modules look at and none but test_render.py renders again."""

import pathlib

import pytest
from render_inventories import ONE, THREE, rendered_once


@pytest.fixture(scope="session")
def one(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return rendered_once(tmp_path_factory.mktemp("one"), ONE)


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return rendered_once(tmp_path_factory.mktemp("three"), THREE)
