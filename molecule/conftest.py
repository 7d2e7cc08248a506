"""What the scenarios' tests share: the way onto a test host's own network, its project, and waiting with a deadline."""

import contextlib
import ctypes
import os
import pathlib
import subprocess
import time

import docker
import pytest
import requests

EPHEMERAL = pathlib.Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
# What each part of Airflow 3.3 says of a database without its schema; molecule/airflow makes one say it.
NOT_MIGRATED = "Database migration required"
CLONE_NEWNET = 0x40000000
PROMETHEUS = "http://127.0.0.1:9090"


def secret(name: str) -> str:
    """A generated secret of the inventory under test."""
    return (EPHEMERAL / "secrets" / "generated" / name).read_text().strip()


def eventually(check, timeout: float = 60, errors=(AssertionError,)):
    """Result of check once it neither fails an assertion nor raises one of errors; its last error at the deadline."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return check()
        except errors:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def play(playbook: str = "converge.yml", *args: str, succeeds: bool = True) -> str:
    """Output of a playbook of the scenario, or of one by its absolute path, on the scenario's inventory; it must succeed, or fail."""
    run = subprocess.run(
        ["ansible-playbook", "--inventory", os.environ["MOLECULE_INVENTORY_FILE"], playbook, *args],
        cwd=os.environ["MOLECULE_SCENARIO_DIRECTORY"], stdin=subprocess.DEVNULL, text=True, capture_output=True, check=False,
    )
    assert (run.returncode == 0) == succeeds, f"{playbook} exited {run.returncode}:\n{run.stdout[-8000:]}\n{run.stderr[-2000:]}"
    return run.stdout + run.stderr


def asked(path, auth=None, **parameters):
    """What Prometheus on this host answers at /api/v1/path; auth: user and password, where it asks for them."""
    answer = requests.get(f"{PROMETHEUS}/api/v1/{path}", params=parameters, auth=auth, timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def value(expression, auth=None):
    """The one value that an expression has now."""
    found = asked("query", auth, query=expression)["result"]
    assert found, f"{expression}: no value"
    return float(found[0]["value"][1])


@contextlib.contextmanager
def network_of(container: str):
    """This thread, and those it starts, on the network of a container of this machine; Unix sockets stay as they are."""
    pid = docker.from_env().api.inspect_container(container)["State"]["Pid"]
    with open("/proc/thread-self/ns/net") as own, open(f"/proc/{pid}/ns/net") as theirs:
        enter(theirs)
        try:
            yield
        finally:
            enter(own)


def enter(namespace) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"cannot enter {namespace.name}")


@pytest.fixture
def on_host(host):
    """Test runs on the host's network, where the stack's ports are on loopback as on a user's machine."""
    with network_of(host.backend.host):
        yield host


@pytest.fixture
def compose(host):
    """Runs a docker compose command where an operator would: in /opt/mlops on the host."""
    def run(arguments: str) -> str:
        return host.check_output(f"cd /opt/mlops && docker compose {arguments}")
    return run
