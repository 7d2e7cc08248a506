"""What wait_healthy's documentation promises that ansible-test does not compare with the code: the codes of a result."""

import ast
import pathlib
import re

import yaml
from ansible_collections.mlops.stack.plugins.module_utils._net import _connection as _wait_net
from ansible_collections.mlops.stack.plugins.modules import wait_healthy

PLUGINS = pathlib.Path(_wait_net.__file__).parents[2]
MAKERS = {"ready", "transient", "suspect", "permanent", "make"}
# Of a container's log, never of a check.
INTERNAL = {"log_unreadable"}


def documented():
    last = yaml.safe_load(wait_healthy.RETURN)["checks"]["contains"]["last"]["contains"]
    return set(re.findall(r"V\((\w+)\)", "".join(last["code"]["description"])))


def strings(node):
    return {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)}


def codes():
    """First arguments of all calls that make an outcome, whatever they choose between."""
    found = set(_wait_net._CODES.values())
    for path in (PLUGINS / "module_utils").rglob("_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MAKERS and node.args:
                found |= {text for text in strings(node.args[0]) if re.fullmatch(r"[a-z_]+", text)}
    return found


def test_every_code_is_documented():
    found = codes()
    assert len(found) > 50
    assert found - INTERNAL - documented() == set()


def test_no_code_is_documented_that_none_makes():
    formed = {"pg_57P03", "pg_28000", "pg_28P01", "pg_error", "redis_loading", "redis_noauth", "redis_wrongpass", "redis_denied"}
    other = {"http", "tcp", "postgres", "redis", "docker", "pg_", "redis_"} | formed
    assert documented() - codes() - other == set()
