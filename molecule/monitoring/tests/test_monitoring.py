"""Monitoring of PostgreSQL, Redis and the host alone, with a login; scenario `site` has the whole stack, its alerts and who is told."""

import pytest
import requests
from conftest import PROMETHEUS, asked, eventually, secret, value

ALERTMANAGER = "http://127.0.0.1:9093"
JOBS = {"prometheus", "alertmanager", "node", "postgres", "redis", "blackbox", "probe"}


def login():
    return "admin", secret("monitoring_password")


@pytest.mark.parametrize("url", [f"{PROMETHEUS}/api/v1/query?query=up", f"{PROMETHEUS}/consoles/overview.html", f"{ALERTMANAGER}/api/v2/alerts"])
def test_login_is_asked_for(on_host, url):
    assert requests.get(url, timeout=10).status_code == 401
    assert requests.get(url, auth=("admin", "admin"), timeout=10).status_code == 401
    assert requests.get(url, auth=login(), timeout=10).status_code == 200


def test_every_target_is_up(on_host):
    def all_up():
        targets = asked("targets", login(), state="active")["activeTargets"]
        assert {target["labels"]["job"] for target in targets} == JOBS
        assert not [(target["scrapeUrl"], target["lastError"]) for target in targets if target["health"] != "up"]
    eventually(all_up)


def test_every_rule_is_evaluated_without_an_error(on_host):
    def evaluated():
        rules = [rule for group in asked("rules", login())["groups"] for rule in group["rules"]]
        assert len(rules) > 50
        assert not [(rule["name"], rule["health"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"]
    eventually(evaluated)


def test_stopped_redis_is_an_alert_until_it_is_back(on_host, compose):
    def alerts():
        answer = requests.get(f"{ALERTMANAGER}/api/v2/alerts", auth=login(), timeout=10)
        return {alert["labels"]["alertname"] for alert in answer.json() if alert["status"]["state"] == "active"}

    def told(wanted):
        assert ("RedisDown" in alerts()) is wanted, alerts()

    eventually(lambda: told(False))
    compose("stop redis-airflow")
    eventually(lambda: told(True))
    compose("start redis-airflow")
    eventually(lambda: told(False), timeout=120)


def test_killed_prometheus_comes_back_with_its_data(host, on_host):
    before = asked("query", login(), query="min_over_time(timestamp(up{job='node'})[1h:])")["result"][0]["value"][1]
    host.check_output(f"kill -9 {host.check_output('docker inspect --format {{.State.Pid}} mlops-prometheus-1')}")
    eventually(lambda: value("up{job='prometheus'} == 1", login()), timeout=90, errors=(AssertionError, requests.ConnectionError))
    assert value(f"count_over_time(up{{job='node'}}[1h] @ {before}) >= 1", login())


def test_containers_have_no_rights_and_no_secret_in_sight(host):
    password = secret("monitoring_password")
    for name in ("prometheus", "alertmanager", "node-exporter", "postgres-exporter", "redis-exporter", "blackbox-exporter"):
        seen = host.check_output(f"docker inspect mlops-{name}-1")
        assert '"ReadonlyRootfs": true' in seen and '"User": "0' not in seen and '"no-new-privileges:true"' in seen, name
        assert password not in seen and secret("redis_password") not in seen and secret("postgres_monitoring_password") not in seen
