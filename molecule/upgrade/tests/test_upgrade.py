"""An installation of the earlier code, used as a team uses it, under this checkout's: nothing is lost, and no secret is new."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

import pytest
import requests
from conftest import EPHEMERAL, PROMETHEUS, eventually, network_of

ROOT = pathlib.Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
HOST = "mlops-upgrade"
TEAM = EPHEMERAL / "team"
AIRFLOW = "http://127.0.0.1:8081"
MLFLOW = "http://127.0.0.1:5000/api/2.0/mlflow"
REGMODEL = "http://127.0.0.1:8000"
ALERTMANAGER = "http://127.0.0.1:9093/api/v2"
REDIS = "docker compose exec -T redis-airflow sh -c 'REDISCLI_AUTH=$(cat /run/secrets/redis_password) redis-cli {}'"
# Variables and connections are encrypted with the Fernet key.
KEPT = {
    "variables/kept": ("variables", {"key": "kept", "value": "a variable"}),
    "connections/kept": ("connections", {"connection_id": "kept", "conn_type": "http", "host": "example.org", "login": "team"}),
    "pools/kept": ("pools", {"name": "kept", "slots": 3}),
}


def play(playbook: str, *arguments: str) -> str:
    """Output of a playbook of this checkout on the team's inventory, which names nothing else than before; it must succeed."""
    run = subprocess.run(["ansible-playbook", "--inventory", str(TEAM), f"{ROOT}/{playbook}", *arguments], cwd=ROOT,
                         env={**os.environ, "ANSIBLE_FORCE_COLOR": "0", "NO_COLOR": "1"}, stdin=subprocess.DEVNULL,
                         text=True, capture_output=True, check=False)
    assert run.returncode == 0, f"{playbook} exited {run.returncode}:\n{run.stdout[-8000:]}\n{run.stderr[-2000:]}"
    return run.stdout


def inside(script: str) -> str:
    """Output of a shell script on the host, in the project's directory."""
    return subprocess.run(["docker", "exec", "--workdir", "/opt/mlops", HOST, "sh", "-c", script], text=True, capture_output=True, check=True).stdout


def secrets() -> dict[str, str]:
    """What the runs have generated, wherever it lies beside the inventory; the certificates of TLS are no passwords."""
    folders = [path for path in TEAM.rglob("generated") if path.is_dir()]
    assert len(folders) == 1, folders
    return {path.name: path.read_text() for path in folders[0].iterdir() if path.is_file()}


def call(method: str, url: str, **options) -> dict:
    answer = requests.request(method, url, timeout=30, **options)
    assert answer.ok, f"{method} {url}: {answer.status_code} {answer.text[:500]}"
    return answer.json()


def airflow() -> dict[str, str]:
    """The header that makes a request one of the administrator's."""
    token = call("POST", f"{AIRFLOW}/auth/token", json={"username": "admin", "password": "admin"})["access_token"]
    return {"Authorization": f"Bearer {token}"}


def monitoring_login() -> tuple[str, str]:
    return "admin", secrets()["monitoring_password"].strip()


def data() -> dict[str, object]:
    """What the team would miss."""
    with network_of(HOST):
        header = airflow()
        runs = call("GET", f"{AIRFLOW}/api/v2/dags/train_regmodel/dagRuns", headers=header)["dag_runs"]
        path = f"{AIRFLOW}/api/v2/dags/train_regmodel/dagRuns/{runs[0]['dag_run_id']}/taskInstances/promote"
        experiments = call("POST", f"{MLFLOW}/experiments/search", json={"max_results": 100})["experiments"]
        mlflow_runs = call("POST", f"{MLFLOW}/runs/search", json={"experiment_ids": [one["experiment_id"] for one in experiments]})["runs"]
        versions = call("GET", f"{MLFLOW}/model-versions/search")["model_versions"]
        return {
            "airflow": {path: call("GET", f"{AIRFLOW}/api/v2/{path}", headers=header) for path in KEPT},
            "runs": [(run["dag_run_id"], run["state"], run["end_date"]) for run in runs],
            "return value": call("GET", f"{path}/xcomEntries/return_value", headers=header)["value"],
            "log": "promote" in str(call("GET", f"{path}/logs/1", headers=header)),
            "experiments": sorted(one["name"] for one in experiments),
            "mlflow runs": sorted((run["info"]["run_id"], run["info"]["status"], str(run["data"]["metrics"])) for run in mlflow_runs),
            "versions": sorted((one["version"], one["source"], one["status"]) for one in versions),
            "redis": inside(REDIS.format("GET kept")).strip(),
            "silences": [one["comment"] for one in call("GET", f"{ALERTMANAGER}/silences", auth=monitoring_login())],
        }


def served() -> dict:
    with network_of(HOST):
        model = call("GET", f"{REGMODEL}/ready")["model"]
    return {"name": model["name"], "version": model["version"]}


def first_sample() -> float:
    """When Prometheus has seen itself for the first time in the last day."""
    with network_of(HOST):
        found = call("GET", f"{PROMETHEUS}/api/v1/query", auth=monitoring_login(),
                     params={"query": 'min_over_time(timestamp(up{job="prometheus"})[1d:15s])'})["data"]["result"]
    assert len(found) == 1, found
    return float(found[0]["value"][1])


@pytest.fixture(scope="module")
def before() -> dict:
    """The team's data, once it has left some of its own; told again where these tests run a second time."""
    kept = EPHEMERAL / "before.json"
    if not kept.exists():
        with network_of(HOST):
            header = airflow()
            for where, body in KEPT.values():
                call("POST", f"{AIRFLOW}/api/v2/{where}", headers=header, json=body)
            call("POST", f"{MLFLOW}/experiments/create", json={"name": "kept"})
            call("POST", f"{ALERTMANAGER}/silences", json={
                "matchers": [{"name": "alertname", "value": "Kept", "isRegex": False, "isEqual": True}], "createdBy": "team", "comment": "kept",
                "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2099-01-01T00:00:00Z"})
        assert inside(REDIS.format("SET kept here")).strip() == "OK"
        kept.write_text(json.dumps({
            "data": data(), "served": served(), "secrets": secrets(), "first sample": first_sample(),
            "volumes": inside("docker volume ls --quiet").split(), "services": inside("docker compose ps --services").split()}))
    return json.loads(kept.read_text())


@pytest.fixture(scope="module")
def converged(before) -> str:
    """Output of the first run of this checkout's code, which is given nothing that the team's inventory does not say."""
    return play("site.yml")


def test_the_run_goes_to_its_end_and_the_next_changes_nothing(converged):
    recap = play("site.yml").partition("PLAY RECAP")[2]
    assert "changed=0" in recap and "failed=0" in recap, recap


def test_no_data_is_lost(before, converged):
    after = eventually(data, 120, (AssertionError, requests.RequestException, KeyError))
    assert json.loads(json.dumps(after)) == before["data"]
    assert set(before["volumes"]) <= set(inside("docker volume ls --quiet").split())


def test_what_monitoring_has_seen_is_kept(before, converged):
    assert first_sample() == pytest.approx(before["first sample"], abs=60)


def test_no_secret_is_new(before, converged):
    assert secrets() == before["secrets"]


def test_every_service_runs_on_monitoring_among_them(before, converged):
    assert "prometheus" in before["services"]
    assert set(before["services"]) <= set(inside("docker compose ps --services").split())
    states = inside("docker ps --all --format '{{.Names}} {{.Status}}'").splitlines()
    assert states and all(state.endswith("(healthy)") for state in states), states


def test_the_same_model_is_served(before, converged):
    assert eventually(served, 120, (AssertionError, requests.RequestException, KeyError)) == before["served"]


def test_the_platform_works_on(converged):
    assert "The platform works" in play("playbooks/smoke.yml")
