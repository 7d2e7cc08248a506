"""The table of what .env may hold, and .env.example that is written from it."""

import pathlib
import re

import pytest
import yaml
from ansible_collections.mlops.stack.plugins.filter.dotenv import from_dotenv

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
NAMES = yaml.safe_load((ROOT / "roles/mlops/vars/main/dotenv.yml").read_text())["__mlops_dotenv_names"]
EXAMPLE = (ROOT / ".env.example").read_text()


def test_every_name_that_the_first_stack_documented_is_known():
    assert set(NAMES) >= {
        "_AIRFLOW_WWW_USER_USERNAME", "_AIRFLOW_WWW_USER_PASSWORD", "MLFLOW_DB_USER", "MLFLOW_DB_PASSWORD", "MLFLOW_DB_NAME",
        "MLFLOW_INSTANCE_CONNECTION", "GF_SECURITY_ADMIN_PASSWORD", "DISCORD_WEBHOOK_URL"}


def test_the_example_gives_nothing_until_a_line_is_taken_in():
    assert from_dotenv(EXAMPLE) == {}
    assert set(from_dotenv(re.sub(r"^# (\w+=)$", r"\1", EXAMPLE, flags=re.MULTILINE))) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_default_has_the_shape_that_is_wanted(name):
    default = NAMES[name].get("default", "")
    assert "{{" in default or not default or re.fullmatch(NAMES[name]["pattern"], default)


@pytest.mark.parametrize("name, value, fits", [
    ("MLFLOW_DB_USER", "sa@project.iam", True), ("MLFLOW_DB_USER", "pg_x", False), ("MLFLOW_DB_USER", "a" * 63, True),
    ("MLFLOW_DB_USER", "a" * 64, False), ("MLFLOW_DB_NAME", "mlflow-2", True), ("MLFLOW_DB_NAME", "2mlflow", False),
    ("MLFLOW_DB_NAME", "ml flow", False), ("MLFLOW_INSTANCE_CONNECTION", "my-project:europe-west1:mlflow", True),
    ("MLFLOW_INSTANCE_CONNECTION", "example.com:my-project:us-central1:db-1", True), ("MLFLOW_INSTANCE_CONNECTION", "my-project:mlflow", False),
    ("DISCORD_WEBHOOK_URL", "https://discord.com/api/webhooks/1/t", True), ("DISCORD_WEBHOOK_URL", "http://discord.com/api/webhooks/1/t", False),
    ("DISCORD_WEBHOOK_URL", "https://discord.com", False), ("MLFLOW_DB_PASSWORD", "a b'\"$\\é", True), ("MLFLOW_DB_PASSWORD", "a\nb", False),
])
def test_shapes(name, value, fits):
    assert bool(re.fullmatch(NAMES[name]["pattern"], value)) is fits
