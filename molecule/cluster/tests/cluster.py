"""The cluster as its operator, its users and a stranger on its network see it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import os
import socket
import subprocess
import threading

import doors
import requests
from conftest import EPHEMERAL, eventually, network_of, secret

PROJECT = os.environ["MOLECULE_PROJECT_DIRECTORY"]
SCENARIO = os.environ["MOLECULE_SCENARIO_DIRECTORY"]
ADDRESSES = {"mlops-control": "10.77.0.11", "mlops-models": "10.77.0.12", "mlops-worker-1": "10.77.0.13"}
SPARE, SPARE_ADDRESS = "mlops-worker-2", "10.77.0.14"
WITH_SPARE = ("--inventory", f"{SCENARIO}/inventory/spare.yml")
WORKERS = ["mlops-models", "mlops-worker-1"]
API = "http://10.77.0.11:8081"
FLOWER = "http://10.77.0.11:5555"
NOT_YET = (AssertionError, requests.RequestException, KeyError)


def command(playbook: str, *arguments: str, before: tuple[str, ...] = ()) -> list[str]:
    """A playbook of the project on the example inventory, reached as inventory/connection.yml says. before: arguments that stand first."""
    return ["ansible-playbook", *before, "--inventory", str(EPHEMERAL / "inventory"), "--inventory", f"{PROJECT}/inventory/cluster",
            "--inventory", f"{SCENARIO}/inventory/connection.yml", *arguments, f"{PROJECT}/{playbook}"]


def play(playbook: str, *arguments: str, succeeds: bool = True, before: tuple[str, ...] = ()) -> str:
    """Its output; it must succeed, or fail."""
    # Without colours, which would stand in the middle of what is read.
    run = subprocess.run(command(playbook, *arguments, before=before), cwd=PROJECT, env={**os.environ, "ANSIBLE_FORCE_COLOR": "0", "NO_COLOR": "1"},
                         stdin=subprocess.DEVNULL, text=True, capture_output=True, check=False)
    assert (run.returncode == 0) == succeeds, f"{playbook} exited {run.returncode}:\n{run.stdout[-8000:]}\n{run.stderr[-2000:]}"
    return run.stdout


def recap(output: str) -> dict[str, dict[str, int]]:
    """What PLAY RECAP says of each host."""
    rows = [line.split(":", 1) for line in output.partition("PLAY RECAP")[2].splitlines() if " : ok=" in line]
    return {host.strip(): {key: int(value) for key, value in (word.split("=") for word in counts.split())} for host, counts in rows}


def machine(*words: str) -> str:
    return subprocess.run(["docker", *words], text=True, capture_output=True, check=True).stdout


def inside(host: str, script: str) -> str:
    """Output of a shell script on a host, in the project's directory."""
    return machine("exec", "--workdir", "/opt/mlops", host, "sh", "-c", script)


def boot_spare() -> None:
    """A fourth machine, with an Engine and the images, that is in no inventory yet."""
    tools = f"{PROJECT}/molecule/shared/host"
    subprocess.run([f"{tools}/clone", SPARE, "cluster"], check=True)
    subprocess.run([f"{tools}/run", SPARE, "cluster", "mlops-test/engine", SPARE, "mlops-cluster", SPARE_ADDRESS, EPHEMERAL / "ssh.pub"], check=True)
    eventually(lambda: machine("exec", SPARE, "docker", "version"), 60, (subprocess.CalledProcessError,))


def boot(*hosts: str) -> None:
    for host in hosts:
        machine("start", host)


def cut_power(*hosts: str) -> None:
    machine("kill", *hosts)


def reaches(here: str, address: str, port: int) -> bool:
    """Whether a program on a container of the network can connect."""
    with network_of(here):
        try:
            socket.create_connection((address, port), timeout=2).close()
        except TimeoutError:
            return False
    return True


class Airflow(requests.Session):
    """Airflow's API with a token of the admin user."""

    def __init__(self) -> None:
        super().__init__()
        login = {"username": "admin", "password": secret("airflow_admin_password")}
        answer = self.post(f"{API}/auth/token", json=login, timeout=60)
        answer.raise_for_status()
        self.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def json(self, method: str, path: str, **body) -> dict:
        answer = self.request(method, f"{API}/api/v2/{path}", json=body or None, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def trigger(self, dag: str, **conf) -> str:
        """Path of a new run."""
        self.json("PATCH", f"dags/{dag}", is_paused=False)
        return f"dags/{dag}/dagRuns/" + self.json("POST", f"dags/{dag}/dagRuns", logical_date=None, conf=conf)["dag_run_id"]


def has_state(run: str, state: str) -> None:
    found = Airflow().json("GET", run)["state"]
    assert found == state, f"{run} is {found}"


def task_is(run: str, state: str) -> None:
    found = Airflow().json("GET", f"{run}/taskInstances/report")["state"]
    assert found == state, f"{run} is {found}"


def run_a_task_on_each_worker() -> None:
    for run in [Airflow().trigger(f"canary_{worker}", word="again") for worker in WORKERS]:
        eventually(functools.partial(has_state, run, "success"), 120)


def celery_workers() -> dict[str, list[str]]:
    """Queues that each worker consumes, as Flower is told by the workers now."""
    with network_of("mlops-control"):
        answer = requests.get(f"{FLOWER}/api/workers?refresh=1", auth=("admin", secret("airflow_flower_password")), timeout=60)
    answer.raise_for_status()
    return {name: sorted(queue["name"] for queue in worker["active_queues"]) for name, worker in answer.json().items()}


def consumed(*workers: str) -> dict[str, list[str]]:
    return {f"celery@{name}": ["default", f"host-{name}"] for name in workers}


def worker_names(*wanted: str) -> None:
    """Exactly these consume."""
    assert celery_workers() == consumed(*wanted)


def all_well(*workers: str) -> None:
    """Every container calls itself healthy, Airflow its parts, and exactly these workers consume."""
    for host in {*ADDRESSES, *workers}:
        states = inside(host, "docker ps --all --format '{{.Names}} {{.Status}}'").splitlines()
        assert states and all(state.endswith("(healthy)") for state in states), f"{host}: {states}"
    health = requests.get(f"{API}/api/v2/monitor/health", timeout=10).json()
    assert {part["status"] for part in health.values()} == {"healthy"}, health
    assert celery_workers() == consumed(*workers)


def is_well(*workers: str, timeout: float = 600) -> None:
    eventually(functools.partial(all_well, *workers), timeout, (*NOT_YET, subprocess.CalledProcessError))


def predicts(address: str) -> str | None:
    """Version of the model that RegModel on a host makes a real prediction with."""
    try:
        example = requests.get(f"http://{address}:8000/model", timeout=5).json()["example"]
        return requests.post(f"http://{address}:8000/predict", json=example, timeout=5).json()["model"]["version"]
    except (requests.RequestException, KeyError, TypeError):
        return None


@contextlib.contextmanager
def predicting(*addresses: str):
    """Who of these predicted, moment by moment, while the block ran."""
    moments: list[set[str]] = []
    over = threading.Event()

    def look() -> None:
        with concurrent.futures.ThreadPoolExecutor(len(addresses)) as pool:
            while not over.wait(0.1):
                moments.append({address for address, version in zip(addresses, pool.map(predicts, addresses), strict=True) if version})

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield moments
    finally:
        over.set()
        looking.join()


# A machine of the same network that is in no inventory; a context manager that gives its name.
stranger = functools.partial(doors.stranger, "cluster", "mlops-cluster", "--ip", "10.77.0.99")
