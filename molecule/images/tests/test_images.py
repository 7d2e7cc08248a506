"""An image that was built on one machine and carried to another, run on both."""

import redis
import testinfra
from conftest import eventually
from redis.backoff import NoBackoff
from redis.retry import Retry

FIRST, SECOND = "mlops-images-first", "mlops-images-second"


def image_of(host) -> str:
    names = host.check_output("docker image ls --filter reference=mlops/redis --format '{{.Repository}}:{{.Tag}}'").splitlines()
    assert len(names) == 1
    return names[0]


def inputs_of(host) -> dict[str, str]:
    """Layers and settings of the image: what it is made of, whichever Engine holds it."""
    return {key: host.check_output(f"docker image inspect --format '{{{{json .{key}}}}}' {image_of(host)}") for key in ("RootFS", "Config")}


def version_served(host) -> str:
    """Version that Redis gives when the image runs as the stack runs it."""
    host.check_output(f"docker run --detach --rm --name try --user 999:999 --cap-drop ALL --publish 127.0.0.1:6379:6379 {image_of(host)}")
    try:
        client = redis.Redis("127.0.0.1", decode_responses=True, retry=Retry(NoBackoff(), 0))
        assert eventually(lambda: client.set("key", "value"), errors=(redis.ConnectionError,))
        assert client.get("key") == "value"
        return client.info("server")["redis_version"]
    finally:
        host.check_output("docker stop --time 5 try")


def test_image_runs_on_the_machine_that_built_it_and_on_the_other(on_host):
    assert image_of(on_host).startswith("mlops/redis:8.0-")
    assert version_served(on_host).startswith("8.0.")


def test_both_machines_have_the_same_image(host):
    other = testinfra.get_host(f"docker://{SECOND if host.backend.host == FIRST else FIRST}")
    assert image_of(host) == image_of(other)
    assert inputs_of(host) == inputs_of(other)
