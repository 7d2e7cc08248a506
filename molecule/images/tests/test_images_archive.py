"""An image that one machine has, carried by a directory of files to another."""

from conftest import EPHEMERAL, play
from test_images import SECOND, image_of, inputs_of, version_served

testinfra_hosts = [f"ansible://{SECOND}"]
ARCHIVE = EPHEMERAL / "archive"


def test_machine_without_a_way_to_build_loads_the_archive(on_host):
    play("export.yml", "--extra-vars", f"images_archive={ARCHIVE}")
    before = inputs_of(on_host)
    on_host.check_output(f"docker image rm --force {image_of(on_host)}")
    arguments = ["--limit", SECOND, "--extra-vars", f"mlops_image_source=archive images_archive={ARCHIVE}"]
    output = play("converge.yml", *arguments)
    assert "changed=0" not in output and "Grafana is not deployed" in output
    assert inputs_of(on_host) == before
    assert version_served(on_host).startswith("8.0.")
    assert "changed=0" in play("converge.yml", *arguments)
