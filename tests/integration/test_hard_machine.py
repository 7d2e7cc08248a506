"""The README's commands on a machine that makes it hard: hardened as CIS asks for, behind a proxy, with somebody's settings and stack on it."""

import contextlib
import ipaddress
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest
from stack_plays import free_ports

pytestmark = pytest.mark.full

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ROOT / "molecule/shared/host"
NAME = "mlops-hard"
DATA_ROOT = "/srv/engine"
# Another team's project, with the name that this machine's environment gives to every project.
NEIGHBOUR = """
services:
  store:
    image: "{image}"
    entrypoint: [sh, -c, 'seq 1 100000 >/data/rows && exec sleep infinity']
    user: "0"
    volumes: ["data:/data"]
volumes: {{data: {{}}}}
"""
# A hash of each file of the neighbour's volume, with its owner, mode and times; and its containers, networks and volumes.
STATE = """
cd "$(docker volume inspect --format '{{.Mountpoint}}' acme_data)" && find . -type f -exec sha256sum {} + && find . -printf '%p %U %G %m %T@\\n'
docker container ls --all --no-trunc --filter label=com.docker.compose.project=acme --format '{{.ID}} {{.State}}'
docker network ls --no-trunc --filter label=com.docker.compose.project=acme --format '{{.ID}}'
docker volume inspect acme_data --format '{{.CreatedAt}}'
"""


class Machine:
    """A host with an Engine, as molecule/shared/host makes them, and the shell of its user."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def run(self, script: str, status: int = 0) -> str:
        """Output of a script in the user's shell, where the status must be the given one."""
        settings = [part for name, value in self.environment.items() for part in ("--env", f"{name}={value}")]
        done = subprocess.run(["docker", "exec", *settings, NAME, "bash", "-c", f"umask 077\nset -eu\n{script}"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert done.returncode == status, f"{script}: {done.returncode}\n{done.stdout[-12000:]}"
        return done.stdout


def on_machine(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextlib.contextmanager
def proxy(log: pathlib.Path) -> Iterator[str]:
    """Address of an HTTP proxy on the network of the machine's containers, which writes what it is asked for to log."""
    subnet = on_machine("docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}")
    gateway = str(ipaddress.ip_network(subnet)[1])
    # A program of its own: in this one pytest keeps what is logged.
    where, = free_ports(1, gateway)
    command = [sys.executable, "-m", "proxy", "--hostname", gateway, "--port", str(where), "--num-workers", "1", "--log-file", str(log), "--timeout", "120"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            on_machine("timeout", "60", "bash", "-c", f"until echo >/dev/tcp/{gateway}/{where}; do :; done")
            yield f"http://{gateway}:{where}"
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def proxy_log(tmp_path_factory):
    return tmp_path_factory.mktemp("proxy") / "log"


@pytest.fixture(scope="module")
def machine(proxy_log):
    subprocess.run(["ansible-playbook", "molecule/shared/machine.yml"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([TOOLS / "remove", NAME], check=True)
    subprocess.run([TOOLS / "clone", NAME, NAME], check=True)
    try:
        with proxy(proxy_log) as address:
            start(address)
            settings = {"COMPOSE_PROJECT_NAME": "acme", "DOCKER_BUILDKIT": "0"}
            settings.update(dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), address))
            found = Machine(settings)
            prepare(found, address)
            yield found
    finally:
        subprocess.run([TOOLS / "remove", NAME], check=True)


def start(address: str) -> None:
    """The host: no programs in /tmp, the Engine's data elsewhere and its pulls through the proxy, and the Engine's client with it."""
    extra = ["--tmpfs", "/tmp:noexec,mode=1777", "--env", f"HTTP_PROXY={address}", "--env", f"HTTPS_PROXY={address}"]
    subprocess.run([TOOLS / "run", NAME, NAME, "mlops-test/engine", NAME], check=True,
                   env={**os.environ, "MLOPS_TEST_DATA_ROOT": DATA_ROOT, "MLOPS_TEST_RUN": " ".join(extra)})
    on_machine("timeout", "60", "sh", "-c", f"until docker exec {NAME} docker version; do :; done")


def prepare(machine: Machine, address: str) -> None:
    """A clone of what is committed, the machine's own settings for packages, and a neighbour."""
    assert machine.run("docker info --format '{{.DockerRootDir}}'").strip() == DATA_ROOT
    machine.run("mkdir -p /root/.docker")
    config = json.dumps({"proxies": {"default": {"httpProxy": address, "httpsProxy": address}}})
    machine.run(f"echo '{config}' >/root/.docker/config.json")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "-C", ROOT, "bundle", "create", "-q", f"{folder}/bundle", "HEAD"], check=True)
        subprocess.run(["docker", "cp", "-q", f"{folder}/bundle", f"{NAME}:/root/bundle"], check=True)
    if pathlib.Path("/etc/pip.conf").exists():
        subprocess.run(["docker", "cp", "-q", "/etc/pip.conf", f"{NAME}:/etc/pip.conf"], check=True)
    machine.run("apt-get update -q && apt-get install -qy --no-install-recommends git make python3-venv")
    machine.run("git clone -q /root/bundle /root/stack")
    image = machine.run("docker image ls --format '{{.Repository}}:{{.Tag}}' mlops/redis").strip()
    neighbour = NEIGHBOUR.format(image=image)
    machine.run(f"mkdir -p /srv/acme && cd /srv/acme && cat >compose.yaml <<'END'\n{neighbour}\nEND\ndocker compose up -d --wait")
    # Built again, so that a build is seen that goes through the proxy.
    machine.run("docker image rm $(docker image ls --format '{{.Repository}}:{{.Tag}}' mlops/regmodel)")


def test_the_stack_comes_up_works_and_leaves_the_neighbour_alone(machine, proxy_log):
    before = machine.run(STATE)
    machine.run("cd /root/stack && make up ARGS='-e with_monitoring=true'")
    machine.run("cd /root/stack && make smoke")
    # Started anew by hand, in the same environment, each service finds the others.
    machine.run("cd /opt/mlops && env -u COMPOSE_PROJECT_NAME docker compose up -d")
    assert "changed=0 " in machine.run("cd /root/stack && make up").partition("PLAY RECAP")[2]
    asked = proxy_log.read_text()
    assert asked, "no build went through the proxy"
    services = machine.run("docker compose --project-directory /opt/mlops --project-name mlops config --services").split()
    assert len(services) > 10
    assert not [line for line in asked.splitlines() if any(f" {service}:" in line or f"/{service}:" in line for service in services)]
    machine.run("cd /root/stack && make down ARGS='-e delete_data=true'")
    assert machine.run("docker ps --all --quiet --filter label=com.docker.compose.project=mlops") == ""
    assert machine.run(STATE) == before
