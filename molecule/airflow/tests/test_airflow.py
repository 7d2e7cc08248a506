"""Airflow by its public API, its worker by Flower, and its start in whatever order the parts come up."""

import psycopg
import pytest
import redis
import requests
from conftest import EPHEMERAL, NOT_MIGRATED, eventually, play, secret
from doors import VISITORS, table, tried

API = "http://127.0.0.1:8081/flow"
FLOWER = "http://127.0.0.1:5555"


class Session(requests.Session):
    """Airflow's API with a token of the admin user."""

    def __init__(self) -> None:
        super().__init__()
        answer = self.post(f"{API}/auth/token", json={"username": "admin", "password": "admin"}, timeout=10)
        answer.raise_for_status()
        self.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def json(self, method: str, path: str, **body) -> dict:
        answer = self.request(method, f"{API}/api/v2/{path}", json=body or None, timeout=30)
        answer.raise_for_status()
        return answer.json()


@pytest.fixture
def airflow(on_host):
    return Session()


def run_to_its_end(airflow: Session, dag: str = "greet") -> dict:
    """A new run of a DAG, once it has ended."""
    eventually(lambda: airflow.json("GET", f"dags/{dag}"), timeout=60, errors=(requests.HTTPError,))
    airflow.json("PATCH", f"dags/{dag}", is_paused=False)
    run_id = airflow.json("POST", f"dags/{dag}/dagRuns", logical_date=None)["dag_run_id"]

    def ended() -> dict:
        run = airflow.json("GET", f"dags/{dag}/dagRuns/{run_id}")
        assert run["state"] in ("success", "failed"), run
        return run
    return eventually(ended, timeout=120)


def all_healthy() -> None:
    health = requests.get(f"{API}/api/v2/monitor/health", timeout=10).json()
    assert {part: state["status"] for part, state in health.items()} == dict.fromkeys(
        ("metadatabase", "scheduler", "triggerer", "dag_processor"), "healthy")


def test_wrong_password_gets_no_token(on_host):
    assert requests.post(f"{API}/auth/token", json={"username": "admin", "password": "wrong"}, timeout=10).status_code == 401


def test_every_dag_is_parsed(airflow):
    assert {dag["dag_id"] for dag in airflow.json("GET", "dags")["dags"]} == {"given", "greet", "mapped", "train_regmodel"}
    assert airflow.json("GET", "importErrors")["total_entries"] == 0


def test_run_succeeds_on_the_worker_and_its_log_is_read(airflow):
    run = run_to_its_end(airflow)
    assert run["state"] == "success"
    task = f"dags/greet/dagRuns/{run['dag_run_id']}/taskInstances/say"
    assert airflow.json("GET", f"{task}/xcomEntries/return_value")["value"] == "hello worker"
    assert "hello worker, from a task's log" in str(airflow.json("GET", f"{task}/logs/1"))


def test_flower_sees_the_worker_and_asks_for_a_login(on_host):
    login = ("admin", secret("airflow_flower_password"))
    workers = requests.get(f"{FLOWER}/api/workers?refresh=1", auth=login, timeout=30).json()
    assert list(workers) == ["celery@airflow-worker"]
    assert [queue["name"] for queue in workers["celery@airflow-worker"]["active_queues"]] == ["default"]
    refused = {path: requests.get(f"{FLOWER}/{path}", timeout=30).status_code for path in ("", "api/workers", "api/tasks", "tasks")}
    assert set(refused.values()) == {401}, refused
    # What monitoring asks is open: no task's arguments are told there.
    assert requests.get(f"{FLOWER}/healthcheck", timeout=30).text == "OK"
    assert "flower_worker_online" in requests.get(f"{FLOWER}/metrics", timeout=30).text


def test_a_worker_that_was_just_started_counts_as_ready_once_it_is_heard(compose, host, on_host):
    """Flower goes on telling the queues of a worker that is away."""
    login = ("admin", secret("airflow_flower_password"))
    compose("restart airflow-worker")
    assert host.run("docker exec mlops-airflow-worker-1 test -e /run/airflow/worker-heartbeat").rc == 1
    told = requests.get(f"{FLOWER}/api/workers?refresh=1", auth=login, timeout=30).json()
    assert [queue["name"] for queue in told["celery@airflow-worker"]["active_queues"]] == ["default"]
    play("healthy.yml")
    host.check_output("docker exec mlops-airflow-worker-1 test -e /run/airflow/worker-heartbeat")


def test_the_row_of_airflow_holds_with_the_password_that_everybody_knows(host):
    """The scenarios site and cluster try the others; there Airflow has a password of its own."""
    host_name, row = host.backend.host, table("one host", known_password=True)[8081, "Airflow"]
    at_home, inside = [("Airflow", "127.0.0.1", 8081)], [("Airflow", "airflow-webserver", 8080)]
    found = {visitor: tried([host_name], visitor, at_home, path="/flow") for visitor in VISITORS[:3]}
    found["container"] = tried([host_name, "mlops-airflow-worker-1"], "container", inside, path="/flow")
    assert found == {visitor: [row[visitor]] for visitor in VISITORS[:4]}


def test_flower_takes_no_orders_from_a_login_either(on_host):
    login = ("admin", secret("airflow_flower_password"))
    sent = requests.post(f"{FLOWER}/api/task/send-task/celery.ping", auth=login, data='{"args": []}', timeout=30)
    assert (sent.status_code, sent.text) == (403, "Read only mode is enabled")


def test_what_is_told_of_a_task_holds_no_token(airflow, on_host):
    """Flower shows what Celery tells, on loopback to everybody."""
    run_to_its_end(airflow)
    told = requests.get(f"{FLOWER}/api/tasks", auth=("admin", secret("airflow_flower_password")), timeout=30).json()
    ran = [task for task in told.values() if task["name"] == "execute_workload" and task["state"] == "SUCCESS"]
    assert ran and {task["args"] for task in ran} == {"(hidden)"}


def answer_to(name: str, password: str) -> int:
    return requests.post(f"{API}/auth/token", json={"username": name, "password": password}, timeout=10).status_code


def test_accounts_that_nobody_is_to_use_any_more_are_closed(airflow, on_host, host, compose):
    """As by a run with another _AIRFLOW_WWW_USER_USERNAME, and by one off loopback with a password that few know."""
    def init(*settings: str) -> str:
        container = compose(f"run --detach --no-deps {' '.join('--env ' + setting for setting in settings)} airflow-init").split()[-1]

        def ended() -> str:
            # Before the log, which is whole then; one that was just created does not run either.
            status = host.check_output(f"docker inspect --format '{{{{.State.Status}}}}' {container}")
            said = host.run(f"docker logs {container} 2>&1").stdout
            assert "complete after" in said or status == "exited"
            return said
        said = eventually(ended, 60)
        host.check_output(f"docker rm --force {container}")
        return said

    exposed, few_know = "MLOPS_AIRFLOW_EXPOSED=true", "_AIRFLOW_WWW_USER_PASSWORD_FILE=/run/secrets/airflow_fernet_key"
    guest = {"username": "guest", "first_name": "A", "last_name": "Guest", "email": "guest@example.org", "password": "guest", "roles": [{"name": "Viewer"}]}
    airflow.post(f"{API}/auth/fab/v1/users", json=guest, timeout=30).raise_for_status()
    try:
        assert "deactivates the account admin" in init("_AIRFLOW_WWW_USER_USERNAME=ops")
        assert (answer_to("admin", "admin"), answer_to("ops", "admin"), answer_to("guest", "guest")) == (401, 201, 201)
        assert "its password is one that everybody tries first" in init(exposed)
        said = init(exposed, few_know)
        assert "deactivates the account guest" in said and "deactivates the account ops" in said
        assert {answer_to(*login) for login in (("guest", "guest"), ("ops", "admin"), ("admin", "admin"))} == {401}
        assert answer_to("admin", host.check_output("cat /opt/mlops/airflow/secrets/airflow_fernet_key")) == 201
        assert "deactivates" not in init(exposed, few_know)
    finally:
        compose("restart airflow-init")
    eventually(Session, 60, (requests.HTTPError,))


def test_restart_in_any_order_converges_without_an_uninitialized_database(on_host, compose):
    """What depends on others first, the database last: as after a power cut, nothing waits for anything in order."""
    compose("kill")
    compose("start airflow-worker airflow-scheduler airflow-webserver flower airflow-triggerer airflow-dag-processor")
    compose("start airflow-init")
    compose("start redis-airflow postgres-airflow")
    eventually(all_healthy, timeout=180, errors=(AssertionError, requests.RequestException))
    assert run_to_its_end(Session())["state"] == "success"
    assert NOT_MIGRATED not in compose("logs --no-color")


def test_airflow_says_so_where_it_meets_an_uninitialized_database(host):
    """Which is what the test above looks for in vain."""
    image = host.check_output("docker inspect --format '{{.Image}}' mlops-airflow-scheduler-1")
    met = host.run(f"docker run --rm --entrypoint timeout {image} 60 airflow triggerer")
    assert NOT_MIGRATED in met.stdout + met.stderr, met.stdout[-2000:]


def test_a_run_is_told_with_each_of_its_instances(host):
    """More of them than a page of the API holds, and one that failed."""
    play("mapped.yml")


def test_containers_call_themselves_healthy(host):
    def healthy() -> None:
        states = host.check_output("docker ps --all --format '{{.Names}} {{.Status}}'").splitlines()
        assert len(states) == 9
        assert all(state.endswith("(healthy)") for state in states), states
    eventually(healthy, timeout=60)


def test_nobody_speaks_to_database_and_broker_in_plain_text(on_host):
    ca = str(EPHEMERAL / "secrets/generated/tls/ca.crt")
    login = {"host": "127.0.0.1", "user": "postgres", "password": secret("postgres_password")}
    with psycopg.connect(**login, sslmode="verify-full", sslrootcert=ca) as connection:
        clients = connection.execute("SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE backend_type = 'client backend'")
        assert clients.fetchall() == [(True,)]
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(**login, sslmode="disable")
    assert redis.Redis(password=secret("redis_password"), ssl=True, ssl_ca_certs=ca).ping()
    with pytest.raises(redis.ConnectionError):
        redis.Redis(password=secret("redis_password")).ping()
