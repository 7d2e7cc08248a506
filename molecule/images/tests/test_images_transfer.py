"""What a transfer of an image leaves, meets and takes, on a host where not everybody means well."""

import contextlib
import pathlib
import tempfile

from conftest import play
from test_images import FIRST, SECOND, image_of, inputs_of

testinfra_hosts = [f"ansible://{SECOND}"]
# Stands before Docker's own command in the path. $name is the image that the run wants.
WRAPPER = """#!/bin/sh
if [ "$1" = load ]; then {load}; fi
exec /usr/bin/docker "$@"
"""
FAILS = "echo 'no space left on device' >&2; exit 1"
SWAPS = "/usr/bin/docker \"$@\" && tar -cC / etc/hostname | /usr/bin/docker import - {name}; exit"


def left(host) -> list[str]:
    """What transfers have left, on the hosts and on the controller."""
    found = [str(path) for path in pathlib.Path(tempfile.gettempdir()).glob("mlops-transit-*")]
    for machine in (FIRST, SECOND):
        found += [f"{machine}: {name}" for name in host.get_host(f"docker://{machine}").check_output("ls /var/tmp").split()]
    return found


@contextlib.contextmanager
def docker_that(host, load: str):
    """The host's command docker does something else than to load an image."""
    host.check_output("printf %%s %s >/usr/local/bin/docker && chmod 0755 /usr/local/bin/docker", WRAPPER.format(load=load))
    try:
        yield
    finally:
        host.check_output("rm /usr/local/bin/docker")


def test_a_file_that_was_there_first_is_not_loaded_and_what_was_left_is_removed(host):
    name, before = image_of(host), inputs_of(host)
    known = f"/var/tmp/{name.replace('/', '_').replace(':', '_')}.tar"
    host.check_output(f"docker image rm --force {name} && mkdir /var/tmp/mlops-images-left && touch /var/tmp/mlops-images-left/image.tar")
    host.check_output(f"setpriv --reuid=65534 --regid=65534 --clear-groups sh -c 'echo mine >{known}'")
    play()
    assert inputs_of(host) == before
    assert host.check_output(f"cat {known}") == "mine"
    host.check_output(f"rm {known}")
    assert left(host) == []


def test_a_transfer_that_fails_leaves_nothing(host):
    name = image_of(host)
    host.check_output(f"docker image rm --force {name}")
    with docker_that(host, FAILS):
        said = play("converge.yml", succeeds=False)
    assert "no space left on device" in said
    assert left(host) == []
    play()
    assert image_of(host) == name


def test_an_image_that_is_not_the_one_that_was_saved_is_refused(host):
    name = image_of(host)
    host.check_output(f"docker image rm --force {name}")
    with docker_that(host, SWAPS.format(name=name)):
        said = play("converge.yml", succeeds=False)
    assert f"what was loaded on {SECOND} as {name} is not the image that {FIRST} saved, and was removed again" in " ".join(said.split())
    assert host.check_output("docker image ls --quiet --filter reference=mlops/redis") == ""
    assert left(host) == []
    play()
    assert image_of(host) == name
