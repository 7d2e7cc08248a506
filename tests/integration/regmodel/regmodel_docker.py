"""Containers of the collection's own images, on the host's network and its loopback ports, gone after the tests."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import requests
from stack_images import ROOT, image

DAGS = ROOT / "roles/airflow/files/dags"
HERE = Path(__file__).parent
# The second label tells two runs on one machine apart: each removes its own containers only.
LABEL = "mlops.test=integration"
RUN_LABEL = f"mlops.test.run={os.getpid()}-{time.time_ns()}"
LABELS = ("--label", LABEL, "--label", RUN_LABEL)
# Where every container finds the folder that the tests write to.
SHARED = "/run/test"
# For whatever takes its time: it passes in full only where something is broken.
PATIENCE = 120.0


def docker(*arguments: Any) -> str:
    """What a docker command prints, both streams in one; it must succeed."""
    done = subprocess.run(
        ["docker", *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", timeout=PATIENCE, check=False,
    )
    assert done.returncode == 0, f"docker {' '.join(map(str, arguments))}: {done.stdout}"
    return done.stdout.strip()


def remove_containers() -> None:
    """Remove what this run has left."""
    left = docker("ps", "--all", "--quiet", "--filter", f"label={RUN_LABEL}").split()
    if left:
        docker("rm", "--force", "--volumes", *left)


def free_port() -> int:
    """A free loopback port, from below the range of outgoing connections: it stays free while its server is stopped."""
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("a hundred ports were tried and none is free")


def wait_for(what: Callable[[], Any], why: Callable[[], str] | str = "", seconds: float = PATIENCE) -> Any:
    """Ask until the answer is true, and return it. A refused or broken connection counts as false."""
    end = time.monotonic() + seconds
    while True:
        try:
            answer = what()
        except requests.ConnectionError:
            answer = None
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {seconds} s: {(why() if callable(why) else why) or what}"
        time.sleep(0.05)


class Container:
    """A container of one of the images, with the host's network; made at the first start and kept over a stop."""

    options: tuple[str, ...] = ("--init", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")

    def __init__(self, name: str, *command: Any, shared: Path, environ: Mapping[str, Any]) -> None:
        self.id = ""
        self._name = name
        self._command = command
        self._shared = shared
        self._environ = environ

    def launch(self) -> None:
        """Start it, for the first time or again, without waiting for its service."""
        if self.id:
            docker("start", self.id)
            return
        environ = [part for name, value in self._environ.items() for part in ("--env", f"{name}={value}")]
        self.id = docker(
            "run", "--detach", "--pull", "never", "--network", "host", *LABELS, *self.options,
            "--volume", f"{self._shared}:{SHARED}:ro", *environ, image(self._name), *self._command,
        )

    def state(self, field: str) -> str:
        """A field of its state as docker inspect names it."""
        return docker("inspect", "--format", f"{{{{.State.{field}}}}}", self.id)

    def running(self) -> bool:
        return bool(self.id) and self.state("Running") == "true"

    def output(self) -> str:
        return docker("logs", self.id)

    def run(self, *command: str) -> str:
        """The output of a command inside it."""
        return docker("exec", self.id, *command)

    def stop(self) -> int:
        """SIGTERM; the exit status, which is 137 if it did not end by itself."""
        docker("stop", "-t", "15", self.id)
        return int(self.state("ExitCode"))

    def close(self) -> None:
        if self.id:
            docker("rm", "--force", "--volumes", self.id)
            self.id = ""
