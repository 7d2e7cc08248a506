"""One stack for all tests: brought up by the play, and gone after them."""

import pytest
from cloudsql_stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    made = Stack(tmp_path_factory.mktemp("cloudsql"))
    made.encrypt("gcp.json")
    status, printed = made.play(mlflow_cloud_sql_arguments=["my-project:europe-west1:dark?port=5433"])
    try:
        assert status == 0, printed
        yield made
    finally:
        made.compose("down", "--volumes", "--remove-orphans", "--timeout", "2")
