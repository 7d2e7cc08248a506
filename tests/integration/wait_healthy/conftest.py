"""Real servers for wait_healthy, gone after the tests."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
import threading

import pytest
from ansible_collections.mlops.stack.plugins.module_utils._wait._run import wait
from stack_images import image
from wait_real import Containers, Postgres, Redis

DEFAULTS = {
    "timeout": 30.0,
    "attempt_timeout": 5.0,
    "stable_for": 0.0,
    "fail_fast": True,
    "suspect_after": 15.0,
    "max_restarts": 3,
    "docker_host": "unix:///var/run/docker.sock",
    "log_lines": 40,
    "diagnostics_timeout": 3.0,
}


@pytest.fixture(scope="session")
def run():
    def call(*checks, **params):
        ended = wait({**DEFAULTS, "checks": list(checks), **params})
        return {**ended.result, "failed": ended.failed}

    return call


@pytest.fixture
def later():
    """Call something after some seconds, in a thread; the test ends after it."""
    threads = []

    def plan(seconds, action, *args):
        timer = threading.Timer(seconds, action, args)
        threads.append(timer)
        timer.start()

    yield plan
    for timer in threads:
        timer.join()


@pytest.fixture
def containers():
    made = Containers(image("python"))
    yield made
    made.remove()


def postgres_servers():
    """A function that makes servers, not started yet; they end with the generator."""
    with contextlib.ExitStack() as stack:

        def make():
            directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wait-pg-", dir="/tmp")))
            directory.chmod(0o755)
            server = Postgres(image("postgres"), directory)
            stack.callback(server.remove)
            return server

        yield make


@pytest.fixture
def new_postgres():
    yield from postgres_servers()


@pytest.fixture(scope="module")
def postgres_server():
    for make in postgres_servers():
        yield make()


@pytest.fixture
def redis(tmp_path):
    """Start Redis servers."""
    with contextlib.ExitStack() as stack:

        def make(*arguments):
            server = Redis(image("redis"), tmp_path, *arguments)
            stack.callback(server.remove)
            return server

        yield make
