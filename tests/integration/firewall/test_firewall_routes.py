"""One host whose ports are on loopback, a neighbour on its network, and the Engine's own rules between them."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import time

import pytest
import yaml
from stack_images import image

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PROJECT = f"firewall-test-{os.getpid()}"
NEIGHBOUR = f"mlops{os.getpid() % 100000}"  # a network namespace, and the host's end of the cable to it
HOSTS_ADDRESS, NEIGHBOURS_ADDRESS = "198.18.77.1", "198.18.77.2"  # RFC 2544
# One of those where a cloud tells a machine who it is; not the one that this machine may have a use for.
METADATA = "169.254.170.2"
# What a user may have in the environment, and in a file .env beside compose.yaml, for the sake of other projects.
OF_THE_USER = {"COMPOSE_PROJECT_NAME": "acme", "COMPOSE_FILE": "/nowhere/compose.yaml", "COMPOSE_PATH_SEPARATOR": "/", "COMPOSE_PROFILES": "acme",
               "COMPOSE_ENV_FILES": "/nowhere/.env", "COMPOSE_REMOVE_ORPHANS": "true", "COMPOSE_IGNORE_ORPHANS": "true",
               "COMPOSE_STATUS_STDOUT": "1", "DOCKER_CONTEXT": "nowhere", "DOCKER_HOST": "tcp://127.0.0.1:1", "DOCKER_TLS_VERIFY": "1",
               "DOCKER_API_VERSION": "1.12", "DOCKER_DEFAULT_PLATFORM": "linux/s390x", "DOCKER_BUILDKIT": "0"}
LISTEN = "import socket; s = socket.create_server(('', {})); [s.accept()[0].close() for _ in iter(int, 1)]"
TRY = """
import socket
while True:
    try:
        socket.create_connection(("{}", {}), 0.1).close()
        print("open", flush=True)
    except OSError:
        print("closed", flush=True)
"""
CONNECT = "import socket; socket.create_connection(('{}', {}), 3).close()"


def run(*words: object, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, env={**os.environ, **env})
    assert done.returncode == 0 or not check, f"{words}: {done.stdout}{done.stderr}"
    return done


def eventually(holds, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s"


class Host:
    """The project on this machine, and its neighbour."""

    def __init__(self, path: pathlib.Path, port: int) -> None:
        self.path, self.port = path, port

    def play(self, *arguments: str) -> str:
        return run("ansible-playbook", "-i", self.path / "hosts.yml", HERE / "play.yml", *arguments, **OF_THE_USER).stdout

    def compose(self, *words: str) -> str:
        return run("docker", "compose", "--project-directory", self.path / "project", *words, COMPOSE_DISABLE_ENV_FILE="true").stdout

    def address(self, service: str) -> str:
        found = json.loads(run("docker", "inspect", f"{PROJECT}-{service}-1").stdout)[0]["NetworkSettings"]["Networks"]
        return found[PROJECT]["IPAddress"]

    def neighbour_reaches(self, address: str, port: int) -> bool:
        return run("ip", "netns", "exec", NEIGHBOUR, "python3", "-c", CONNECT.format(address, port), check=False).returncode == 0

    def container_reaches(self, service: str, address: str, port: int) -> bool:
        done = run("docker", "exec", f"{PROJECT}-{service}-1", "python3", "-c", CONNECT.format(address, port), check=False)
        assert done.returncode == 0 or "refused" in done.stderr or "timed out" in done.stderr or "reset" in done.stderr, done.stderr
        return done.returncode == 0

    def in_force(self) -> bool:
        return run("docker", "exec", f"{PROJECT}-firewall-1", "firewall", "check", check=False).returncode == 0


@contextlib.contextmanager
def neighbour(subnet: str):
    """A machine on a network of this one, which knows a way to the containers, and where a cloud's metadata and DNS answer."""
    inside = ("ip", "netns", "exec", NEIGHBOUR)
    run("ip", "netns", "add", NEIGHBOUR)
    servers: list[subprocess.Popen[bytes]] = []
    try:
        run("ip", "link", "add", NEIGHBOUR, "type", "veth", "peer", "name", "eth0", "netns", NEIGHBOUR)
        run("ip", "addr", "add", f"{HOSTS_ADDRESS}/30", "dev", NEIGHBOUR)
        run("ip", "link", "set", NEIGHBOUR, "up")
        run("ip", "route", "add", f"{METADATA}/32", "via", NEIGHBOURS_ADDRESS)
        run(*inside, "ip", "addr", "add", f"{NEIGHBOURS_ADDRESS}/30", "dev", "eth0")
        run(*inside, "ip", "addr", "add", f"{METADATA}/32", "dev", "lo")
        for device in ("lo", "eth0"):
            run(*inside, "ip", "link", "set", device, "up")
        run(*inside, "ip", "route", "add", subnet, "via", HOSTS_ADDRESS)
        servers += [subprocess.Popen([*inside, "python3", "-c", LISTEN.format(port)]) for port in (53, 80)]
        yield
    finally:
        for server in servers:
            server.kill()
            server.wait()
        run("ip", "netns", "del", NEIGHBOUR)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    path = tmp_path_factory.mktemp("firewall")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}", "mlops_project": PROJECT,
             "mlops_dir": str(path / "project"), "mlops_secrets_dir": str(path / "secrets"), "infra_postgres_port": port}
    (path / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": {"infra": {"hosts": {"one": local}}}}}))
    listener = {"image": image("python"), "entrypoint": ["python3", "-c", LISTEN.format(8000)], "init": True, "stop_grace_period": "1s",
                "networks": ["default"]}
    networks = {"identity": {"name": f"0-{PROJECT}-identity"}}
    project = {"services": {"postgres-airflow": {**listener, "ports": [f"127.0.0.1:{port}:8000"]}, "client": listener,
                            "mlflow": {**listener, "networks": ["default", "identity"]}, "proxy": {**listener, "networks": ["identity"]}},
               "networks": networks}
    (path / "project/probe").mkdir(parents=True)
    (path / "project/probe/services.yaml").write_text(yaml.safe_dump(project))
    # As an installation is that had no firewall: its network's bridge has the name that Docker gave it.
    (path / "project/compose.yaml").write_text(f"name: {PROJECT}\nnetworks: {{default: {{name: {PROJECT}}}}}\ninclude: [probe/services.yaml]\n")
    (path / "project/.env").write_text("COMPOSE_PROJECT_NAME=emca\nCOMPOSE_FILE=nowhere.yaml\n")
    made = Host(path, port)
    try:
        made.compose("up", "--detach")
        subnet = run("docker", "network", "inspect", PROJECT, "--format", "{{(index .IPAM.Config 0).Subnet}}").stdout.strip()
        with neighbour(subnet):
            yield made
    finally:
        made.compose("down", "--timeout", "1")
        made.play("-e", "entry=open")
    assert PROJECT.replace("-", "_") not in run("docker", "run", "--rm", "--network", "host", "--cap-add", "NET_ADMIN", "--user", "0",
                                                "--entrypoint", "nft", image("firewall"), "list", "tables").stdout


@pytest.fixture(scope="module")
def closed(host):
    """The same host with the firewall, and what the neighbour reached before."""
    address = host.address("postgres-airflow")
    eventually(lambda: host.container_reaches("client", address, 8000))
    before = host.neighbour_reaches(HOSTS_ADDRESS, host.port), host.neighbour_reaches(address, 8000)
    bridge = "br-" + run("docker", "network", "inspect", PROJECT, "--format", "{{.Id}}").stdout[:12]
    host.play("-e", json.dumps({"__mlops_preflight": {"bridges": [bridge]}}))
    eventually(host.in_force)
    return before


def test_by_a_route_a_neighbour_reached_what_is_on_loopback(host, closed):
    """Or the other tests say nothing. Engine 28 and later close the route (moby #45610)."""
    engine = int(run("docker", "version", "--format", "{{.Server.Version}}").stdout.split(".")[0])
    assert closed == (False, engine < 28)


def test_no_route_leads_to_a_container(host, closed):
    assert not host.neighbour_reaches(host.address("postgres-airflow"), 8000)
    assert not host.neighbour_reaches(HOSTS_ADDRESS, host.port)


def test_the_host_and_its_containers_go_on_to_reach_it(host, closed):
    socket.create_connection(("127.0.0.1", host.port), 3).close()
    assert host.container_reaches("client", host.address("postgres-airflow"), 8000)
    assert host.container_reaches("client", NEIGHBOURS_ADDRESS, 53)


def test_the_clouds_identity_is_for_the_network_of_that_name(host, closed):
    """It is the first by name, so that whoever is in both leaves the host through it."""
    assert host.container_reaches("client", METADATA, 53)
    assert not host.container_reaches("client", METADATA, 80)
    for service in ("mlflow", "proxy"):
        assert host.container_reaches(service, METADATA, 80), service


def test_what_is_in_that_network_alone_no_other_container_reaches(host, closed):
    found = json.loads(run("docker", "inspect", f"{PROJECT}-proxy-1").stdout)[0]["NetworkSettings"]["Networks"]
    proxy = found[f"0-{PROJECT}-identity"]["IPAddress"]
    assert host.container_reaches("mlflow", proxy, 8000) and not host.container_reaches("client", proxy, 8000)


def test_the_containers_end_leaves_the_rules(host, closed):
    address = host.address("postgres-airflow")
    host.compose("stop", "firewall")
    assert not host.neighbour_reaches(address, 8000)
    with subprocess.Popen(["ip", "netns", "exec", NEIGHBOUR, "python3", "-c", TRY.format(address, 8000)], stdout=subprocess.PIPE, text=True) as tries:
        host.compose("up", "--detach", "--force-recreate", "firewall")
        eventually(host.in_force)
        tries.terminate()
        tried = set(tries.communicate()[0].split())
    assert tried == {"closed"}
    assert not host.neighbour_reaches(address, 8000)


def test_rules_that_another_program_took_away_come_back(host, closed):
    run("docker", "exec", f"{PROJECT}-firewall-1", "nft", "delete", "table", "inet", PROJECT.replace("-", "_"))
    eventually(lambda: host.in_force() and not host.neighbour_reaches(host.address("postgres-airflow"), 8000))


def test_the_nft_of_an_older_host_reads_every_table(host, closed):
    """Debian 12's ends with a segmentation fault where a newer version made a table with a named set."""
    rules = (host.path / "project/firewall/rules/mlops.nft").read_text()
    assert "table inet" in rules and not [line for line in rules.splitlines() if line.strip().startswith(("set ", "map "))]
