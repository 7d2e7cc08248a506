"""The Engine and Compose that the role leaves behind, used as the stack uses them."""

import subprocess

import docker
import pytest
import redis
from conftest import eventually, play
from redis.backoff import NoBackoff
from redis.retry import Retry

PROJECT = """
services:
  redis:
    image: {image}
    command: [redis-server, --save, ""]
    mem_limit: 64m
    ports: ["127.0.0.1:6379:6379"]
"""


@pytest.fixture(scope="module")
def project(host):
    """A Compose project on the host, its image carried there from this machine's Engine."""
    image = docker.from_env().images.list("mlops/redis")[0].tags[0]
    name = host.backend.host
    with subprocess.Popen(["docker", "image", "save", image], stdout=subprocess.PIPE) as save:
        subprocess.run(["docker", "exec", "--interactive", name, "docker", "image", "load"], stdin=save.stdout, check=True)
    text = PROJECT.format(image=image)
    subprocess.run(["docker", "exec", "--interactive", name, "sh", "-c", "mkdir -p /srv/try && cat >/srv/try/compose.yaml"],
                   input=text, text=True, check=True)


def answers() -> bool:
    with redis.Redis("127.0.0.1", socket_timeout=5, retry=Retry(NoBackoff(), 0)) as client:
        return eventually(client.ping, errors=(redis.ConnectionError,))


def test_engine_runs_a_project(on_host, project):
    on_host.check_output("cd /srv/try && docker compose up --detach")
    assert answers()
    limit = on_host.check_output("docker inspect --format '{{.HostConfig.Memory}}' try-redis-1")
    assert int(limit) == 64 * 1024 * 1024


def test_after_a_reboot_the_next_run_starts_the_engine(host, project):
    # There is no service manager here: nothing else would.
    subprocess.run(["docker", "restart", "--time", "1", host.backend.host], check=True)
    assert host.run("docker version").rc != 0
    play("converge.yml", "--limit", host.backend.host)
    host.check_output("cd /srv/try && docker compose up --detach")


def test_project_runs_after_the_reboot(on_host, project):
    assert answers()
