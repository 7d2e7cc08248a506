"""Power is cut on all hosts at once, and comes back in an unhelpful order: nobody runs Ansible."""

from cluster import ADDRESSES, WORKERS, Airflow, boot, cut_power, has_state, inside, is_well, run_a_task_on_each_worker, task_is
from conftest import NOT_MIGRATED, eventually
from test_cluster import closed_to_strangers

REDIS = "docker compose exec -T redis-airflow sh -c 'REDISCLI_AUTH=$(cat /run/secrets/redis_password) redis-cli' <<E\n{}\nE"


def queued_on_disk(queue: str) -> None:
    """A task waits in Redis, and what Redis has been told so far is on its disk."""
    answers = inside("mlops-control", REDIS.format(f"LLEN {queue}\nSET on-disk now\nWAITAOF 1 0 10000")).split()
    assert answers[0] != "0", answers
    assert answers[2] == "1", answers


def come_back(*order: str) -> None:
    """All hosts lose power while a task is queued, and get it back in an order."""
    # With its worker gone first, the task can only wait.
    cut_power("mlops-worker-1")
    run = Airflow().trigger("canary_mlops-worker-1", word="after-the-cut")
    eventually(lambda: task_is(run, "queued"), 60)
    eventually(lambda: queued_on_disk("host-mlops-worker-1"), 60)
    cut_power("mlops-control", "mlops-models")
    boot(*order)
    is_well(*WORKERS)
    eventually(lambda: has_state(run, "success"), 120)


def test_all_hosts_come_back_and_a_queued_task_runs():
    come_back("mlops-worker-1", "mlops-models", "mlops-control")


def test_strangers_stay_outside_after_the_power_cut():
    closed_to_strangers()


def test_a_new_task_runs_on_each_worker_after_the_power_cut():
    run_a_task_on_each_worker()


def test_no_service_met_an_uninitialized_database():
    for host in ADDRESSES:
        logs = inside(host, "docker compose logs --no-color")
        assert logs and NOT_MIGRATED not in logs


def test_the_dag_of_a_worker_that_was_removed_before_is_gone():
    def only_these() -> None:
        assert {dag["dag_id"] for dag in Airflow().json("GET", "dags")["dags"]} == {"train_regmodel", *(f"canary_{name}" for name in WORKERS)}
    # Airflow looks for DAGs that their file does not make any more once a minute.
    eventually(only_these, 240)
