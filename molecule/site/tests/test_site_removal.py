"""What is left of the stack, and of its data, once it is taken down; the last of this scenario's files."""

import pathlib

from conftest import NOT_MIGRATED, play

DOWN = str(pathlib.Path(__file__).resolve().parents[3] / "playbooks/down.yml")


def test_no_service_ever_met_an_uninitialized_database(host):
    logs = host.check_output("cd /opt/mlops && docker compose logs --no-color")
    assert "airflow-scheduler" in logs and NOT_MIGRATED not in logs


def volumes(host) -> set[str]:
    return set(host.check_output("docker volume ls --quiet").split())


def test_down_keeps_the_data_until_it_is_told_otherwise_and_touches_nothing_else(host):
    host.check_output("docker volume create somebody-elses && docker network create somebody-elses")
    before = volumes(host)
    play(DOWN)
    assert host.check_output("docker ps --all --quiet") == ""
    assert volumes(host) == before
    play(DOWN, "--extra-vars", "delete_data=true")
    assert volumes(host) == {"somebody-elses"}
    assert "somebody-elses" in host.check_output("docker network ls")
    assert not host.file("/opt/mlops/state.json").exists
    assert "changed=0" in play(DOWN)


def test_down_with_volumes_deletes_the_data(host, compose):
    compose("create")
    assert "mlops_postgres-data" in volumes(host)
    compose("down -v")
    assert volumes(host) == {"somebody-elses"}
