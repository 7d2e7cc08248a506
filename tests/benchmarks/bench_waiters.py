"""Who waits: tasks of a playbook, each as its users write it, and the module alone in a process of its own."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from bench_targets import Containers, Ports

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODULE = "ansible_collections.mlops.stack.plugins.modules.wait_healthy"
Task = dict[str, Any]


def checks(targets: Any) -> list[dict[str, Any]]:
    if targets.kind == "docker":
        return [{"type": "docker", "name": name, "container": name, "state": "healthy"} for name in targets.names]
    if targets.kind == "http":
        return [{"type": "http", "name": f"p{port}", "url": f"http://127.0.0.1:{port}/"} for port in targets.ports]
    return [{"type": "tcp", "name": f"p{port}", "host": "127.0.0.1", "port": port} for port in targets.ports]


def wait_healthy(targets: Any) -> Task:
    return {"mlops.stack.wait_healthy": {"checks": checks(targets)}}


def uri(delay: int) -> Callable[[Ports], Task]:
    def task(targets: Ports) -> Task:
        return {
            "ansible.builtin.uri": {"url": "http://127.0.0.1:{{ item }}/"}, "loop": targets.ports,
            "register": "answer", "until": "answer is succeeded", "retries": 300 // delay, "delay": delay,
        }

    return task


def wait_for(targets: Ports) -> Task:
    return {"ansible.builtin.wait_for": {"host": "127.0.0.1", "port": "{{ item }}"}, "loop": targets.ports}


def docker_container(targets: Containers) -> Task:
    # It compares nothing: the container is there and is to be waited for.
    options = {"name": "{{ item }}", "state": "healthy", "comparisons": {"*": "ignore"}}
    return {"community.docker.docker_container": options, "loop": targets.names}


def compose(targets: Containers) -> Task:
    return {"ansible.builtin.command": {"cmd": "docker compose up --detach --wait", "chdir": str(targets.directory)}}


class Waiter(NamedTuple):
    name: str
    kind: str
    task: Callable[[Any], Task]
    ours: bool = False


# Peers that work hard when their targets are ready do not start one after the other.
WAITERS = [
    Waiter("uri, until, delay 5", "http", uri(5)),
    Waiter("wait_healthy (http)", "http", wait_healthy, True),
    Waiter("uri, until, delay 1", "http", uri(1)),
    Waiter("wait_healthy (tcp)", "tcp", wait_healthy, True),
    Waiter("wait_for", "tcp", wait_for),
    Waiter("docker_container: healthy", "docker", docker_container),
    Waiter("wait_healthy (docker)", "docker", wait_healthy, True),
    Waiter("docker compose up --wait", "docker", compose),
]


class Control:
    """Holds each playbook just before its wait until all are there, so that none pays for another's start."""

    def __init__(self) -> None:
        self._here: dict[str, asyncio.Event] = {}
        self._go: dict[str, asyncio.Event] = {}
        self.port = 0

    async def __aenter__(self) -> Control:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._server.close()

    def expect(self, lane: str) -> None:
        self._here[lane], self._go[lane] = asyncio.Event(), asyncio.Event()

    async def arrived(self, lane: str) -> None:
        await self._here[lane].wait()

    def release(self, lane: str) -> None:
        self._go[lane].set()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lane = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode().lstrip("/")
        self._here[lane].set()
        await self._go[lane].wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


class Timed(NamedTuple):
    """A task's start and end as Ansible's callback stamped them, in seconds since 1970."""

    start: float
    end: float


async def playbook(waiter: Waiter, targets: Any, control: Control, lane: str) -> Timed:
    """Wait with one task of a playbook run. Raises RuntimeError if the task failed."""
    # Asked by the controller: a module's files are packed once a run, and no waiter's shall be packed before its task begins.
    answer = f"lookup('ansible.builtin.url', 'http://127.0.0.1:{control.port}/{lane}', timeout=600)"
    arm = {"name": "arm", "ansible.builtin.debug": {"msg": "{{ " + answer + " }}"}}
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [arm, {"name": "wait", **waiter.task(targets)}],
            "vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}}
    with tempfile.NamedTemporaryFile("w", suffix=".yml", prefix="wait-bench-") as handle:
        json.dump([play], handle)
        handle.flush()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", handle.name, cwd=ROOT,
            env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_LOCALHOST_WARNING": "false"},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        try:
            out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.terminate()
    text = out.decode()
    if process.returncode:
        raise RuntimeError(f"{waiter.name} failed: {text[-3000:]}{err.decode()}")
    # wait_healthy tells in lines of its own what is still open, before the document; other callbacks print behind it.
    document, _end = json.JSONDecoder().raw_decode(text[("\n" + text).index("\n{"):])
    task = next(task["task"] for task in document["plays"][0]["tasks"] if task["task"]["name"] == "wait")
    return Timed(_seconds(task["duration"]["start"]), _seconds(task["duration"]["end"]))


def _seconds(stamp: str) -> float:
    return datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


# What Ansible's wrapper does with the arguments; a line when the module is loaded; and stamps: when it began, when its
# result was complete, and the CPU time of the process until then.
DRIVER = f"""
import importlib, json, sys, time
sys.path.insert(0, {str(ROOT / ".collections")!r})
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
module = importlib.import_module({MODULE!r})
print("loaded", flush=True)
try:
    module.main()
except SystemExit:
    pass
print(json.dumps([module.BEGAN, time.monotonic(), time.time(), time.process_time()]))
"""


class Alone(NamedTuple):
    """One run of the module without Ansible around it."""

    began: float  # monotonic
    ended: float  # monotonic: its result is complete
    ended_wall: float  # the same moment in seconds since 1970
    cpu: float  # of the whole process, seconds
    wall: float  # of the whole process, seconds
    result: dict[str, Any]


async def module_alone(targets: Any, ready: float) -> Alone:
    """Run the module; the targets are ready ``ready`` seconds after it is loaded, with 0 before its process starts."""
    if not ready:
        targets.arm(0)
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DRIVER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    assert process.stdin and process.stdout
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": {"checks": checks(targets)}}).encode())
    process.stdin.write_eof()
    await process.stdout.readline()
    if ready:
        targets.arm(ready)
    out, _err = await process.communicate()
    wall = time.monotonic() - started
    if process.returncode:
        raise RuntimeError(f"the module's process exited with {process.returncode}")
    result, stamps = (json.loads(line) for line in out.decode().strip().splitlines())
    if result.get("failed"):
        raise RuntimeError(f"wait_healthy failed: {result['msg']}")
    began, ended, ended_wall, cpu = stamps
    return Alone(began, ended, ended_wall, cpu, wall, result)
