"""An Engine of another origin, installed and not running, as the next run finds it; with the project that test_docker.py made."""

import subprocess

import pytest
from conftest import play
from test_docker import answers

HOST = "mlops-docker-debian13"
testinfra_hosts = [f"ansible://{HOST}"]
# Debian's own package under the name of Docker's, with what makes the two exclude each other.
REPACK = r"""
set -e
cd /srv && apt-get download -q docker.io && dpkg-deb --raw-extract docker.io_*.deb engine
sed -i -e 's/^Package: .*/Package: docker-ce/' -e '/^\(Conflicts\|Replaces\|Breaks\|Provides\):/d' engine/DEBIAN/control
printf 'Conflicts: docker.io\nReplaces: docker.io\n' >>engine/DEBIAN/control
dpkg-deb -Zgzip -z1 --build engine docker-ce.deb && apt-get install -qy --no-install-recommends ./docker-ce.deb
"""


@pytest.fixture(scope="module")
def docker_ce(host):
    """The host has Docker's package in the place of Debian's, and nothing that starts its Engine."""
    host.check_output(REPACK)
    subprocess.run(["docker", "restart", "--time", "1", HOST], check=True)
    assert host.run("docker version").rc != 0


def packages(host) -> list[str]:
    return host.run("dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' docker-ce docker.io").stdout.splitlines()


def test_an_engine_that_does_not_start_stops_the_run_with_what_it_says(host, docker_ce):
    host.check_output("mkdir -p /etc/docker && echo '{ broken' >/etc/docker/daemon.json")
    said = " ".join(play("converge.yml", "--limit", HOST, "--extra-vars", "docker_start_timeout=5", succeeds=False).split())
    host.check_output("rm /etc/docker/daemon.json")
    assert f"the Engine of {HOST} (docker-ce) does not start" in said and "invalid character" in said
    assert "installed docker-ce" in packages(host) and "installed docker.io" not in packages(host)


def test_an_engine_that_is_there_is_started_and_not_exchanged(on_host, docker_ce):
    play("converge.yml", "--limit", HOST)
    assert "installed docker-ce" in packages(on_host) and "installed docker.io" not in packages(on_host)
    on_host.check_output("cd /srv/try && docker compose up --detach")
    assert answers()


def test_the_next_run_changes_nothing(host, docker_ce):
    assert "changed=0" in play("converge.yml", "--limit", HOST).partition("PLAY RECAP")[2]
