"""What takes too long for every run: each order in which the hosts can come back, and twenty killed runs. tests/integration/test_cluster_full.py runs it."""

import itertools

import pytest
from cluster import ADDRESSES, WORKERS, Airflow, boot, cut_power, has_state, is_well, play, recap
from conftest import eventually
from test_cluster import closed_to_strangers
from test_cluster_changes import kill_when

# Where a run is killed: as these tasks begin, for the first time or later.
TASKS = ["Deliver the files of firewall", "Deliver the files of infra", "Create the databases", "Deliver the files of airflow", "Compare the DAGs of all hosts"]


@pytest.mark.parametrize("order", list(itertools.permutations(ADDRESSES)), ids="-".join)
def test_all_hosts_come_back_in_any_order(order):
    cut_power(*ADDRESSES)
    boot(*order)
    is_well(*WORKERS)
    closed_to_strangers()
    for run in [Airflow().trigger(f"canary_{worker}") for worker in WORKERS]:
        eventually(lambda run=run: has_state(run, "success"), 120)


@pytest.mark.parametrize("number", range(20))
def test_a_killed_run_is_made_good_by_the_next(number):
    changed = ("--extra-vars", f"airflow_worker_concurrency={number + 5}")
    kill_when(TASKS[number % len(TASKS)] if number < 10 else "Bring the services to the state present", *changed)
    play("site.yml", *changed)
    is_well(*WORKERS)
    assert sum(counts["changed"] for counts in recap(play("site.yml", *changed)).values()) == 0
