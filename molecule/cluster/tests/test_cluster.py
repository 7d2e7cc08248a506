"""A cluster that has just converged: it works, and it is closed to strangers."""

import pytest
import requests
from cluster import ADDRESSES, WORKERS, Airflow, celery_workers, consumed, inside, is_well, machine, play, reaches, stranger
from conftest import eventually, secret

CONTROL, MODELS, WORKER = ADDRESSES.values()
# What each host publishes for the others alone, and what for people.
FOR_THE_STACK = [(CONTROL, port) for port in (5432, 6379, 5555, 8794, 9100, 9112)] + [(MODELS, 8793), (WORKER, 8793), (WORKER, 9100)]
FOR_PEOPLE = [(CONTROL, 8081), (MODELS, 5000), (MODELS, 8000), (MODELS, 9090), (MODELS, 9093)]


def closed_to_strangers() -> None:
    with stranger() as outside:
        assert [where for where in FOR_THE_STACK if reaches(outside, *where)] == []
        assert [where for where in FOR_PEOPLE if not reaches(outside, *where)] == []


def test_every_part_is_well_and_each_worker_has_a_name_and_a_queue_of_its_own():
    is_well(*WORKERS)
    assert celery_workers() == consumed(*WORKERS)


def test_smoke_with_a_canary_on_each_worker():
    output = play("playbooks/smoke.yml")
    assert "The platform works" in output
    for worker in WORKERS:
        assert f"canary_{worker} ran on {ADDRESSES[worker]}" in output


def test_only_the_control_host_migrates():
    assert "airflow-init: complete" in inside("mlops-control", "docker compose logs --no-color airflow-init")
    for host in WORKERS:
        assert "airflow-init" not in inside(host, "docker compose config --services")


def test_published_ports_are_those_that_are_tried():
    """Or a new port would not be."""
    ports = "docker ps --format '{{.Ports}}' | grep -oE '[0-9.]+:[0-9]+->' || test $? = 1"
    found = {tuple(row.removesuffix("->").split(":")) for host in ADDRESSES for row in inside(host, ports).split()}
    assert {(address, int(port)) for address, port in found} == {*FOR_THE_STACK, *FOR_PEOPLE}


@pytest.mark.parametrize("host", ADDRESSES)
def test_hosts_of_the_stack_reach_each_other(host):
    assert [where for where in FOR_THE_STACK + FOR_PEOPLE if not reaches(host, *where)] == []


def test_strangers_reach_what_is_for_people_only():
    closed_to_strangers()


def test_no_route_leads_to_a_container():
    """Published ports of a container answer at its own address too, unless something forbids it."""
    network = "docker network inspect mlops --format '{{(index .IPAM.Config 0).Subnet}}'"
    address = "docker inspect --format '{{.NetworkSettings.Networks.mlops.IPAddress}}' mlops-postgres-airflow-1"
    subnet, container = inside("mlops-control", network).strip(), inside("mlops-control", address).strip()
    assert reaches("mlops-control", container, 5432)
    with stranger() as outside:
        machine("exec", outside, "ip", "route", "add", subnet, "via", CONTROL)
        assert not reaches(outside, container, 5432)


@pytest.mark.parametrize("host, origin, status", [
    (MODELS, MODELS, 200), ("mlops-models", "mlops-models", 200), (MODELS, "evil.example", 403), ("evil.example", "evil.example", 403)])
def test_mlflow_takes_what_pages_of_its_hosts_names_write(host, origin, status):
    answer = requests.post(f"http://{MODELS}:5000/ajax-api/2.0/mlflow/experiments/search", json={"max_results": 1}, timeout=30,
                           headers={"Host": f"{host}:5000", "Origin": f"http://{origin}:5000"}, auth=("admin", secret("mlflow_admin_password")))
    assert answer.status_code == status, answer.text


def test_rules_that_another_program_took_away_come_back():
    inside("mlops-worker-1", "docker exec mlops-firewall-1 nft delete table inet mlops")
    with stranger() as outside:
        def closed() -> None:
            assert not reaches(outside, WORKER, 8793)
        eventually(closed, 30)


def test_log_of_a_remote_task_names_the_worker_that_it_was_read_from():
    airflow = Airflow()
    run = airflow.json("GET", "dags/canary_mlops-worker-1/dagRuns?order_by=-run_after&limit=1")["dag_runs"][0]
    log = airflow.json("GET", f"dags/canary_mlops-worker-1/dagRuns/{run['dag_run_id']}/taskInstances/report/logs/1")
    assert f"http://{WORKER}:8793/log/" in str(log)
