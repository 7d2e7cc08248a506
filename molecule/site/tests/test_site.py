"""The whole stack on one machine, monitored: what its users and its operators do with it."""

import pathlib

import pytest
import requests
from conftest import eventually, play

PLAYBOOKS = pathlib.Path(__file__).resolve().parents[3] / "playbooks"
AIRFLOW = "http://127.0.0.1:8081"
FOLLOWED = 124  # what `timeout` exits with when a command had to be ended


def ok(url: str) -> requests.Response:
    answer = requests.get(url, timeout=10)
    assert answer.status_code == 200, f"{url}: {answer.status_code}"
    return answer


def everything_answers() -> None:
    """All services, and the model that the smoke test registered is served again."""
    health = ok(f"{AIRFLOW}/api/v2/monitor/health").json()
    assert {state["status"] for state in health.values()} == {"healthy"}, health
    assert ok("http://127.0.0.1:5555/api/workers?refresh=1").json()
    assert ok("http://127.0.0.1:8000/ready").json()["model"]["version"] == "1"
    assert ok("http://127.0.0.1:5000/api/2.0/mlflow/registered-models/get?name=regmodel")


def test_check_mode_sees_nothing_to_do(host):
    recap = play("converge.yml", "--check").partition("PLAY RECAP")[2]
    assert "changed=0" in recap


def test_check_mode_shows_a_service_that_is_new(host):
    """The firewall, as far as Compose knows."""
    host.check_output("cd /opt/mlops && cp -p compose.yaml /root && sed -i /firewall/d compose.yaml && mv firewall /root")
    try:
        assert "failed=0" in play("converge.yml", "--check").partition("PLAY RECAP")[2]
    finally:
        host.check_output("cd /opt/mlops && mv /root/firewall . && mv /root/compose.yaml .")


def test_smoke(host):
    assert "The platform works" in play(str(PLAYBOOKS / "smoke.yml"))


@pytest.mark.parametrize("service", ["", "airflow-init", "airflow-webserver", "mlflow"])
def test_logs_are_followed(host, service):
    followed = host.run(f"cd /opt/mlops && timeout 2 docker compose logs -f {service}")
    assert followed.rc == FOLLOWED
    assert (service or "redis-airflow") in followed.stdout


@pytest.mark.parametrize("command", [
    "docker compose ps",
    "docker compose logs airflow-init",
    "docker compose exec -T airflow-init nc -zv postgres-airflow 5432",
    "docker stats --no-stream",
])
def test_command_of_the_guide(host, command):
    host.check_output(f"cd /opt/mlops && {command}")


def test_service_is_stopped_and_restarted(on_host, compose):
    compose("stop airflow-webserver")
    with pytest.raises(requests.ConnectionError):
        ok(f"{AIRFLOW}/api/v2/version")
    compose("restart airflow-webserver")
    eventually(lambda: ok(f"{AIRFLOW}/api/v2/version"), errors=(AssertionError, requests.RequestException))


def test_service_is_rebuilt(on_host, compose):
    compose("up -d --build regmodel-backend")
    eventually(lambda: ok("http://127.0.0.1:8000/ready"), errors=(AssertionError, requests.RequestException))


def test_down_and_up_keep_the_data(on_host, compose):
    compose("down")
    assert on_host.check_output("docker ps --all --quiet") == ""
    compose("up -d")
    eventually(everything_answers, timeout=180, errors=(AssertionError, requests.RequestException))
