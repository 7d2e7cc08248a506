"""Hosts are added and removed, one at a time is worked on, one does not answer, and a run is killed."""

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
    SPARE_ADDRESS,
    WITH_SPARE,
    WORKERS,
    Airflow,
    boot,
    celery_workers,
    command,
    consumed,
    cut_power,
    has_state,
    inside,
    is_well,
    machine,
    play,
    predicting,
    predicts,
    reaches,
    recap,
    task_is,
)
from conftest import EPHEMERAL, eventually, network_of, secret
from shared import cut_off
from test_cluster import MODELS

TOOLS = pathlib.Path(PROJECT) / "molecule/shared/host"


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
    """A fourth machine, with an Engine and the images, that is in no inventory yet."""
    subprocess.run([TOOLS / "clone", SPARE, "cluster"], check=True)
    subprocess.run([TOOLS / "run", SPARE, "cluster", "mlops-test/engine", SPARE, "mlops-cluster", SPARE_ADDRESS, EPHEMERAL / "ssh.pub"], check=True)
    eventually(lambda: machine("exec", SPARE, "docker", "version"), 60, (subprocess.CalledProcessError,))


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


def both_predict() -> None:
    assert predicts(MODELS) and predicts(MODELS) == predicts(SPARE_ADDRESS)


def test_regmodel_is_replaced_on_one_host_after_the_other():
    eventually(both_predict)
    with predicting(MODELS, SPARE_ADDRESS) as moments:
        play("site.yml", *WITH_SPARE, "--extra-vars", "regmodel_poll_seconds=1")
    # Each was away for a while, and never both.
    assert [address for address in (MODELS, SPARE_ADDRESS) if all(address in moment for moment in moments)] == []
    assert set() not in moments


def test_a_rollout_ends_at_the_first_host_that_does_not_predict():
    failed = []
    with predicting(MODELS, SPARE_ADDRESS) as moments:
        # Again too: a host that serves nothing comes first.
        for _time in range(2):
            output = play("site.yml", *WITH_SPARE, "--extra-vars", "regmodel_model_name=nobody regmodel_ready_timeout=10", succeeds=False)
            assert "nobody" in output
            failed += [host for host, counts in recap(output).items() if counts["failed"]]
    assert failed in (["mlops-models"] * 2, [SPARE] * 2)
    other = SPARE_ADDRESS if failed[0] == "mlops-models" else MODELS
    assert moments and all(other in moment for moment in moments)


def test_a_host_that_does_not_answer_is_left_out_and_named_unless_the_others_need_it():
    cut_power("mlops-worker-1")
    output = play("site.yml", *WITH_SPARE, succeeds=False)
    assert "Not done on mlops-worker-1" in output
    counts = recap(output)
    assert counts["mlops-worker-1"]["failed"] == 1
    assert all(counts[host]["failed"] == counts[host]["unreachable"] == 0 for host in ("mlops-control", "mlops-models", SPARE))
    # Prometheus, on a host of the run, asks the one that is left out.
    play("site.yml", *WITH_SPARE, "--limit", "mlops-models")
    assert "mlops-worker-1 does not answer" in play("playbooks/remove-host.yml", *WITH_SPARE, "--extra-vars", "host=mlops-worker-1")
    eventually(lambda: worker_names("mlops-models", SPARE), 60, NOT_YET)
    cut_power("mlops-control")
    output = play("site.yml", *WITH_SPARE, succeeds=False)
    assert "nothing was changed" in output and "mlops-control: does not answer" in output
    boot("mlops-worker-1", "mlops-control")
    is_well(*WORKERS, SPARE)
    eventually(both_predict)


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


def worker_names(*wanted: str) -> None:
    assert celery_workers() == consumed(*wanted)


def test_a_host_with_data_is_not_removed():
    assert "mlops-control is in group" in play("playbooks/remove-host.yml", "--extra-vars", "host=mlops-control", succeeds=False)
