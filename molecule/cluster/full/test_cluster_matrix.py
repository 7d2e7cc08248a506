"""What takes too long for every run. tests/integration/test_cluster_full.py runs it, on hosts that have just converged."""

import itertools
import json
import random
import re
import time
from datetime import datetime

import pytest
import yaml
from cluster import ADDRESSES, WORKERS, Airflow, boot, cut_power, has_state, inside, is_well, play, predicts, recap, run_a_task_on_each_worker
from conftest import eventually
from test_cluster import MODELS, closed_to_strangers
from test_cluster_changes import kill_when
from test_cluster_power import come_back

KILLS = 20
AWAY = 30  # seconds for which something is gone, long enough for all that needs it to notice
LATE = {"services": {"postgres-airflow": {"entrypoint": ["sh", "-c", 'sleep 30; exec docker-entrypoint.sh "$$@"', "late"]}}}


@pytest.fixture(scope="module", autouse=True)
def trained() -> dict[str, str]:
    """What has to be there whatever happens: a finished run in Airflow's database, and the version that RegModel serves from MLflow's."""
    play("playbooks/smoke.yml")
    run = Airflow().trigger("canary_mlops-models")
    eventually(lambda: has_state(run, "success"), 120)
    version = predicts(MODELS)
    assert version
    return {"run": run, "version": version}


@pytest.mark.parametrize("order", list(itertools.permutations(ADDRESSES)), ids="-".join)
def test_all_hosts_come_back_in_any_order(order):
    come_back(*order)
    closed_to_strangers()
    run_a_task_on_each_worker()


@pytest.mark.parametrize("host", ADDRESSES)
def test_a_host_goes_and_comes_back(host):
    cut_power(host)
    time.sleep(AWAY)
    boot(host)
    is_well(*WORKERS)
    run_a_task_on_each_worker()


@pytest.mark.parametrize("service", ["postgres-airflow", "redis-airflow"])
def test_a_database_goes_and_comes_back(service):
    inside("mlops-control", f"docker compose stop {service}")
    time.sleep(AWAY)
    inside("mlops-control", f"docker compose start {service}")
    is_well(*WORKERS)
    run_a_task_on_each_worker()


def test_tls_comes_and_goes():
    for tls in ("true", "false"):
        play("site.yml", "--extra-vars", f"mlops_tls={tls}")
        is_well(*WORKERS)
        asked = "docker compose exec -T postgres-airflow psql -U postgres -Atc \"SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
        assert inside("mlops-control", asked + "WHERE client_addr IS NOT NULL\"").split() == [tls[0]]
        run_a_task_on_each_worker()


def test_a_killed_run_is_made_good_by_the_next(trained):
    """At twenty random moments, one in each twentieth of a run that replaces every service but the databases."""
    def rollout(number: int) -> tuple[str, ...]:
        return "--extra-vars", json.dumps({f"{role}_environment": {"MLOPS_TEST": str(number)} for role in ("mlflow", "regmodel", "airflow")})

    def begun(output: str) -> int:
        return len(re.findall("^TASK ", output, re.MULTILINE))

    seed = random.randrange(2**32)
    moment = random.Random(seed)
    print("seed", seed)
    tasks = begun(play("site.yml", *rollout(-1)))
    for number in range(KILLS):
        task = int((number + moment.random()) / KILLS * tasks)
        print(f"kill {number}: as task {task} of {tasks} begins", flush=True)
        kill_when(lambda output, task=task: begun(output) > task, *rollout(number))
        play("site.yml", *rollout(number))
        is_well(*WORKERS)
        has_state(trained["run"], "success")
        eventually(lambda: serves(trained["version"]), 60)
    assert sum(counts["changed"] for counts in recap(play("site.yml", *rollout(KILLS - 1))).values()) == 0
    run_a_task_on_each_worker()


def serves(version: str) -> None:
    assert predicts(MODELS) == version


def test_fresh_data_and_a_late_database_in_the_unhelpful_order(tmp_path):
    """Workers come first, in time and in the inventory, and PostgreSQL half a minute late."""
    play("playbooks/down.yml", "--extra-vars", "delete_data=true")
    cut_power(*ADDRESSES)
    unhelpful = list(reversed(ADDRESSES))
    boot(*unhelpful)
    first = tmp_path / "first.yml"
    first.write_text(yaml.safe_dump({"all": {"hosts": dict.fromkeys(unhelpful)}}))
    inside("mlops-control", f"cat > compose.override.yaml <<'E'\n{yaml.safe_dump(LATE)}E")
    play("site.yml", before=("--inventory", str(first)))
    born = datetime.fromisoformat(inside("mlops-control", "docker inspect --format '{{.State.StartedAt}}' mlops-postgres-airflow-1").strip())
    first_words = inside("mlops-control", "docker logs --timestamps mlops-postgres-airflow-1 2>&1").split()[0]
    assert (datetime.fromisoformat(first_words) - born).total_seconds() >= 30
    inside("mlops-control", "rm compose.override.yaml")
    is_well(*WORKERS)
    play("playbooks/smoke.yml")
