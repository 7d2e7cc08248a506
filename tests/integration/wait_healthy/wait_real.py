"""Real containers, PostgreSQL and Redis servers for the tests of wait_healthy."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import uuid

LABEL = "mlops.stack.test=wait_healthy"


def sh(*command, check=True, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert not check or done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout.strip()


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


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


def exec_in(name, *command):
    return sh("docker", "exec", name, *command)


def healthcheck(command, interval="300ms", retries=3, **more):
    options = ["--health-cmd", command, "--health-interval", interval, "--health-retries", str(retries), "--health-timeout", "2s"]
    return options + [part for name, value in more.items() for part in (f"--health-{name.replace('_', '-')}", value)]


def inspect(name):
    return json.loads(sh("docker", "inspect", name))[0]


class Postgres:
    """A PostgreSQL of the collection's own image, with the host's network and a directory of its own on the host."""

    BINARIES = "/usr/lib/postgresql/17/bin"
    UID = 999

    def __init__(self, image, directory):
        self.directory = directory
        self.port = free_port()
        self.password = "s3cret-of-the-test"
        os.chown(directory, self.UID, self.UID)
        self._container = sh(
            "docker", "run", "--detach", "--label", LABEL, "--network", "host", "--user", f"{self.UID}:{self.UID}",
            "--volume", f"{directory}:{directory}", "--entrypoint", "tail", image, "-f", "/dev/null")
        secret = directory / "pw"
        secret.write_text(self.password)
        self._call("initdb", "-D", str(directory / "data"), "-A", "scram-sha-256", "--pwfile", str(secret), "--no-sync", "-E", "UTF8", "--locale=C")
        (directory / "data" / "pg_hba.conf").write_text("local all all trust\nhost all md5user all md5\nhost all all all scram-sha-256\n")
        self.configure(fsync="off", unix_socket_directories=f"'{directory}'", listen_addresses="'127.0.0.1'", port=str(self.port))

    def _call(self, program, *arguments, check=True):
        return sh("docker", "exec", self._container, f"{self.BINARIES}/{program}", *arguments, check=check)

    def configure(self, **settings):
        with open(self.directory / "data" / "postgresql.conf", "a") as handle:
            handle.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def start(self, wait=True):
        self._call("pg_ctl", "-D", str(self.directory / "data"), "-l", str(self.directory / "log"), "start", "-w" if wait else "-W", check=wait)

    def remove(self):
        sh("docker", "rm", "--force", "--volumes", self._container)

    def sql(self, text):
        return self._call("psql", "-h", str(self.directory), "-p", str(self.port), "-d", "postgres", "-Atqc", text)


class Redis:
    """A Redis of the collection's own image, with the host's network and a directory on the host."""

    def __init__(self, image, directory, *arguments):
        self.port = free_port()
        self._container = sh(
            "docker", "run", "--detach", "--label", LABEL, "--network", "host", "--user", "0:0", "--volume", f"{directory}:/data", image,
            "redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", "/data", *arguments)

    def call(self, *words):
        """Send one command by hand and return the first line of the reply."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock:
            sock.sendall(b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)]))
            return sock.makefile("rb").readline().decode().strip()

    def fill(self, keys):
        """Put keys into the data set."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock:
            sock.sendall(b"".join(b"SET key:%d %s\r\n" % (number, b"x" * 100) for number in range(keys)))
            reader = sock.makefile("rb")
            for _key in range(keys):
                assert reader.readline() == b"+OK\r\n"

    def remove(self):
        """End it at once, as a power cut would, and remove it; its directory stays."""
        sh("docker", "rm", "--force", "--volumes", self._container)


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, condition
        time.sleep(0.02)


def codes(result, name):
    return [entry["code"] for entry in result["checks"][name]["timeline"] if entry["class"] != "event"]
