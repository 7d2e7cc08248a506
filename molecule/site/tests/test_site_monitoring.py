"""Whether monitoring sees what goes wrong and tells it: faults are made, and what arrives at a Discord-shaped receiver is read."""

import contextlib
import http.server
import importlib
import json
import pathlib
import threading

import pytest
import requests
from conftest import PROMETHEUS, asked, eventually, play, value

ROOT = pathlib.Path(__file__).resolve().parents[3]
JOBS = {"prometheus", "alertmanager", "node", "postgres", "redis", "airflow", "flower", "mlflow", "regmodel", "blackbox", "probe"}
MLFLOW = "http://127.0.0.1:5000/api/2.0/mlflow/registered-models"
# As converge.yml has it.
PORT = 19093
# test-alert.yml wants to know who is told; what Alertmanager has is on the host.
WITH_DISCORD = ("--extra-vars", "monitoring_discord_webhook_url=http://discord.example/")


class Discord(http.server.ThreadingHTTPServer):
    """Takes what Discord's webhooks take: JSON with embeds, each of which has a title and a description within Discord's limits."""

    allow_reuse_address = True

    def __init__(self):
        self.messages = []
        self.refuse = False
        super().__init__(("0.0.0.0", PORT), Webhook)

    @contextlib.contextmanager
    def refusing(self):
        self.refuse = True
        try:
            yield
        finally:
            self.refuse = False

    def told(self, status, alert):
        return any(message["title"].startswith(status) and alert in message["title"] for message in self.messages)


class Webhook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        good = self.path == "/api/webhooks/1/token" and all(
            0 < len(embed["title"]) <= 256 and 0 < len(embed["description"]) <= 4096 for embed in body["embeds"])
        if good and not self.server.refuse:
            self.server.messages += body["embeds"]
        self.send_response(400 if not good or self.server.refuse else 204)
        self.end_headers()

    def log_message(self, *_args):
        """Quiet."""


@pytest.fixture(scope="module")
def discord():
    with Discord() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@contextlib.contextmanager
def alert(discord, name):
    """The body makes a fault, calls what it is given to see the alert of this name arrive at Discord, and repairs the fault;
    then the alert must be taken back there."""
    def arrives(status):
        def told():
            assert discord.told(status, name), f"no {status} {name} among {[message['title'] for message in discord.messages]}"
        eventually(told, 90)

    discord.messages[:] = [message for message in discord.messages if name not in message["title"]]
    yield lambda: arrives("FIRING")
    arrives("RESOLVED")


def started(host, name):
    return host.check_output(f"docker inspect --format '{{{{.State.StartedAt}}}}' mlops-{name}-1")


def test_every_job_is_up(on_host):
    def all_up():
        targets = asked("targets", state="active")["activeTargets"]
        assert {target["labels"]["job"] for target in targets} == JOBS
        assert {target["labels"]["instance"] for target in targets} == {"mlops-site"}
        assert not [target for target in targets if target["health"] != "up"]
    eventually(all_up)


def test_every_expression_has_an_answer(on_host, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tests/integration/monitoring")
    assert not importlib.import_module("monitoring_expressions").unanswered(PROMETHEUS)


@pytest.mark.parametrize("page", ["overview", "airflow", "regmodel", "databases", "hosts"])
def test_console_page_is_served(on_host, page):
    answer = requests.get(f"{PROMETHEUS}/consoles/{page}.html", timeout=10)
    assert answer.status_code == 200 and "error executing template" not in answer.text


def test_login_of_the_exporter_reads_no_more_than_it_needs(compose):
    """Its own columns, and none of Airflow's connections."""
    exec_sql = "exec -T postgres-airflow psql -U postgres -d airflow -c \"SET ROLE monitoring\" -tAc"
    assert compose(f"{exec_sql} \"SELECT count(*) >= 0 FROM (SELECT latest_heartbeat FROM job) x\"").strip().endswith("t")
    with pytest.raises(AssertionError, match="permission denied"):
        compose(f"{exec_sql} \"SELECT count(*) FROM connection\"")


def test_what_a_cut_off_run_did_not_load_is_loaded_by_the_next_which_leaves_no_mark(on_host):
    before, loaded = value("max(mlops_deploy_timestamp_seconds)"), value("prometheus_config_last_reload_success_timestamp_seconds")
    assert {row["metric"]["role"] for row in asked("query", query="mlops_deploy_timestamp_seconds")["result"]} >= {"infra", "airflow", "monitoring"}
    on_host.check_output("touch /opt/mlops/monitoring/prometheus/rules/hosts.yml")
    assert "changed=1 " in play("converge.yml", "--tags", "monitoring")
    eventually(lambda: value(f"prometheus_config_last_reload_success_timestamp_seconds > {loaded}"))
    assert value("max(mlops_deploy_timestamp_seconds)") == before


def test_alert_reaches_discord_and_a_refusal_is_told(on_host, discord):
    playbook = str(ROOT / "playbooks/test-alert.yml")
    assert "The test alert arrived by discord" in play(playbook, *WITH_DISCORD)
    assert discord.told("FIRING", "MlopsTestAlert")
    with discord.refusing(), pytest.raises(AssertionError, match="did not arrive by discord"):
        play(playbook, *WITH_DISCORD)
    with pytest.raises(AssertionError, match="No receiver is configured"):
        play(playbook)
    assert "webhooks/1/token" not in on_host.check_output("cd /opt/mlops && docker compose logs alertmanager")
    assert "webhooks/1/token" not in on_host.check_output("grep -r '' /opt/mlops/monitoring --exclude-dir=secrets")


def test_stopped_worker_and_waiting_tasks_are_told(on_host, compose, discord):
    with alert(discord, "AirflowNoWorker") as fires:
        compose("stop airflow-worker")
        fires()
        compose("exec -T airflow-scheduler airflow dags trigger train_regmodel")
        eventually(lambda: value('redis_key_size{key="default"} > 0'), 90)
        with alert(discord, "AirflowQueueOld") as fires:
            compose("exec -T postgres-airflow psql -U postgres -d airflow -c "
                    "\"UPDATE task_instance SET queued_dttm = queued_dttm - interval '6 minutes' WHERE state = 'queued'\"")
            fires()
            compose("start airflow-worker")


def test_removed_model_is_told(on_host, compose, discord):
    version = requests.get(f"{MLFLOW}/alias?name=regmodel&alias=champion", timeout=10).json()["model_version"]["version"]
    with alert(discord, "RegModelNoModel") as fires:
        requests.delete(f"{MLFLOW}/alias", json={"name": "regmodel", "alias": "champion"}, timeout=10).raise_for_status()
        compose("restart regmodel-backend")
        fires()
        requests.post(f"{MLFLOW}/alias", json={"name": "regmodel", "alias": "champion", "version": version}, timeout=10).raise_for_status()


def test_stopped_database_is_told(on_host, compose, discord):
    with alert(discord, "PostgresDown") as fires:
        compose("stop postgres-airflow")
        fires()
        compose("start postgres-airflow")


def test_the_teams_rules_are_taken_up_without_a_restart(on_host, tmp_path):
    """New hosts are, too: the scenario cluster adds one."""
    (tmp_path / "own.yml").write_text("groups: [{name: own, rules: [{record: own, expr: vector(1)}]}]")
    before = started(on_host, "prometheus"), started(on_host, "alertmanager")
    play("converge.yml", "--tags", "monitoring", "--extra-vars", f"monitoring_rules_dir={tmp_path}")
    eventually(lambda: value("own"))
    assert (started(on_host, "prometheus"), started(on_host, "alertmanager")) == before


def test_switched_off_it_is_gone_and_its_data_is_kept(on_host):
    play("converge.yml", "--extra-vars", "with_monitoring=false")
    running = on_host.check_output("docker ps --all --format '{{.Names}}'")
    assert "mlops-regmodel-backend-1" in running
    assert not [name for name in ("prometheus", "alertmanager", "exporter", "grafana") if name in running]
    assert "mlops_prometheus-data" in on_host.check_output("docker volume ls --quiet")
