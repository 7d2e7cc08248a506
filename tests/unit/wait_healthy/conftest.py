"""Fixtures: servers that end with their test, and a short way to run a wait."""

from __future__ import annotations

import sys
import threading
import time

import pytest
from ansible_collections.mlops.stack.plugins.module_utils._net._connection import Net
from ansible_collections.mlops.stack.plugins.module_utils._wait._run import wait as wait_for
from ansible_collections.mlops.stack.plugins.module_utils._wait._spec import KINDS
from wait_fake_docker import FakeDocker
from wait_servers import Adv


@pytest.fixture
def adv(request):
    """Make an Adv that is closed after the test."""

    def make(*scripts, **options):
        server = Adv(*scripts, **options)
        request.addfinalizer(server.close)
        return server

    return make


@pytest.fixture
def docker(tmp_path):
    fake = FakeDocker(str(tmp_path / "docker.sock"))
    yield fake
    fake.close()


DEFAULTS = {
    "checks": [],
    "checks_from": None,
    "timeout": 10.0,
    "attempt_timeout": 2.0,
    "interval": {},
    "stable_for": 0.0,
    "fail_fast": True,
    "suspect_after": 15.0,
    "max_restarts": 3,
    "docker_host": "unix:///nonexistent/docker.sock",
    "log_lines": 40,
    "diagnostics_timeout": 1.0,
    "redact": [],
    "_slice": None,
    "_state": None,
}


@pytest.fixture
def run():
    """Run the checks to the end; the result, with ``failed`` in it."""

    def call(*checks, check_mode=False, **params):
        ended = wait_for({**DEFAULTS, "checks": list(checks), **params}, check_mode)
        return {**ended.result, "failed": ended.failed}

    return call


@pytest.fixture
def wait(run, docker):
    """Run checks with the fake daemon."""

    def call(*checks, **params):
        return run(*checks, docker_host=docker.host, **params)

    return call


@pytest.fixture
def later(request):
    """Call something after some seconds, in a thread."""

    def plan(seconds, action, *args):
        timer = threading.Timer(seconds, action, args)
        timer.daemon = True
        timer.start()
        request.addfinalizer(timer.cancel)

    return plan


@pytest.fixture(autouse=True)
def threads_raise(monkeypatch):
    """A thread that dies of a bug fails its test."""
    died = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    yield
    assert not died, [sys.exc_info(), *(str(one.exc_value) for one in died)]


@pytest.fixture
def attempt():
    """One attempt of one check, without the engine around it: (outcome, seconds it took)."""
    nets = []

    def call(kind, within=2.0, resolver=None, **options):
        problems = []
        prepared = KINDS[kind].prepare(options, problems.append)
        assert not problems, problems
        net = Net(resolver=resolver)
        nets.append(net)
        began = time.monotonic()
        outcome = KINDS[kind].probe(prepared, net, began + within)
        return outcome, time.monotonic() - began

    yield call
    assert not any(net._open for net in nets), "an attempt left a socket open"
