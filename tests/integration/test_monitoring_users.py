"""The users that monitoring's containers run as: none reads another's secrets, and a volume goes over to a new one."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from stack_images import ROOT, image

UIDS: dict[str, int] = yaml.safe_load((ROOT / "roles/mlops/defaults/main/images.yml").read_text())["mlops_image_uids"]
MONITORING = ("prometheus", "alertmanager", "node_exporter", "postgres_exporter", "redis_exporter", "blackbox_exporter", "grafana")
HUSH = "hush-0451"


def sh(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, (command, done.stdout, done.stderr)
    return (done.stdout + done.stderr).strip()


@pytest.fixture
def names() -> Iterator[list[str]]:
    """Names of containers and volumes that the test makes."""
    made = [f"users-test-{uuid.uuid4().hex[:6]}-{number}" for number in range(3)]
    yield made
    sh("docker", "rm", "--force", *made, check=False)
    sh("docker", "volume", "rm", "--force", *made, check=False)


def test_nobody_shares_the_node_exporters_user() -> None:
    of_monitoring = [UIDS[name] for name in MONITORING]
    assert len(set(of_monitoring)) == len(of_monitoring) and UIDS["prometheus"] == 65534
    assert [name for name, uid in UIDS.items() if uid == UIDS["node_exporter"]] == ["node_exporter"]


def test_the_node_exporter_reads_no_ones_secrets_through_the_hosts_processes(names: list[str], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(HUSH)
    os.chown(secret, UIDS["postgres_exporter"], 0)
    secret.chmod(0o400)
    sh("docker", "run", "--detach", "--name", names[0], "--user", f"{UIDS['postgres_exporter']}:{UIDS['postgres_exporter']}", "--cap-drop", "ALL",
       "--volume", f"{secret}:/run/secrets/secret:ro", "--env", f"A={HUSH}", "--entrypoint", "sleep", image("postgres_exporter"), "300")
    process = json.loads(sh("docker", "inspect", names[0]))[0]["State"]["Pid"]
    places = [f"/host/proc/{process}/{place}" for place in ("environ", "root/run/secrets/secret", "mem")]

    def read(uid: int, place: str) -> str:
        return sh("docker", "run", "--rm", "--network", "none", "--user", f"{uid}:{uid}", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
                  "--volume", "/:/host:ro", "--entrypoint", "head", image("node_exporter"), "-c", "200", place, check=False)

    # As the same user it would.
    assert HUSH in read(UIDS["postgres_exporter"], places[0]) and HUSH in read(UIDS["postgres_exporter"], places[1])
    for place in places:
        found = read(UIDS["node_exporter"], place)
        assert "Permission denied" in found and HUSH not in found, place


def alertmanager(name: str, volume: str, uid: int) -> None:
    """As the role's service runs it."""
    sh("docker", "run", "--detach", "--name", name, "--user", f"{uid}:{uid}", "--cap-drop", "ALL", "--read-only", "--network", "none",
       "--volume", f"{volume}:/tmp", "--volume", f"{volume}:/alertmanager:nocopy", image("alertmanager"),
       "--config.file=/etc/alertmanager/alertmanager.yml", "--storage.path=/alertmanager", "--cluster.listen-address=")


def eventually_ready(name: str) -> None:
    end = time.monotonic() + 60
    while "200" not in sh("docker", "exec", name, "wget", "-q", "-S", "-O", "/dev/null", "http://127.0.0.1:9093/-/ready", check=False):
        assert time.monotonic() < end, sh("docker", "logs", name)
        time.sleep(0.1)


def hand_over(volume: str, *arguments: str) -> dict[str, Any]:
    said = sh("ansible", "localhost", "-m", "mlops.stack.volume_owner", "-a", json.dumps({"volume": volume, "uid": UIDS["alertmanager"]}), *arguments)
    return json.loads(said.partition("=>")[2])


def owners(volume: str) -> set[int]:
    where = sh("docker", "volume", "inspect", "--format", "{{.Mountpoint}}", volume)
    return {os.stat(os.path.join(where, name)).st_uid for name in os.listdir(where)}


def test_a_new_volume_is_writable_to_the_new_user_whatever_the_image_made_it_for(names: list[str]) -> None:
    volume, container, _rest = names
    alertmanager(container, volume, UIDS["alertmanager"])
    eventually_ready(container)
    sh("docker", "stop", container)  # it writes as it ends
    assert owners(volume) == {UIDS["alertmanager"]}
    assert not hand_over(volume)["changed"]


def test_a_volume_of_before_goes_over_to_the_new_user(names: list[str]) -> None:
    volume, before, after = names
    # As it was: the image's own directory, by the user that it had in common with Prometheus.
    sh("docker", "run", "--detach", "--name", before, "--user", "65534:65534", "--volume", f"{volume}:/alertmanager", image("alertmanager"),
       "--config.file=/etc/alertmanager/alertmanager.yml", "--storage.path=/alertmanager", "--cluster.listen-address=")
    eventually_ready(before)
    assert hand_over(volume, "--check")["changed"]
    assert sh("docker", "inspect", "--format", "{{.State.Running}}", before) == "true"
    done = hand_over(volume)
    assert done["changed"] and len(done["stopped"]) == 1
    assert owners(volume) == {UIDS["alertmanager"]}  # what it wrote as it ended too
    assert not hand_over(volume)["changed"]
    alertmanager(after, volume, UIDS["alertmanager"])
    eventually_ready(after)
    sh("docker", "stop", after)
    assert owners(volume) == {UIDS["alertmanager"]}


def test_a_volume_that_is_not_there_is_left_to_compose(names: list[str]) -> None:
    assert not hand_over(names[0])["changed"]
    assert "no such volume" in sh("docker", "volume", "inspect", names[0], check=False).lower()
