"""Real servers for wait_healthy: containers of a small image, a PostgreSQL and a Redis, all gone after the tests."""

from __future__ import annotations

import contextlib
import glob
import io
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
import uuid

import pytest

from ansible_collections.mlops.stack.plugins.module_utils._wait_run import wait

LABEL = "mlops.stack.test=wait_healthy"
APPLETS = ("sh", "sleep", "true", "false", "tail", "cat", "echo", "test", "touch", "rm", "yes", "head", "nc", "dd", "ps")

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


def sh(*command, check=True, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert not check or done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout.strip()


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


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


def static_busybox():
    """Docker needs no registry for an image that is one static program."""
    found = shutil.which("busybox")
    if found and "statically linked" in sh("file", "-L", found, check=False):
        return found
    for path in ("/bin/busybox", "/usr/bin/busybox"):
        if os.path.exists(path):
            return path
    pytest.skip("no busybox: install busybox-static")
    return None


@pytest.fixture(scope="session")
def image():
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        pytest.skip("no Docker Engine answers")
    name = f"mlops-test/wait-healthy:{uuid.uuid4().hex[:8]}"
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.add(static_busybox(), "bin/busybox")
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


class Containers:
    """Starts containers under names that are unique to the test."""

    def __init__(self, image):
        self.image = image
        self.prefix = f"wait-healthy-{uuid.uuid4().hex[:6]}"
        self.names = []

    def name(self, short):
        return f"{self.prefix}-{short}"

    def create(self, short, script, *options, verb="run", check=True):
        name = self.name(short)
        self.names.append(name)
        detach = ["--detach"] if verb == "run" else []
        sh("docker", verb, *detach, "--name", name, "--label", LABEL, "--stop-timeout", "0", *options, self.image, "sh", "-c", script, check=check)
        return name

    def remove(self):
        sh("docker", "rm", "--force", "--volumes", *self.names, check=False)


@pytest.fixture
def containers(image):
    made = Containers(image)
    yield made
    made.remove()


def exec_in(name, *command):
    return sh("docker", "exec", name, *command)


def healthcheck(command, interval="300ms", retries=3, **more):
    options = ["--health-cmd", command, "--health-interval", interval, "--health-retries", str(retries), "--health-timeout", "2s"]
    return options + [part for name, value in more.items() for part in (f"--health-{name.replace('_', '-')}", value)]


def inspect(name):
    return json.loads(sh("docker", "inspect", name))[0]


class Postgres:
    """A PostgreSQL of the machine's own package, as the user postgres, in a directory of its own."""

    def __init__(self, binaries, directory):
        self.binaries = binaries
        self.directory = directory
        self.port = free_port()
        self.password = "s3cret-of-the-test"
        secret = directory / "pw"
        secret.write_text(self.password)
        shutil.chown(directory, "postgres")
        shutil.chown(secret, "postgres")
        self._call("initdb", "-D", str(directory / "data"), "-A", "scram-sha-256", "--pwfile", str(secret), "--no-sync", "-E", "UTF8", "--locale=C")
        (directory / "data" / "pg_hba.conf").write_text("local all all trust\nhost all md5user all md5\nhost all all all scram-sha-256\n")
        self.configure(fsync="off", unix_socket_directories=f"'{directory}'", listen_addresses="'127.0.0.1'", port=str(self.port))

    def _call(self, program, *arguments, check=True):
        command = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups", f"{self.binaries}/{program}", *arguments]
        with tempfile.TemporaryFile() as out:
            done = subprocess.run(command, stdout=out, stderr=out, cwd=self.directory, check=False)
            out.seek(0)
            text = out.read().decode(errors="replace")
        assert not check or done.returncode == 0, (command, text)
        return text

    def configure(self, **settings):
        with open(self.directory / "data" / "postgresql.conf", "a") as handle:
            handle.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def start(self, wait=True):
        self._call("pg_ctl", "-D", str(self.directory / "data"), "-l", str(self.directory / "log"), "start", "-w" if wait else "-W", check=wait)

    def stop(self):
        self._call("pg_ctl", "-D", str(self.directory / "data"), "stop", "-m", "immediate", "-w", check=False)

    def sql(self, text):
        return self._call("psql", "-h", str(self.directory), "-p", str(self.port), "-d", "postgres", "-Atqc", text)


@pytest.fixture(scope="session")
def postgres_binaries():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))
    if not found:
        pytest.skip("no PostgreSQL server in /usr/lib/postgresql")
    return found[-1]


@pytest.fixture
def new_postgres(postgres_binaries):
    """Make servers that are not started yet."""
    with contextlib.ExitStack() as stack:

        def make():
            directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wait-pg-", dir="/tmp")))
            directory.chmod(0o755)
            server = Postgres(postgres_binaries, directory)
            stack.callback(server.stop)
            return server

        yield make


class Redis:
    def __init__(self, directory, *arguments):
        self.port = free_port()
        self.directory = directory
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory), "--daemonize", "no", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def call(self, *words):
        """Send one command by hand and return the first line of the reply."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock:
            sock.sendall(b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)]))
            return sock.makefile("rb").readline().decode().strip()

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(10)


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


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, condition
        time.sleep(0.02)


def codes(result, name):
    return [entry["code"] for entry in result["checks"][name]["timeline"] if entry["class"] != "event"]
