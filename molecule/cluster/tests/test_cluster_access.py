"""What may be done without a login on three hosts, from where: docs/security.md's table, cell by cell, from the running stack."""

import pytest
from cluster import ADDRESSES, machine, stranger
from conftest import secret
from doors import VISITORS, published, routed, table, tried

TABLE = table("several hosts")
GRAFANA = (3000, "Grafana")  # its image cannot be had here
# Where a container of the stack asks from; a host that publishes something else than it.
CONTAINER = ["mlops-models", "mlops-regmodel-backend-1"]


@pytest.fixture(scope="module")
def ports():
    """Host -> published port -> (address, service, port in the container)."""
    return {host: published(host) for host in ADDRESSES}


def test_every_published_port_has_its_row(ports):
    assert {port for port, _part in TABLE} - {GRAFANA[0]} == {port for found in ports.values() for port in found}


@pytest.fixture(scope="module")
def found(ports):
    """Visitor -> (host, port) -> word."""
    parts = dict(list(TABLE))  # its keys are pairs
    words = {visitor: {} for visitor in VISITORS}

    def tell(visitor, host, where, targets):
        words[visitor] |= dict(zip([(host, port) for port in ports[host]], tried(where, visitor, targets), strict=True))

    with stranger() as outside:
        for host, address in ADDRESSES.items():
            by_address = [(parts[port], address, port) for port in ports[host]]
            for visitor in VISITORS[:3]:
                tell(visitor, host, [host], by_address)
            tell("container", host, CONTAINER, by_address)
            tell("neighbour, by address", host, [outside], by_address)
            subnet, containers = routed(host)
            by_route = [(parts[port], containers[service], inner) for port, (_address, service, inner) in ports[host].items()]
            # The way to a container is the host's own, so that a refusal is not for want of a listener.
            assert "closed" not in tried([host], "local user", by_route)
            machine("exec", outside, "ip", "route", "replace", subnet, "via", address)
            tell("neighbour, by route", host, [outside], by_route)
    return words


@pytest.mark.parametrize("visitor", VISITORS)
def test_what_may_be_done_is_what_the_table_says(found, visitor):
    by_port = {port: words[visitor] for (port, _part), words in TABLE.items()}
    assert found[visitor] == {(host, port): by_port[port] for host, port in found[visitor]}


def test_with_its_login_alertmanager_takes_the_orders():
    """Or that they are refused without it would say nothing."""
    where = [("Alertmanager", ADDRESSES["mlops-models"], 9093)]
    assert tried(["mlops-models"], "local user", where, ("admin", secret("monitoring_password"))) == ["changes"]
