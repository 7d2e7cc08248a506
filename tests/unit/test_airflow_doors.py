"""Whom Airflow's API server answers, and which accounts airflow-init closes."""

import asyncio
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "roles/images/files/airflow"))
from mlops_airflow.doors import Doors, gateway

ROUTES = "Iface\tDestination\tGateway \tFlags\neth0\t00000000\t010012AC\t0003\neth0\t000012AC\t00000000\t0001\n"
PUBLIC = "https://airflow.example.org/flow"
LOOPBACK = {"MLOPS_AIRFLOW_ALLOWED_HOSTS": "Team.example.org", "MLOPS_AIRFLOW_LOGIN": "host", "AIRFLOW__API__BASE_URL": PUBLIC}
HOST, CONTAINER = "172.18.0.1", "172.18.0.7"


def status(host="127.0.0.1:8081", path="/api/v2/dags", client=HOST, environ=None, **headers):
    """What a request is answered with; 200: it reached Airflow."""
    said = []

    async def airflow(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200})

    async def send(message):
        said.append(message)

    scope = {"type": "http", "path": path, "client": (client, 4711),
             "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in {"host": host, **headers}.items()]}
    asyncio.run(Doors(airflow, LOOPBACK if environ is None else environ, {"127.0.0.1", "::1", HOST})(scope, None, send))
    return said[0]["status"]


def test_the_gateway_is_where_programs_of_the_host_come_from():
    assert gateway(ROUTES) == HOST
    assert gateway(ROUTES.splitlines()[0]) == ""


@pytest.mark.parametrize("host", ["127.0.0.1:8081", "localhost:8081", "[::1]:8081", "10.0.0.7", "airflow-webserver:8080", "airflow.localhost",
                                  "airflow.example.org", "AIRFLOW.example.org.:443", "team.example.org:8081", ""])
def test_names_that_nobody_else_can_have_are_served(host):
    assert status(host) == 200


@pytest.mark.parametrize("host", ["evil.example:8081", "127.0.0.1.evil.example", "localhost.evil.example", "example.org", "127.0.0.1.nip.io:8081", "1.2.3.4.5"])
def test_a_foreign_name_is_not(host):
    assert status(host) == 403
    assert status(host, environ={**LOOPBACK, "MLOPS_AIRFLOW_ALLOWED_HOSTS": "*"}) == 200
    assert status(host, environ={}) == 200


@pytest.mark.parametrize("path", ["/auth/token", "/auth/token/cli", "/auth/login/", "/flow/auth/token", "//auth//login/", "/flow//auth/login"])
def test_with_a_known_password_only_the_host_logs_in(path):
    assert status(path=path) == 200
    assert status(path=path, client="127.0.0.1") == 200
    assert status(path=path, client=CONTAINER) == 403
    assert status(path=path, x_forwarded_for=HOST) == 403
    assert status(path=path, client=CONTAINER, environ={}) == 200


@pytest.mark.parametrize("path", ["/execution/task-instances/1/run", "/api/v2/monitor/health", "/flow/api/v2/auth/login"])
def test_containers_reach_the_rest(path):
    assert status(path=path, client=CONTAINER) == 200
