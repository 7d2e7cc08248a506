"""Real servers for wait_healthy, gone after the tests."""

from __future__ import annotations

import contextlib
import glob
import io
import pathlib
import shutil
import signal
import subprocess
import tarfile
import tempfile
import threading
import uuid

import pytest
from ansible_collections.mlops.stack.plugins.module_utils._wait_run import wait
from wait_real import APPLETS, LABEL, Containers, Postgres, Redis, sh, static_busybox

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


@pytest.fixture(scope="session")
def image():
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        pytest.skip("no Docker Engine answers")
    busybox = static_busybox()
    if not busybox:
        pytest.skip("no busybox: install busybox-static")
    name = f"mlops-test/wait-healthy:{uuid.uuid4().hex[:8]}"
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(folder)
    subprocess.run(["docker", "import", "--change", f"LABEL {LABEL}", "-", name], input=data.getvalue(), capture_output=True, check=True)
    yield name
    left = sh("docker", "ps", "--all", "--quiet", "--filter", f"label={LABEL}").split()
    if left:
        sh("docker", "rm", "--force", "--volumes", *left)
    sh("docker", "rmi", "--force", name)


@pytest.fixture
def containers(image):
    made = Containers(image)
    yield made
    made.remove()


@pytest.fixture(scope="session")
def postgres_binaries():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))
    if not found:
        pytest.skip("no PostgreSQL server in /usr/lib/postgresql")
    return found[-1]


def postgres_servers(binaries):
    """A function that makes servers, not started yet; they end with the generator."""
    with contextlib.ExitStack() as stack:

        def make():
            directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wait-pg-", dir="/tmp")))
            directory.chmod(0o755)
            server = Postgres(binaries, directory)
            stack.callback(server.stop)
            return server

        yield make


@pytest.fixture
def new_postgres(postgres_binaries):
    yield from postgres_servers(postgres_binaries)


@pytest.fixture(scope="module")
def postgres_server(postgres_binaries):
    for make in postgres_servers(postgres_binaries):
        yield make()


@pytest.fixture
def redis(tmp_path):
    """Start Redis servers."""
    if not shutil.which("redis-server"):
        pytest.skip("no redis-server")
    servers = []

    def make(*arguments, directory=tmp_path):
        servers.append(Redis(directory, *arguments))
        return servers[-1]

    yield make
    for server in servers:
        if server.process.poll() is None:
            server.stop(signal.SIGKILL)


