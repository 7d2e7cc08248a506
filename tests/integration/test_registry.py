"""Images from a real registry that only the Engine knows the way to: it speaks no TLS, and stands in for Docker Hub as the Engine's mirror."""

import contextlib
import ipaddress
import json
import os
import pathlib
import subprocess
import time
import urllib.request
from collections.abc import Iterator

import pytest
import yaml
from stack_images import image
from stack_plays import ROOT, free_ports

pytestmark = pytest.mark.full

TOOLS = ROOT / "molecule/shared/host"
NAME = "mlops-registry"
CONFIG = "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\nhttp: {{addr: '{address}'}}\n"
PLAY = [{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.import_role": {"name": "mlops.stack.images"}}]}]


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextlib.contextmanager
def serving(folder: pathlib.Path, address: str) -> Iterator[str]:
    """Debian's docker-registry, answering at host:port, with its images below the folder."""
    config = folder / f"{address}.yml"
    config.write_text(CONFIG.format(folder=folder, address=address))
    with subprocess.Popen([folder / "usr/bin/docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _try in range(100):
                with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}/v2/", timeout=5) as answer:
                    assert answer.status == 200
                    break
                time.sleep(0.1)
            else:
                pytest.fail(f"the registry does not answer at {address}")
            yield address
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The registry's program, and the official redis in its store: the image that this machine has in its place."""
    path = tmp_path_factory.mktemp("registry")
    subprocess.run(["apt-get", "update", "-q"], check=True, stdout=subprocess.DEVNULL)
    # As root apt would read as a user of its own, who may not enter pytest's directory.
    subprocess.run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", "docker-registry"], cwd=path, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["dpkg-deb", "--extract", next(path.glob("*.deb")), path], check=True)
    # On loopback, where this machine's Engine takes a registry without TLS.
    with serving(path, f"127.0.0.1:{free_ports(1)[0]}") as address:
        for name in ("library/redis:8.0", "team/redis:8.0"):
            output("docker", "tag", image("redis"), f"{address}/{name}")
            output("docker", "push", "--quiet", f"{address}/{name}")
            output("docker", "image", "rm", f"{address}/{name}")
    return path


@pytest.fixture
def address(folder: pathlib.Path) -> str:
    """Where the host's Engine finds the registry."""
    subnet = output("docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}")
    return f"{ipaddress.ip_network(subnet)[1]}:{free_ports(1)[0]}"


@contextlib.contextmanager
def machine(folder: pathlib.Path, settings: dict[str, object]) -> Iterator[None]:
    """A host whose Engine has these settings and no image."""
    (folder / "daemon.json").write_text(json.dumps(settings))
    subprocess.run([TOOLS / "remove", NAME], check=True)
    try:
        subprocess.run([TOOLS / "run", NAME, NAME, "mlops-test/engine", NAME], check=True,
                       env={**os.environ, "MLOPS_TEST_RUN": f"--volume {folder}/daemon.json:/etc/docker/daemon.json:ro"})
        output("timeout", "60", "sh", "-c", f"until docker exec {NAME} docker version; do sleep 0.2; done")
        yield
    finally:
        subprocess.run([TOOLS / "remove", NAME], check=True)


def play(folder: pathlib.Path, playbook: str, **variables: object) -> tuple[int, str]:
    host = {"ansible_connection": "community.docker.docker", "ansible_python_interpreter": "/usr/bin/python3"}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": {"infra": {"hosts": {NAME: host}}}, "vars": {
        "mlops_secrets_dir": str(folder / "secrets"), "mlops_image_source": "registry", "images_wanted": ["redis"], "mlops_min_memory_mib": {},
        "mlops_min_free_mib": 1, **variables}}}))
    (folder / "images.yml").write_text(yaml.safe_dump(PLAY))
    (folder / "secrets").mkdir(mode=0o700, exist_ok=True)
    path = ROOT / "playbooks/preflight.yml" if playbook == "preflight" else folder / "images.yml"
    done = subprocess.run(["ansible-playbook", "-i", str(folder / "hosts.yml"), str(path)], cwd=ROOT, stdin=subprocess.DEVNULL,
                          env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def on_host() -> list[str]:
    return output("docker", "exec", NAME, "docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()


def test_a_registry_without_tls_that_the_engine_trusts(folder, address):
    with machine(folder, {"insecure-registries": [address]}):
        with serving(folder, address):
            status, said = play(folder, "preflight", images_registry_mirror=address)
            assert status == 0, said
            status, said = play(folder, "images", images_registry_mirror=address)
            assert status == 0, said
            assert image("redis") in on_host()
            output("docker", "exec", NAME, "docker", "image", "rm", *on_host())
        # Silent now: one problem before anything changes.
        status, said = play(folder, "preflight", images_registry_mirror=address)
        assert status != 0 and f"its Engine gets no answer from the registry about {address}/library/" in said, said


def test_a_registry_without_tls_that_the_engine_does_not_trust_is_a_problem_before_anything_changes(folder, address):
    with machine(folder, {}), serving(folder, address):
        status, said = play(folder, "preflight", images_registry_mirror=address)
        assert status != 0 and f"about {address}/library/" in said and "HTTP response to HTTPS client" in said, said


def test_a_mirror_of_docker_hub_that_only_the_engine_knows(folder, address):
    with machine(folder, {"registry-mirrors": [f"http://{address}"]}), serving(folder, address):
        status, said = play(folder, "preflight")
        assert status == 0, said
        status, said = play(folder, "images")
        assert status == 0 and image("redis") in on_host(), said


def test_a_given_image_comes_from_the_registry(folder, address):
    with machine(folder, {"insecure-registries": [address]}), serving(folder, address):
        status, said = play(folder, "images", images_wanted=[], infra_redis_image=f"{address}/team/redis:8.0",
                            infra_postgres_image=f"{address}/library/redis:8.0")
        assert status == 0 and f"{address}/team/redis:8.0" in on_host(), said
