"""One stack for all tests: brought up by the play, and gone after them."""

import pytest
from artifacts_stack import MODULES, Stack, build


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    for name in MODULES:
        build(name)
    made = Stack(tmp_path_factory.mktemp("artifacts"))
    try:
        status, printed = made.play("--tags", "stores")
        assert status == 0, printed[-6000:]
        made.make_bucket()
        status, made.printed = made.play("--tags", "mlflow")
        assert status == 0, made.printed[-6000:]
        yield made
    finally:
        made.compose("down", "--volumes", "--remove-orphans", "--timeout", "2")
