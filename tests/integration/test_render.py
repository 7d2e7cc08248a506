"""Every role's files, rendered for one host and for three."""

import http.server
import json
import pathlib
import stat
import subprocess
import threading

import bcrypt
import pytest
import yaml
from ansible_collections.mlops.stack.plugins.filter.dotenv import from_dotenv
from render_inventories import DISCORD, LOCAL, ONE, THREE, render
from stack_plays import NAME, ODD, modes

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RECEIVERS = ["monitoring_discord_url", "monitoring_smtp_password", "monitoring_webhook_url"]


@pytest.fixture(params=["one", "three"])
def rendered(request):
    return request.getfixturevalue(request.param)


def services(path, host):
    return {name: service for file in sorted((path / host).glob("*/services.yaml")) for name, service in yaml.safe_load(file.read_text())["services"].items()}


def hosts(path):
    """The hosts that have a project: all of the inventory that was rendered."""
    found = sorted(project.parent.name for project in path.glob("*/compose.yaml"))
    assert found and set(found) == set(yaml.safe_load((path / "hosts.yml").read_text())["all"]["hosts"]), found
    return found


def env(path, name):
    return from_dotenv((path / name).read_text())


def worker_checks(path, host):
    return [check for check in json.loads((path / host / "airflow/checks.json").read_text()) if check["name"].startswith("airflow-worker")]


def test_compose_takes_each_project(rendered):
    for host in hosts(rendered):
        subprocess.run(["docker", "compose", "--project-directory", rendered / host, "config", "--quiet"], check=True)


def test_values_reach_their_readers_as_they_are(three):
    read = {}
    for host in ("h1", "h2"):
        told = subprocess.run(["docker", "compose", "--project-directory", three / host, "config", "--format", "json"],
                              check=True, capture_output=True, text=True).stdout
        # It writes each $ so that it could be read again.
        read |= json.loads(told.replace("$$", "$"))["services"]
    logins = {name: service.get("labels", {}).get("stack.mlops.login", "").partition(", /")[0] for name, service in read.items()}
    assert {logins[name] for name in ("airflow-webserver", "flower", "mlflow", "prometheus", "alertmanager")} == {NAME}
    for name in ("postgres-airflow", "prometheus"):
        assert {key: value for key, value in read[name]["environment"].items() if key in ODD} == ODD, name
    assert prometheus(three, "h2")["alerting"]["alertmanagers"][0]["basic_auth"]["username"] == NAME
    mail = yaml.safe_load((three / "h2/monitoring/alertmanager/alertmanager.yml").read_text())["receivers"][1]["email_configs"][0]
    assert mail["auth_username"] == NAME


def test_a_second_rendering_changes_nothing(rendered):
    inventory = yaml.safe_load((rendered / "hosts.yml").read_text())["all"]
    done = render(rendered, inventory)
    assert done.returncode == 0 and "changed=0" in done.stdout and "changed=1" not in done.stdout, done.stdout


def test_every_service_has_what_all_must_have(rendered):
    for host in hosts(rendered):
        found = services(rendered, host)
        assert found, host
        for name, service in found.items():
            assert service["restart"] == "unless-stopped", name
            assert service["pull_policy"] == "never", name
            assert service["cap_drop"] == ["ALL"], name
            assert service["read_only"] is True, name
            assert "no-new-privileges:true" in service["security_opt"], name
            assert service["pids_limit"] and service["mem_limit"] and service["stop_grace_period"], name
            assert service["logging"]["options"]["max-size"], name
            assert service["healthcheck"]["test"], name
            # The firewall's only right is useless to another user.
            assert name == "firewall" or not str(service["user"]).startswith(("0", "root")), name
            assert service["image"].startswith("mlops/"), name


def test_no_secret_stands_in_a_file_that_others_may_read(rendered):
    secrets = [path.read_text().strip() for path in (rendered / "secrets/generated").iterdir()]
    assert len(secrets) >= 6
    for host in hosts(rendered):
        delivered = [path for path in (rendered / host).rglob("*") if path.is_file()]
        private = [path for path in delivered if "secrets" in path.relative_to(rendered).parts]
        assert private and len(delivered) > len(private), host
        for path in set(delivered) - set(private):
            text = path.read_text(errors="replace")
            assert not any(secret in text for secret in secrets), path
        for path in (rendered / host).rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) in modes(path), path


def test_generated_secrets_are_for_the_user_alone(rendered):
    generated = list((rendered / "secrets/generated").iterdir())
    assert generated
    for path in generated:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_one_host_meets_by_name_and_publishes_on_loopback(one):
    found = env(one, "one/mlflow/mlflow.env")
    assert found["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg://mlflow@postgres-airflow:5432/mlflow"
    airflow = env(one, "one/airflow/airflow.env")
    assert airflow["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert airflow["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://airflow-webserver:8080/execution/"
    ports = [port for service in services(one, "one").values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)
    # The seed's login holds while every port is on loopback.
    assert (one / "one/airflow/secrets/airflow_admin_password").read_text() == "admin"


def test_three_hosts_meet_by_address_and_published_port(three):
    assert sorted(path.parent.name for path in three.glob("*/compose.yaml")) == ["h1", "h2", "h3"]
    assert env(three, "h2/mlflow/mlflow.env")["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg://mlflow@10.0.0.1:15432/mlflow"
    for host in ("h2", "h3"):
        airflow = env(three, host + "/airflow/airflow.env")
        assert airflow["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://10.0.0.1:8081/execution/"
        assert list(services(three, host))[0] == "airflow-worker"
    assert env(three, "h3/airflow/airflow.env")["MLFLOW_TRACKING_URI"] == "http://10.0.0.2:5000"
    # On h2 both are on one host and meet by name.
    assert env(three, "h2/airflow/airflow.env")["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    keys = {host: (three / host / "airflow/secrets/airflow_fernet_key").read_text() for host in ("h1", "h2", "h3")}
    assert len(set(keys.values())) == 1
    assert (three / "h1/airflow/secrets/airflow_admin_password").read_text() != "admin"
    assert not (three / "h3/airflow/secrets/airflow_admin_password").exists()
    assert [check["url"] for check in worker_checks(three, "h3")] == [f"http://10.0.0.1:5555/api/workers?{asked}" for asked in ("status=1", "refresh=1")]


def test_a_remote_workers_log_name_and_queue_are_its_own(three):
    worker = services(three, "h3")["airflow-worker"]
    assert worker["environment"] == {"MLOPS_HOSTNAME": "10.0.0.3"} and worker["ports"] == ["10.0.0.3:8793:8793"]
    assert worker["command"] == ["worker", "--queues", "default,host-h3", "--celery-hostname", "celery@h3"]
    assert services(three, "h1")["airflow-triggerer"]["ports"] == ["10.0.0.1:8794:8794"]
    workers = [(three / host / "airflow/dags/canary_workers.json").read_text() for host in ("h1", "h2", "h3")]
    assert len(set(workers)) == 1 and json.loads(workers[0]) == {"h2": "host-h2", "h3": "host-h3"}


def test_one_host_on_loopback_lets_nobody_in_and_has_no_canary(one):
    rules = (one / "one/firewall/rules/mlops.nft").read_text()
    assert "saddr" not in rules and "ip daddr 127.0.0.1 tcp dport { 3000, 5000," in rules
    assert 'fib daddr oifname { "mlops", "mlops-cloud-sql", "mlops-identity" } drop' in rules
    assert '"com.docker.network.bridge.name": "mlops"}' in json.dumps(yaml.safe_load((one / "one/compose.yaml").read_text())["networks"]["default"])
    assert not (one / "one/airflow/dags/canary_workers.json").exists()
    worker = services(one, "one")["airflow-worker"]
    assert worker["command"] == ["worker", "--queues", "default"] and "ports" not in worker


def test_dags_that_differ_between_hosts_are_named(three):
    stray = three / "h3/airflow/dags/by_hand.py"
    stray.write_text("")
    try:
        done = render(three, THREE, "--tags", "airflow")
        assert done.returncode != 0
        assert "h3 and h1 have not the same DAGs: by_hand.py" in done.stdout + done.stderr
    finally:
        stray.unlink()


def test_a_changed_secret_changes_only_the_services_that_read_it(one):
    before = services(one, "one")
    assert render(one, ONE, "-e", "airflow_redis_password=another-one").returncode == 0
    after = services(one, "one")
    assert {name for name in before if before[name] != after[name]} == {name for name in before if "airflow_broker_url" in before[name].get("secrets", [])}
    assert before["mlflow"] == after["mlflow"]


def test_a_database_on_the_same_host_stops_last(one, three):
    assert services(one, "one")["mlflow"]["depends_on"] == ["postgres-airflow"]
    assert services(one, "one")["airflow-worker"]["depends_on"] == ["postgres-airflow", "redis-airflow"]
    assert services(three, "h3")["airflow-worker"]["depends_on"] == []


def test_what_is_given_is_not_made_up(tmp_path):
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "secrets/.env").write_text("MLFLOW_DB_PASSWORD=from-the-file\nGF_SECURITY_ADMIN_PASSWORD=x\nMLFLOW_DB_NAME=models\nMLFLOW_DB_USER=fred\n")
    inventory = {**ONE, "vars": {"with_monitoring": "true", "mlflow_db_user": "anna", "infra_redis_password": "one broker/for all"}}
    assert render(tmp_path, inventory).returncode == 0
    assert env(tmp_path, "one/mlflow/mlflow.env")["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg://anna@postgres-airflow:5432/models"
    holders = [path.name for path in (tmp_path / "one").rglob("*") if path.is_file() and "from-the-file" in path.read_text(errors="replace")]
    assert holders == ["mlflow_pgpass"]
    made = {path.name for path in (tmp_path / "secrets/generated").iterdir()}
    assert "postgres_password" in made and not made & {"mlflow_db_password", "grafana_admin_password", "redis_password"}
    assert "redis://:one%20broker%2Ffor%20all@" in (tmp_path / "one/airflow/secrets/airflow_broker_url").read_text()
    assert "one broker/for all" not in (tmp_path / "one/monitoring/secrets/monitoring_redis_passwords").read_text()  # it has a login of its own


def test_a_missing_group_names_the_variable_to_set(tmp_path):
    inventory = {"hosts": {"one": LOCAL}, "children": {"mlflow": {"hosts": {"one": {}}}}}
    done = render(tmp_path, inventory)
    assert done.returncode != 0
    assert "no host is in group infra" in done.stdout + done.stderr
    done = render(tmp_path, inventory, "-e", "mlflow_db_host=db.internal", "-e", "mlflow_db_port=5432")
    assert done.returncode == 0, done.stdout
    assert "@db.internal:5432/" in env(tmp_path, "one/mlflow/mlflow.env")["MLFLOW_BACKEND_STORE_URI"]


def prometheus(path, host):
    return yaml.safe_load((path / host / "monitoring/prometheus/prometheus.yml").read_text())


def targets(path, host):
    """(target, instance) of each job."""
    return {file.stem: [(row["targets"][0], row["labels"]["instance"]) for row in json.loads(file.read_text())]
            for file in (path / host / "monitoring/prometheus/targets").iterdir()}


def test_one_host_is_watched_by_name_and_only_alertmanager_asks_for_a_login(one):
    found = targets(one, "one")
    assert found["node"] == [("node-exporter:9100", "one")]
    assert found["airflow"] == [("airflow-exporter:9112", "one")]
    assert ("http://airflow-webserver:8080/api/v2/monitor/health", "one") in found["probe"]
    assert sorted(found) == sorted(job["job_name"] for job in prometheus(one, "one")["scrape_configs"])
    assert [job["job_name"] for job in prometheus(one, "one")["scrape_configs"] if "basic_auth" in job] == ["alertmanager"]
    assert "ports" not in services(one, "one")["node-exporter"]
    assert yaml.safe_load((one / "one/monitoring/alertmanager/alertmanager.yml").read_text())["route"]["receiver"] == "nobody"


def test_three_hosts_are_watched_from_one_by_address(three):
    assert [name for name in services(three, "h3") if not name.startswith("airflow")] == ["firewall", "node-exporter"]
    assert sorted(path.name for path in (three / "h3/monitoring").iterdir()) == [".delivered.json", "checks.json", "services.yaml"]
    found = targets(three, "h2")
    assert found["node"] == [("10.0.0.1:9100", "h1"), ("node-exporter:9100", "h2"), ("10.0.0.3:9100", "h3")]
    assert found["airflow"] == [("10.0.0.1:9112", "h1")] and found["mlflow"] == [("mlflow:5000", "h2")]
    assert services(three, "h1")["node-exporter"]["ports"] == ["10.0.0.1:9100:9100"]
    exporters = services(three, "h2")
    assert exporters["postgres-exporter"]["environment"]["DATA_SOURCE_URI"].startswith("10.0.0.1:15432/airflow?")
    assert "--check-single-keys=db0=default,db0=gpu,db0=host-h2,db0=host-h3" in exporters["redis-exporter"]["command"]


def test_off_loopback_prometheus_and_alertmanager_want_a_password(three):
    password = (three / "secrets/generated/monitoring_password").read_text().strip()
    for name in ("monitoring_web", "monitoring_alertmanager_web"):
        users = yaml.safe_load((three / "h2/monitoring/secrets" / name).read_text())["basic_auth_users"]
        assert bcrypt.checkpw(password.encode(), users[NAME].encode())
    with_login = {job["job_name"] for job in prometheus(three, "h2")["scrape_configs"] if "basic_auth" in job}
    assert with_login == {"prometheus", "alertmanager", "mlflow"}
    assert prometheus(three, "h2")["alerting"]["alertmanagers"][0]["basic_auth"]["password_file"] == "/run/secrets/monitoring_password"
    assert all(port.startswith("10.0.0.2:") for port in services(three, "h2")["prometheus"]["ports"])


def test_what_receivers_are_reached_by_stands_in_secret_files_only(three):
    holders = [path for path in three.rglob("*") if path.is_file() and "hush" in path.read_text(errors="replace")]
    assert sorted(path.name for path in holders if path.name != "hosts.yml") == RECEIVERS
    assert set(RECEIVERS) < set(services(three, "h2")["alertmanager"]["secrets"])
    team = yaml.safe_load((three / "h2/monitoring/alertmanager/alertmanager.yml").read_text())["receivers"][1]
    assert sorted(team) == ["discord_configs", "email_configs", "name", "webhook_configs"]


def test_rules_and_targets_recreate_nothing(one):
    file = one / "one/monitoring/services.yaml"
    before = file.read_text()
    changed = render(one, ONE, "-e", json.dumps({"monitoring_alert_for": {"*": "1s"}, "monitoring_group_wait": "1s"}), "--tags", "monitoring")
    assert changed.returncode == 0, changed.stdout
    assert file.read_text() == before
    rules = yaml.safe_load((one / "one/monitoring/prometheus/rules/availability.yml").read_text())["groups"][0]["rules"]
    assert {rule["for"] for rule in rules if "alert" in rule} == {"1s"}


def test_files_that_the_product_refuses_are_not_put_in_place(one):
    before = (one / "one/monitoring/prometheus/prometheus.yml").read_text()
    refused = render(one, ONE, "-e", "monitoring_scrape_interval=soon", "--tags", "monitoring")
    assert refused.returncode != 0
    assert "the new files in monitoring/prometheus are refused, nothing was changed" in refused.stdout + refused.stderr
    assert (one / "one/monitoring/prometheus/prometheus.yml").read_text() == before


@pytest.fixture
def grafana():
    """A server that answers as Grafana's health endpoint does; its port."""
    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/api/health" else 404)
            self.end_headers()
            self.wfile.write(b'{"database": "ok", "version": "12.4.3", "commit": "0"}')

        def log_message(self, *_args):
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_where_its_image_is_grafana_is_provisioned(tmp_path, grafana):
    # Rendered only, so that any image that is there will do.
    done = render(tmp_path, ONE, "-e", "monitoring_grafana_image={{ mlops_images.redis }}", "-e", f"monitoring_grafana_port={grafana}",
                  "-e", f"monitoring_auth=true monitoring_discord_webhook_url={DISCORD}", "--tags", "monitoring")
    assert done.returncode == 0, done.stdout
    role = tmp_path / "one/monitoring"
    provisioned = {path.stem: yaml.safe_load(path.read_text()) for path in (role / "grafana/provisioning").glob("*/*.yml")}
    assert {document["apiVersion"] for document in provisioned.values()} == {1}
    datasource, = provisioned["prometheus"]["datasources"]
    assert (datasource["uid"], datasource["type"], datasource["url"]) == ("mlops-prometheus", "prometheus", "http://prometheus:9090")
    assert datasource["secureJsonData"] == {"basicAuthPassword": "$__file{/run/secrets/monitoring_grafana_datasource}"}
    receiver, = provisioned["contact-points"]["contactPoints"][0]["receivers"]
    assert (receiver["type"], receiver["settings"]) == ("discord", {"url": "$__file{/run/secrets/monitoring_grafana_discord_url}"})
    service = services(tmp_path, "one")["grafana"]
    assert {"monitoring_grafana_password", "monitoring_grafana_datasource", "monitoring_grafana_discord_url"} == set(service["secrets"])
    # What is named as home and as the provider's path is what is mounted there.
    assert "./grafana/dashboards:/etc/grafana/dashboards:ro" in service["volumes"]
    assert provisioned["mlops"]["providers"][0]["options"]["path"] == "/etc/grafana/dashboards"
    home = role / "grafana/dashboards" / pathlib.Path(service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]).name
    assert json.loads(home.read_text())["uid"] == "mlops-overview"
    check = next(check for check in json.loads((role / "checks.json").read_text()) if check["name"] == "grafana")
    del check["container"]
    asked = subprocess.run(["ansible", "localhost", "-m", "mlops.stack.wait_healthy", "-a", json.dumps({"checks": [check], "timeout": 10})],
                           cwd=ROOT, capture_output=True, text=True, check=False)
    assert asked.returncode == 0, asked.stdout


def test_without_monitoring_nothing_of_it_is_there(tmp_path):
    assert render(tmp_path, ONE, "-e", "with_monitoring=false").returncode == 0
    assert not (tmp_path / "one/monitoring").exists()
    assert "airflow-exporter" not in services(tmp_path, "one")
