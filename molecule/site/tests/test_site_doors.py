"""What may be done without a login on one host, from where: docs/security.md's table, cell by cell, from the running stack."""

import subprocess

import docker
import pytest
from doors import VISITORS, published, routed, stranger, table, tried

HOST = "mlops-site"
# The scenario gives Airflow a password; the scenario airflow has the one that everybody knows.
TABLE = table("one host")
GRAFANA = (3000, "Grafana")  # its image cannot be had here


def test_every_published_port_has_its_row():
    assert {port for port, _part in TABLE} - {GRAFANA[0]} == set(published(HOST))


@pytest.fixture(scope="module")
def found():
    """Visitor -> row -> word."""
    rows = [row for row in TABLE if row != GRAFANA]
    ports = published(HOST)
    local = [(part, "127.0.0.1", port) for port, part in rows]
    inside = [(part, ports[port][1], ports[port][2]) for port, part in rows]
    subnet, containers = routed(HOST)
    by_route = [(part, containers[ports[port][1]], ports[port][2]) for port, part in rows]
    words = {visitor: tried([HOST], visitor, local) for visitor in VISITORS[:3]}
    words["container"] = tried([HOST, "mlops-regmodel-backend-1"], "container", inside)
    # The way to a container is the host's own, so that a refusal is not for want of a listener.
    assert "closed" not in tried([HOST], "local user", by_route)
    with stranger("site", "bridge") as outside:
        address = docker.from_env().api.inspect_container(HOST)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        words["neighbour, by address"] = tried([outside], "neighbour", [(part, address, port) for port, part in rows])
        subprocess.run(["docker", "exec", outside, "ip", "route", "add", subnet, "via", address], check=True)
        words["neighbour, by route"] = tried([outside], "neighbour", by_route)
    return {visitor: dict(zip(rows, words[visitor], strict=True)) for visitor in VISITORS}


@pytest.mark.parametrize("visitor", VISITORS)
def test_what_may_be_done_is_what_the_table_says(found, visitor):
    assert found[visitor] == {row: words[visitor] for row, words in TABLE.items() if row != GRAFANA}


def test_with_its_login_alertmanager_takes_the_orders(host):
    """Or that they are refused without it would say nothing."""
    login = ("admin", host.check_output("cat /opt/mlops/monitoring/secrets/monitoring_password"))
    assert tried([HOST], "local user", [("Alertmanager", "127.0.0.1", 9093)], login) == ["changes"]
