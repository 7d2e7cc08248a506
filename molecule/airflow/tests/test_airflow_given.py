"""What a team brings as data, as Airflow's clients see it, and the comparison of the containers' secrets."""

import hashlib
import json
import os
import pathlib
import shutil

import pytest
import requests
from conftest import EPHEMERAL, eventually, play
from test_airflow import API, Session, run_to_its_end

DAGS = pathlib.Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "dags"
HUSH = "hush-045"  # begins every secret here
KEY = {"type": "service_account", "project_id": "my-project", "client_email": "a@my-project.iam.gserviceaccount.com",
       "private_key": f"-----BEGIN PRIVATE KEY-----\n{HUSH}9\n-----END PRIVATE KEY-----\n"}


def names(airflow: Session, kind: str, name: str) -> set[str]:
    return {entry[name] for entry in airflow.json("GET", kind)[kind]}


def not_loaded(said: str) -> list[str]:
    """The warnings of a run, each from the name of the file on; Ansible breaks lines between words."""
    told = " ".join(said.split()).split("[WARNING]: Airflow cannot load ")[1:]
    return sorted(line.partition("[WARNING]")[0] for line in told)


def has_dags(*wanted: str) -> None:
    assert names(Session(), "dags", "dag_id") == {*wanted}


@pytest.fixture
def airflow(on_host):
    return Session()


def test_a_task_uses_them(airflow):
    run = run_to_its_end(airflow, "given")
    assert run["state"] == "success"
    used = airflow.json("GET", f"dags/given/dagRuns/{run['dag_run_id']}/taskInstances/use/xcomEntries/return_value")["value"]
    assert used["password"] == hashlib.sha256(f"{HUSH}1".encode()).hexdigest()
    assert (used["extra"], used["variable"]) == ({"sslmode": "require"}, {"colour": "blue"})
    assert "hello" in used["package"]


def test_links_are_those_of_the_public_url(on_host):
    answer = requests.get(f"{API}/", headers={"X-Forwarded-Proto": "https", "Host": "airflow.example.org"}, timeout=10)
    assert answer.status_code == 200
    assert '<base href="/flow/"' in answer.text
    login = requests.get(f"{API}/api/v2/auth/login", allow_redirects=False, timeout=10,
                         headers={"X-Forwarded-Proto": "https", "Host": "airflow.example.org"})
    assert login.status_code in (302, 307) and login.headers["Location"].startswith("https://airflow.example.org/flow/auth/"), login.headers


def test_a_second_run_changes_and_removes_what_is_its_own(airflow, host, tmp_path):
    airflow.json("POST", "pools", name="by_hand", slots=2)
    airflow.json("POST", "variables", key="by_hand", value="mine")
    # Changed by hand, though the data holds it.
    airflow.json("PATCH", "pools/team_pool", name="team_pool", slots=9, include_deferred=False)
    (EPHEMERAL / "secrets/gcp.json").write_text(json.dumps(KEY))
    (tmp_path / "dags").mkdir()
    shutil.copy(DAGS / "greet.py", tmp_path / "dags")
    (tmp_path / "dags/later.py").write_text((DAGS / "greet.py").read_text().replace("greet", "later"))
    shutil.copytree(DAGS.parent / "airflow2", tmp_path / "dags/airflow2")
    (tmp_path / "dags/unclosed.py").write_text("from airflow.sdk import dag\n\n\n@dag(\ndef unclosed():\n    pass\n")
    (tmp_path / "dags/leaves.py").write_text("import os\n\nfrom airflow.sdk import dag  # noqa: F401\n\nos._exit(3)\n")
    given = tmp_path / "given.json"
    given.write_text(json.dumps({
        "airflow_dags_dir": str(tmp_path / "dags"),
        "airflow_connections": {"team_db": {"uri": f"mysql://other:{HUSH}4@db2.internal:3307/x"}},
        "airflow_variables": {"team_secret": f"{HUSH}3"},
        "airflow_pools": {"team_pool": {"slots": 3, "description": "The team's"}, "default_pool": {"slots": 64}}}))
    try:
        said = play("converge.yml", "-vvv", "--diff", "--extra-vars", f"@{given}")
        assert HUSH not in said
        etl, report, warehouse, leaves, unclosed = not_loaded(said)
        assert etl.startswith("airflow2/nightly_etl.py, line 4: ModuleNotFoundError: No module named 'airflow.operators.bash_operator'. For Airflow 3, ")
        assert "use `EmptyOperator` from `airflow.providers.standard.operators.empty`" in etl
        assert report.startswith("airflow2/sales_report.py, line 13: TypeError: ") and "Use `schedule` instead" in report
        assert warehouse.startswith("airflow2/warehouse.py, line 6: ModuleNotFoundError: No module named 'airflow.contrib'")
        assert leaves.startswith("leaves.py: the process that loads it ended with 3 and told nothing")
        assert unclosed.startswith("unclosed.py, line 4: SyntaxError: '(' was never closed")
        changed = airflow.json("GET", "connections/team_db")
        assert [changed[part] for part in ("conn_type", "host", "login", "port", "schema", "extra")] == [
            "mysql", "db2.internal", "other", 3307, "x", None]
        assert names(airflow, "connections", "connection_id") == {"team_db", "google_cloud_default"}
        assert airflow.json("GET", "connections/google_cloud_default")["conn_type"] == "google_cloud_platform"
        assert names(airflow, "variables", "key") == {"team_secret", "by_hand"}
        assert {pool["name"]: pool["slots"] for pool in airflow.json("GET", "pools")["pools"]} == {
            "default_pool": 64, "team_pool": 3, "by_hand": 2}
        for shown in ("docker inspect $(docker ps --all --quiet)", "ps -ef", "cd /opt/mlops && docker compose logs --no-color"):
            assert HUSH not in host.check_output(shown), shown
        # Airflow's own default lets a new file wait for five minutes.
        eventually(lambda: has_dags("greet", "later", "still_served", "train_regmodel"), 90)
    finally:
        (EPHEMERAL / "secrets/gcp.json").unlink()
    # At once, though Airflow still lists the errors of files that are gone.
    assert not_loaded(play()) == []
    assert names(airflow, "connections", "connection_id") == {"team_db", "team_api"}
    # It was there before the data named it.
    assert names(airflow, "pools", "name") == {"default_pool", "team_pool", "team_other", "by_hand"}


def test_a_folder_that_loads_is_not_read_again(host):
    def known() -> None:
        answer = host.check_output("docker exec mlops-airflow-dag-processor-1 /opt/venv/bin/python -I -m mlops_airflow.imports --parse")
        assert json.loads(answer) == {"errors": [], "parsed": False}
    # Until Airflow has forgotten the errors of files that are gone.
    eventually(known, 90)


def test_nothing_to_do_imports_no_airflow(host):
    program = "import sys; from mlops_airflow import database, objects; objects.apply(database.connect()); print('airflow' in sys.modules)"
    assert host.check_output(f'cd /opt/mlops && docker compose exec -T airflow-init /opt/venv/bin/python -I -c "{program}"') == "False"


def test_a_container_with_another_secret_is_named(host, compose):
    file = "/opt/mlops/airflow/secrets/airflow_fernet_key"
    host.check_output(f"cp -p {file} {file}.kept && cp -p {file} {file}.other && echo other >{file}.other && mv {file}.other {file}")
    try:
        compose("restart --timeout 5 airflow-triggerer")
    finally:
        host.check_output(f"mv {file}.kept {file}")
    with pytest.raises(AssertionError, match="airflow-triggerer on mlops-airflow has another core.fernet_key than airflow-init on mlops-airflow and 5 more"):
        play("compare.yml")
    compose("up --detach --force-recreate --no-deps airflow-triggerer")
    play("compare.yml")
