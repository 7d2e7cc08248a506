"""Who may call what: logins at MLflow and the API key, public URLs; and what a team adds to services, rendered for hosts that others reach."""

import configparser
import json
import subprocess

import pytest
import yaml
from render_inventories import rendered_once
from test_render import LOCAL, ONE, env, prometheus, render, services

# The database's host, MLflow's, and one that has all of their clients.
HOSTS = {"db": "10.0.0.1", "ml": "10.0.0.2", "app": "10.0.0.3"}
EXPOSED = {
    "hosts": {name: {**LOCAL, "mlops_address": address} for name, address in HOSTS.items()},
    "children": {"infra": {"hosts": {"db": {}}}, "mlflow": {"hosts": {"ml": {}}},
                 **{group: {"hosts": {"app": {}}} for group in ("regmodel", "airflow", "airflow_worker", "monitoring")}},
    "vars": {
        "with_monitoring": "true", "mlflow_port": 5055, "mlflow_public_url": "https://mlflow.example.org", "mlflow_default_permission": "NO_PERMISSIONS",
        "mlflow_auth_db_host": "logins.internal", "mlflow_users": [{"name": "anna", "password": "annas-pass%word", "permission": "MANAGE"}],
        "regmodel_auth": True, "regmodel_public_url": "https://example.org/reg",
        "infra_postgres_environment": {"TZ": "a$b"}, "infra_postgres_volumes": ["spare:/spare"], "infra_redis_volumes": ["/srv/redis:/srv:ro"],
        "infra_redis_memory": "1.5g", "airflow_worker_stop_grace": 7200,
        "mlflow_volumes": ["plugins:/plugins:ro"], "regmodel_volumes": ["models:/models", "./local:/local"],
        "monitoring_environment": {"prometheus": {"GOGC": "50"}, "node-exporter": {"A": "b"}},
        "monitoring_volumes": {"prometheus": ["history:/history"], "redis-exporter": ["/srv/tls:/tls:ro"]},
    },
}


@pytest.fixture(scope="module")
def exposed(tmp_path_factory):
    return rendered_once(tmp_path_factory.mktemp("exposed"), EXPOSED)


def secret(path, host, role, name):
    return (path / host / role / "secrets" / name).read_text()


def made(path, name):
    return (path / "secrets/generated" / name).read_text().strip()


def compose(path, host, role):
    return yaml.safe_load((path / host / role / "services.yaml").read_text())


def test_off_loopback_mlflow_asks_for_a_login(exposed):
    service = services(exposed, "ml")["mlflow"]
    assert service["command"][-2:] == ["--app-name", "basic-auth"]
    assert sorted(service["secrets"]) == ["mlflow_auth_config", "mlflow_pgpass", "mlflow_secret_key", "mlflow_users"]
    config = configparser.ConfigParser()
    config.read_string(secret(exposed, "ml", "mlflow", "mlflow_auth_config"))
    assert config["mlflow"]["database_uri"] == "postgresql+psycopg://mlflow_auth@logins.internal:5432/mlflow_auth"
    assert (config["mlflow"]["admin_username"], config["mlflow"]["default_permission"]) == ("admin", "NO_PERMISSIONS")
    users = {user["name"]: (user["permission"], user["password"]) for user in json.loads(secret(exposed, "ml", "mlflow", "mlflow_users"))}
    assert users == {
        "admin": ("ADMIN", made(exposed, "mlflow_admin_password")), "anna": ("MANAGE", "annas-pass%word"),
        "trainer": ("EDIT", made(exposed, "mlflow_trainer_password")), "regmodel": ("READ", made(exposed, "mlflow_regmodel_password")),
        "monitoring": ("ADMIN", made(exposed, "mlflow_monitoring_password"))}
    # Each of the two databases has its own role and password.
    assert secret(exposed, "ml", "mlflow", "mlflow_pgpass").splitlines() == [
        f"*:*:*:{name}:{made(exposed, password)}" for name, password in (("mlflow", "mlflow_db_password"), ("mlflow_auth", "mlflow_auth_db_password"))]
    check, = json.loads((exposed / "ml/mlflow/checks.json").read_text())
    assert (check["username"], check["password_file"]) == ("admin", str(exposed / "ml/mlflow/secrets/mlflow_admin_password"))


def test_every_client_of_mlflow_has_a_login_of_its_own(exposed):
    credentials = configparser.ConfigParser()
    credentials.read_string(secret(exposed, "app", "airflow", "airflow_mlflow_credentials"))
    assert dict(credentials["mlflow"]) == {"mlflow_tracking_username": "trainer", "mlflow_tracking_password": made(exposed, "mlflow_trainer_password")}
    mounted = {"source": "airflow_mlflow_credentials", "target": "/tmp/.mlflow/credentials"}
    holders = {name for name, service in services(exposed, "app").items() if mounted in service.get("secrets", [])}
    assert holders == {"airflow-worker", "airflow-scheduler", "airflow-triggerer"}
    found = env(exposed, "app/regmodel/regmodel.env")
    assert (found["MLFLOW_TRACKING_USERNAME"], found["MLFLOW_TRACKING_PASSWORD_FILE"]) == ("regmodel", "/run/secrets/regmodel_mlflow_password")
    assert secret(exposed, "app", "regmodel", "regmodel_mlflow_password") == made(exposed, "mlflow_regmodel_password")
    job = next(job for job in prometheus(exposed, "app")["scrape_configs"] if job["job_name"] == "mlflow")
    assert job["basic_auth"] == {"username": "monitoring", "password_file": "/run/secrets/monitoring_mlflow_password"}
    assert "monitoring_mlflow_password" in services(exposed, "app")["prometheus"]["secrets"]
    assert secret(exposed, "app", "monitoring", "monitoring_mlflow_password") == made(exposed, "mlflow_monitoring_password")


def test_mlflow_serves_the_names_that_its_clients_use_and_no_other(exposed):
    found = env(exposed, "ml/mlflow/mlflow.env")
    assert set(found["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")) == {
        "mlflow:5000", "localhost:5055", "127.0.0.1:5055", "ml:5055", "10.0.0.2:5055", "mlflow.example.org"}
    assert set(found["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"].split(",")) == {
        "http://localhost:5055", "http://127.0.0.1:5055", "http://ml:5055", "http://10.0.0.2:5055",
        "https://mlflow.example.org"}
    assert env(exposed, "app/regmodel/regmodel.env")["MLFLOW_TRACKING_URI"] == "http://10.0.0.2:5055"


def test_regmodels_key_stands_in_a_file(exposed):
    found = env(exposed, "app/regmodel/regmodel.env")
    assert (found["REGMODEL_API_KEY_FILE"], found["REGMODEL_PUBLIC_URL"]) == ("/run/secrets/regmodel_api_key", "https://example.org/reg")
    assert secret(exposed, "app", "regmodel", "regmodel_api_key") == made(exposed, "regmodel_api_key")
    assert "regmodel_api_key" in services(exposed, "app")["regmodel-backend"]["secrets"]


def test_public_urls_are_what_the_table_of_services_shows(exposed):
    shown = {name: service["labels"]["stack.mlops.url"] for host in ("ml", "app") for name, service in services(exposed, host).items()
             if name in ("mlflow", "regmodel-backend")}
    assert shown == {"mlflow": "https://mlflow.example.org", "regmodel-backend": "https://example.org/reg"}


def test_environment_and_volumes_of_the_team_reach_their_services(exposed):
    infra = compose(exposed, "db", "infra")
    assert infra["services"]["postgres-airflow"]["env_file"] == ["postgres-airflow.env"]
    assert env(exposed, "db/infra/postgres-airflow.env") == {
        "PGDATA": "/var/lib/postgresql/data", "POSTGRES_PASSWORD_FILE": "/run/secrets/postgres_password", "TZ": "a$b"}
    assert infra["services"]["postgres-airflow"]["volumes"][-1] == "spare:/spare"
    assert infra["services"]["redis-airflow"]["volumes"][-1] == "/srv/redis:/srv:ro"
    assert list(infra["volumes"]) == ["postgres-data", "redis-data", "spare"]
    assert list(compose(exposed, "ml", "mlflow")["volumes"]) == ["mlflow-artifacts", "mlflow-tmp", "plugins"]
    regmodel = compose(exposed, "app", "regmodel")
    assert (regmodel["services"]["regmodel-backend"]["volumes"], list(regmodel["volumes"])) == (["models:/models", "./local:/local"], ["models"])
    monitoring = compose(exposed, "app", "monitoring")
    assert env(exposed, "app/monitoring/prometheus.env") == {"GOGC": "50"}
    assert list(monitoring["volumes"]) == ["prometheus-data", "alertmanager-data", "history"]
    # A component that is not on the host brings no volume there.
    assert env(exposed, "db/monitoring/node-exporter.env") == {"A": "b"}
    assert "volumes" not in compose(exposed, "db", "monitoring")
    for host in HOSTS:
        subprocess.run(["docker", "compose", "--project-directory", exposed / host, "config", "--quiet"], check=True)


def test_on_loopback_nothing_asks(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/Dockerfile").write_text("ARG PYTHON\nFROM ${PYTHON}\n")
    inventory = {**ONE, "vars": {"regmodel_source_dir": str(tmp_path / "own")}}
    assert render(tmp_path, inventory, "--tags", "infra,mlflow,airflow,regmodel").returncode == 0
    assert "basic-auth" not in services(tmp_path, "one")["mlflow"]["command"]
    assert sorted(path.name for path in (tmp_path / "one/mlflow/secrets").iterdir()) == ["mlflow_pgpass"]
    assert not (tmp_path / "one/airflow/secrets/airflow_mlflow_credentials").exists()
    # The team's own RegModel: its folder is the build context on the host, and its content makes the image's name.
    assert [path.name for path in (tmp_path / "one/regmodel/build").iterdir()] == ["Dockerfile"]
    before = services(tmp_path, "one")["regmodel-backend"]
    assert before["image"].startswith("mlops/regmodel:own-")
    assert {"PYTHON", "BUILDER"} == before["build"]["args"].keys()
    (tmp_path / "own/app.py").write_text("print()")
    assert render(tmp_path, inventory, "--tags", "regmodel").returncode == 0
    assert services(tmp_path, "one")["regmodel-backend"]["image"] != before["image"]


def test_redis_stops_short_of_its_containers_memory_and_monitoring_reads_figures_only(exposed):
    found = secret(exposed, "db", "infra", "redis.conf").splitlines()
    assert {"maxmemory 805306368", "maxmemory-policy noeviction", "appendonly yes", 'save ""'} <= set(found)
    rights = next(line for line in found if line.startswith("user monitoring on #"))
    assert " resetchannels %R~* -@all +ping " in rights and made(exposed, "postgres_monitoring_password") not in rights
    service = services(exposed, "db")["redis-airflow"]
    assert service["mem_limit"] == "1.5g"
    assert service["entrypoint"] == ["sh", "/etc/mlops/redis/start", "docker-entrypoint.sh"] and (exposed / "db/infra/redis/start").is_file()
    logins = json.loads(secret(exposed, "app", "monitoring", "monitoring_redis_passwords"))
    assert logins == {"redis://monitoring@10.0.0.1:6379": made(exposed, "postgres_monitoring_password")}
    assert {"--redis.user=monitoring", "--config-command=-"} <= set(services(exposed, "app")["redis-exporter"]["command"])


def test_a_worker_has_the_time_that_its_variable_says(exposed):
    graces = {name: service["stop_grace_period"] for name, service in services(exposed, "app").items()}
    assert graces["airflow-worker"] == "7200s" and graces["airflow-triggerer"] == "30s"


def test_every_part_of_monitoring_has_a_user_of_its_own(exposed):
    users = {name: service["user"].split(":")[0] for name, service in services(exposed, "app").items()}
    parts = ["prometheus", "alertmanager", "node-exporter", "postgres-exporter", "redis-exporter", "blackbox-exporter"]
    assert users["prometheus"] == "65534" and [user for name, user in users.items() if name not in parts and user in map(users.get, parts)] == []
    assert len({users[name] for name in parts}) == len(parts)


def test_alertmanager_wants_a_password_in_every_mode(one):
    """Its API takes orders from every page that a browser of the host shows."""
    found = services(one, "one")
    assert "--web.config.file=/run/secrets/monitoring_alertmanager_web" in found["alertmanager"]["command"]
    assert not [word for word in found["prometheus"]["command"] if word.startswith(("--web.config", "--web.enable"))]
    assert {job["job_name"] for job in prometheus(one, "one")["scrape_configs"] if "basic_auth" in job} == {"alertmanager"}
    assert prometheus(one, "one")["alerting"]["alertmanagers"][0]["basic_auth"]["password_file"] == "/run/secrets/monitoring_password"
    checks = {check["name"]: check for check in json.loads((one / "one/monitoring/checks.json").read_text())}
    assert checks["alertmanager"]["password_file"] == str(one / "one/monitoring/secrets/monitoring_password")
