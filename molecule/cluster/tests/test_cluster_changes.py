"""Hosts are added and removed, one at a time is worked on, and a run is killed."""

import pathlib
import subprocess
import tempfile
import time
from collections.abc import Callable

import pytest
import requests
from cluster import (
    ADDRESSES,
    NOT_YET,
    PROJECT,
    SPARE,
    WITH_SPARE,
    WORKERS,
    Airflow,
    boot_spare,
    command,
    has_state,
    inside,
    is_well,
    play,
    reaches,
    recap,
    task_is,
    worker_names,
)
from conftest import eventually, network_of, secret
from shared import cut_off


def watched_hosts() -> set[str]:
    """Hosts whose node exporter answers Prometheus."""
    with network_of("mlops-models"):
        answer = requests.get("http://10.77.0.12:9090/api/v1/query", params={"query": 'up{job="node"} == 1'}, timeout=10,
                              auth=("admin", secret("monitoring_password")))
    answer.raise_for_status()
    return {row["metric"]["instance"] for row in answer.json()["data"]["result"]}


def are_watched(*hosts: str) -> None:
    assert watched_hosts() == set(hosts)


def kill_when(condition: Callable[[str], bool], *arguments: str) -> None:
    """Kills a run of site.yml, with all of its processes, as soon as its output is as told."""
    with tempfile.NamedTemporaryFile("w+") as output:
        run = subprocess.Popen(command("site.yml", *arguments), cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=output)
        try:
            while not condition(text := pathlib.Path(output.name).read_text()):
                assert run.poll() is None, f"the run has ended before its moment:\n{text[-4000:]}"
                time.sleep(0.05)
        finally:
            cut_off.kill(run)


@pytest.fixture(scope="module", autouse=True)
def spare():
    boot_spare()


def test_a_worker_is_added_by_a_run_that_follows_a_killed_one():
    started = "docker inspect --format '{{.State.StartedAt}}' mlops-prometheus-1"
    before = inside("mlops-models", started)
    kill_when(lambda output: "Bring the services to the state present" in output, *WITH_SPARE)
    play("site.yml", *WITH_SPARE)
    is_well(*WORKERS, SPARE)
    eventually(lambda: are_watched(*ADDRESSES, SPARE), 60, NOT_YET)
    assert inside("mlops-models", started) == before, "new targets need no restart"
    assert reaches(SPARE, "10.77.0.11", 5432)
    run = Airflow().trigger(f"canary_{SPARE}")
    eventually(lambda: has_state(run, "success"), 120)


def test_a_run_limited_to_one_worker_changes_nothing():
    counts = recap(play("site.yml", *WITH_SPARE, "--limit", SPARE))
    assert counts.keys() == {SPARE} and counts[SPARE]["changed"] == 0


def test_a_removed_worker_ends_its_task_and_is_forgotten():
    run = Airflow().trigger(f"canary_{SPARE}", seconds=20)
    eventually(lambda: task_is(run, "running"), 60)
    play("playbooks/remove-host.yml", *WITH_SPARE, "--extra-vars", f"host={SPARE}")
    has_state(run, "success")
    assert inside(SPARE, "docker ps --all --quiet") == ""
    eventually(lambda: worker_names(*WORKERS), 60, NOT_YET)
    play("site.yml")
    eventually(lambda: are_watched(*ADDRESSES), 60, NOT_YET)
    assert not reaches(SPARE, "10.77.0.11", 5432)


def test_a_host_with_data_is_not_removed():
    assert "mlops-control is in group" in play("playbooks/remove-host.yml", "--extra-vars", "host=mlops-control", succeeds=False)
