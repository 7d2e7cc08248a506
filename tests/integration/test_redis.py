"""Redis as the role infra configures and starts it: full, and after a power cut."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import redis
import yaml
from ansible_collections.mlops.stack.plugins.filter.compose import memory_share
from redis.backoff import NoBackoff
from redis.retry import Retry
from stack_images import ROOT, image

MEMORY = "64m"
PASSWORD = "s3cret-of-the-test"
WATCHER = "s3cret-of-monitoring"
INCREMENT = "appendonlydir/appendonly.aof.1.incr.aof"


def sh(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout + done.stderr


def configuration() -> str:
    """redis.conf as the role renders it."""
    variables = yaml.safe_load((ROOT / "roles/infra/vars/main.yml").read_text())
    templates = jinja2.Environment(undefined=jinja2.StrictUndefined)
    templates.filters.update({"mlops.stack.memory_share": memory_share, "mlops.stack.backslashed": lambda value, _characters: value,
                              "hash": lambda value, name: hashlib.new(name, value.encode()).hexdigest()})
    content = variables["__infra_secrets"]["redis.conf"]["content"]
    return templates.from_string(content).render(
        {**variables, "infra_redis_memory": MEMORY, "infra_redis_password": PASSWORD, "__mlops_tls": False, "infra_monitoring": True,
         "infra_monitoring_user": "monitoring", "infra_monitoring_password": WATCHER})


def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while True:
        try:
            if found := condition():
                return found
        except (redis.ConnectionError, redis.BusyLoadingError, OSError):
            pass
        assert time.monotonic() < end, "not within the time"
        time.sleep(0.05)


class Server:
    """A container with the limits, the configuration and the start of the role's service."""

    def __init__(self, directory: Path) -> None:
        self.data = directory / "data"
        self.data.mkdir()
        self.data.chmod(0o777)
        (directory / "redis.conf").write_text(configuration())
        self.name = f"redis-test-{uuid.uuid4().hex[:6]}"
        service = yaml.safe_load((ROOT / "roles/infra/templates/services.yaml.j2").read_text().split("  redis-airflow:\n")[1].split("    secrets:")[0]
                                 .replace("{{", "").replace("}}", ""))
        self.start = [*service["entrypoint"], *service["command"]]
        sh("docker", "run", "--detach", "--name", self.name, "--user", "999:999", "--memory", MEMORY, "--memory-swap", MEMORY, "--read-only",
           "--cap-drop", "ALL", "--volume", f"{self.data}:/data", "--volume", f"{ROOT}/roles/infra/files/redis:/etc/mlops/redis:ro",
           "--volume", f"{directory}/redis.conf:/run/secrets/redis.conf:ro", "--entrypoint", self.start[0], image("redis"), *self.start[1:])

    def address(self) -> str:
        return self.state()["NetworkSettings"]["IPAddress"]

    def state(self) -> dict[str, Any]:
        return json.loads(sh("docker", "inspect", self.name))[0]

    def client(self) -> redis.Redis:
        client = redis.Redis(self.address(), password=PASSWORD, retry=Retry(NoBackoff(), 0))
        until(client.ping)
        return client

    def logs(self) -> str:
        return sh("docker", "logs", self.name)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path)
    yield started
    sh("docker", "rm", "--force", started.name)


def test_a_full_redis_refuses_writes_and_lives(server: Server) -> None:
    """Also while all that it holds changes under a rewrite of its file, when each page is there twice."""
    client = server.client()
    value, count = b"x" * 10_000, 0
    with pytest.raises(redis.exceptions.OutOfMemoryError, match="maxmemory"):
        while True:
            client.set(f"key:{count}", value)
            count += 1
    assert count * len(value) > 0.8 * memory_share(MEMORY, 0.5)
    assert client.get("key:1") == value and client.delete(f"key:{count - 1}") == 1  # what is there is read, and workers take it
    until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
    assert client.delete(*(f"key:{number}" for number in range(0, count, 20)))  # at the limit itself nothing changes
    client.bgrewriteaof()
    for number in [number for number in range(count - 1) if number % 20]:
        client.setrange(f"key:{number}", 0, b"y" * len(value))
    until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
    assert client.info("persistence")["aof_last_bgrewrite_status"] == "ok"
    state = server.state()
    assert state["State"]["Running"] and not state["State"]["OOMKilled"] and state["RestartCount"] == 0
    assert client.config_get("save") == {"save": ""} and not list(server.data.glob("*.rdb"))


def test_the_alert_compares_with_the_limit(server: Server) -> None:
    """What the rule RedisMemoryHigh divides by is what the exporter tells of this server."""
    client = server.client()
    client.lpush("default", "a task", "another")
    exporter = sh("docker", "run", "--detach", "--network", f"container:{server.name}", image("redis_exporter"), "--redis.user=monitoring",
                  f"--redis.password={WATCHER}", "--config-command=-", "--include-system-metrics", "--check-single-keys=db0=default").strip()
    try:
        metrics = until(lambda: urllib.request.urlopen(f"http://{server.address()}:9121/metrics", timeout=5).read().decode())
        assert "level=error" not in sh("docker", "logs", exporter)
    finally:
        sh("docker", "rm", "--force", exporter)
    told = dict(line.split(" ") for line in metrics.splitlines()
                if line.startswith(("redis_memory_", "redis_aof_last_bgrewrite_status", "redis_key_size", "redis_up ")))
    assert float(told["redis_memory_max_bytes"]) == memory_share(MEMORY, 0.5) == client.info("memory")["maxmemory"]
    assert 0 < float(told["redis_memory_used_bytes"]) < memory_share(MEMORY, 0.5)
    assert told["redis_aof_last_bgrewrite_status"] == told["redis_up"] == "1"
    assert told['redis_key_size{db="db0",key="default"}'] == "2"


def test_monitoring_reads_figures_and_nothing_else(server: Server) -> None:
    server.client().lpush("default", "a task")
    watcher = redis.Redis(server.address(), username="monitoring", password=WATCHER, retry=Retry(NoBackoff(), 0))
    assert watcher.llen("default") == 1 and watcher.info("memory")["maxmemory"] == memory_share(MEMORY, 0.5)
    for command in ("LRANGE default 0 -1", "RPOP default", "LPUSH default x", "CONFIG GET *", "ACL LIST", "SLOWLOG GET", "MONITOR", "KEYS *",
                    "FLUSHALL", "SHUTDOWN"):
        with pytest.raises(redis.exceptions.NoPermissionError):
            watcher.execute_command(*command.split())


@pytest.mark.parametrize("tail", [bytes(12), b"*3\r\n$3\r\nSET\r\n$4\r\nlost\r\n$9\r\nval" + bytes(8191)], ids=["zeros", "a command that ends in zeros"])
def test_zeros_at_the_end_of_the_file_are_dropped(server: Server, tail: bytes) -> None:
    client = server.client()
    client.set("kept", "value\0")
    sh("docker", "kill", server.name)
    file = server.data / INCREMENT
    whole = file.read_bytes()
    with file.open("ab") as handle:
        handle.write(tail)
    sh("docker", "start", server.name)
    client = server.client()
    assert client.get("kept") == b"value\0" and client.get("lost") is None
    assert f"{file.name} ended with {len(tail) - len(tail.rstrip(bytes(1)))} zero bytes" in server.logs()
    assert file.read_bytes().startswith(whole) and bytes(8) not in file.read_bytes()


def test_zeros_before_commands_are_for_people(server: Server) -> None:
    client = server.client()
    client.set("before", "1")
    sh("docker", "kill", server.name)
    file = server.data / INCREMENT
    whole = file.read_bytes()
    damaged = whole + bytes(12) + b"*1\r\n$4\r\nPING\r\n"
    file.write_bytes(damaged)
    sh("docker", "start", server.name)
    until(lambda: not server.state()["State"]["Running"])
    assert "Bad file format" in server.logs() and "zero bytes" not in server.logs() and file.read_bytes() == damaged


def test_a_file_without_zeros_is_left_alone(server: Server) -> None:
    client = server.client()
    client.set("kept", "value\0")
    sh("docker", "kill", server.name)
    whole = (server.data / INCREMENT).read_bytes()
    sh("docker", "start", server.name)
    assert server.client().get("kept") == b"value\0" and "zero bytes" not in server.logs()
    assert (server.data / INCREMENT).read_bytes().startswith(whole)
