"""The inventory as a whole, what its hosts need of each other, and whether that answers."""

import socket
import time

import pytest
from ansible_collections.mlops.stack.plugins.module_utils._preflight import _reach as reach
from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._inventory import inventory_problems
from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._targets import targets

STACK = {
    "known": ["infra", "mlflow", "airflow", "airflow_worker", "monitoring"],
    "sizes": [{"name": name, "at_least": least, "at_most": 1} for name, least in (("infra", 0), ("airflow", 0), ("monitoring", 1))],
    "needs": [{"group": "airflow_worker", "of": "infra", "what": "broker", "unless": ["airflow_redis_host"], "port": "airflow_redis_port"},
              {"group": "mlflow", "of": "infra", "what": "database", "unless": ["mlflow_db_host", "mlflow_instance_connection"]}]}
GOOD = {"infra": ["a"], "mlflow": ["b"], "airflow": ["a"], "airflow_worker": ["b", "c"], "monitoring": ["b"]}


def look(groups, hostvars=None, **changes):
    hosts = list(dict.fromkeys([*(hostvars or {}), *(host for members in groups.values() for host in members)]))
    return inventory_problems({**STACK, **changes}, {"all": hosts, "ungrouped": [], **groups}, lambda host, name: (hostvars or {}).get(host, {}).get(name))


@pytest.mark.parametrize("groups, hostvars, told", [
    ({**GOOD, "infra": ["a", "c"]}, {}, "group infra holds a, c; its parts run once: keep at most 1 host in it"),
    ({**GOOD, "airflow": ["a", "b"]}, {}, "group airflow holds a, b"),
    ({**GOOD, "monitoring": []}, {}, "group monitoring is empty; add the host"),
    ({**GOOD, "infra": []}, {"b": {"airflow_redis_host": "x", "mlflow_db_host": "x"}}, "group airflow_worker has c and group infra has no host"),
    ({**GOOD, "infra": []}, {"c": {"airflow_redis_host": "x"}}, "c has airflow_redis_host and no airflow_redis_port, and without a host in group infra"),
    ({**GOOD, "infra": []}, {}, "so there is no database; add a host to infra, or set mlflow_db_host to where it is"),
    ({**GOOD, "airflow_workers": ["d"]}, {}, "group airflow_workers is not one of the stack's; did you mean airflow_worker?"),
    ({**GOOD, "monitor": ["a"]}, {}, "group monitor is not one of the stack's; did you mean monitoring?"),
    ({**GOOD, "Infra": ["c"]}, {}, "group Infra is not one of the stack's; did you mean infra?"),
    (GOOD, {"a": {"ansible_host": "10.0.0.1"}, "c": {"mlops_address": "10.0.0.1"}}, "a and c have the same address, 10.0.0.1"),
    (GOOD, {"a": {"ansible_host": "127.0.0.1"}}, "a has the address 127.0.0.1, where every other host finds itself"),
    (GOOD, {"a": {"mlops_address": "localhost"}}, "a has the address localhost"),
    (GOOD, {"b": {"mlops_bind": "127.0.0.1"}}, "b publishes its ports on 127.0.0.1, where no other host reaches them"),
    (GOOD, {"b": {"ansible_host": "b.example.org", "mlops_bind": "0.0.0.0"}}, "b has the address b.example.org, which is a name"),
    (GOOD, {"b": {"mlops_address": "fd00::1"}}, "b has the address fd00::1; hosts of the stack reach each other by IPv4"),
    ({"infra": [], "monitoring": ["z"]}, {"z": {}}, None),
    ({}, {"z": {}}, "no host is in a group of the stack (infra, mlflow,"),
])
def test_an_inventory_that_will_not_do(groups, hostvars, told):
    problems, _warnings = look(groups, hostvars)
    assert [problem for problem in problems if told in problem] if told else problems == [], problems


def test_an_inventory_that_will_do():
    assert look({**GOOD, "airflow_eu": ["a"], "workers": ["b", "c"]}, {"b": {"mlops_address": "10.0.0.2"}}, build_host="c") == ([], [])
    assert look(GOOD, {"b": {"ansible_host": "b.example.org", "mlops_bind": "0.0.0.0", "mlops_firewall": False}}) == ([], [])
    assert look({"infra": [], "mlflow": ["a"], "monitoring": ["a"]}, {"a": {"mlflow_instance_connection": "p:r:i", "mlops_bind": "127.0.0.1"}}) == ([], [])


def test_a_host_without_a_part_is_a_warning_because_it_may_be_emptied():
    assert look(GOOD, {"d": {}, "e": {}}) == ([], ["in no group of the stack, so that nothing runs there: d, e"])


def test_a_build_host_that_is_not_there():
    assert look(GOOD, build_host="d")[0] == ["images_build_host is d, which is not in the inventory; give it the inventory's name of a host"]


SERVICES = {"postgres": {"group": "infra", "service": "postgres-airflow", "variable": "infra_postgres_port"},
            "mlflow": {"group": "mlflow", "service": "mlflow", "variable": "mlflow_port"}}
ROWS = [{"groups": ["mlflow"], "what": "database", "variable": "mlflow_db_host", "port": "mlflow_db_port", "form": "host", "part": "postgres"},
        {"groups": ["airflow_worker"], "what": "MLflow", "variable": "airflow_mlflow_tracking_uri", "form": "url", "part": "mlflow"},
        {"groups": ["monitoring"], "what": "mail", "variable": "monitoring_smtp_smarthost", "form": "host_port"}]


def places(here, hostvars, groups=None, scraped=None):
    groups = groups or GOOD
    parts = {"rows": ROWS, "services": SERVICES, "ports": {"postgres": 5432, "mlflow": 5000}, "scraped": scraped or {}}
    return [(row["host"], row["port"], row["open"], row["peer"]) for row in targets(parts, here, groups, lambda host, name: hostvars.get(host, {}).get(name))]


@pytest.mark.parametrize("here, hostvars, expected", [
    ("a", {}, []),
    ("c", {}, [("b", 5000, False, "b")]),
    ("c", {"b": {"mlops_address": "10.0.0.2", "mlflow_port": "5001"}}, [("10.0.0.2", 5001, False, "b")]),
    # What is nobody's must be there already; what another host of the stack shall run need not.
    ("c", {"c": {"airflow_mlflow_tracking_uri": "https://mlflow.example/x"}}, [("mlflow.example", 443, True, "")]),
    ("c", {"c": {"airflow_mlflow_tracking_uri": "http://10.0.0.2:5001"}, "b": {"ansible_host": "10.0.0.2"}}, [("10.0.0.2", 5001, False, "b")]),
    ("b", {"b": {"mlflow_db_host": "db.internal", "mlflow_db_port": "6432", "monitoring_smtp_smarthost": "mail:25"}},
     [("db.internal", 6432, True, ""), ("mail", 25, True, "")]),
    ("b", {"b": {"mlflow_db_host": "db.internal"}}, [("db.internal", 5432, True, "")]),
    ("b", {"b": {"mlflow_db_host": "postgres-airflow"}}, []),
    ("b", {"b": {"mlflow_db_host": "localhost"}}, []),  # told by its variable
    ("c", {"b": {"mlflow_port": "abc"}}, []),
    ("b", {"b": {"mlflow_db_host": "b"}}, []),
])
def test_what_a_host_connects_to(here, hostvars, expected):
    assert places(here, hostvars) == expected


def test_a_host_that_has_the_part_itself_asks_no_other_whichever_of_the_group_it_is():
    groups = {**GOOD, "mlflow": ["b", "c"]}
    assert places("c", {"c": {"mlflow_db_host": "postgres-airflow"}}, groups) == []
    assert places("d", {}, {**groups, "airflow_worker": ["d"]}) == [("b", 5000, False, "b")]


def test_what_a_host_needs_follows_each_of_its_groups():
    rows = [{**ROWS[1], "groups": ["airflow", "airflow_worker"]}]
    parts = {"rows": rows, "services": SERVICES, "ports": {"mlflow": 5000}, "scraped": {}}
    found = {here: [row["peer"] for row in targets(parts, here, GOOD, lambda host, name: None)] for here in ("a", "b", "c", "d")}
    assert found == {"a": ["b"], "b": [], "c": ["b"], "d": []}


def test_what_prometheus_asks_of_other_hosts():
    scraped = {"node": [{"targets": [where], "labels": {"instance": host}} for host, where in (("b", "node:9100"), ("c", "10.0.0.3:9200"))]}
    assert places("b", {"b": {"mlflow_db_host": "postgres-airflow"}, "c": {"mlops_address": "10.0.0.3"}}, scraped=scraped) == [("10.0.0.3", 9200, False, "c")]


def target(host, port, **more):
    return {"host": host, "port": port, "what": "it", "fix": "correct it_host", "open": False, "peer": "", **more}


def test_a_port_that_accepts_and_a_host_that_refuses_both_prove_the_way():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert reach.unreached([target("127.0.0.1", port, open=True)]) == []
    assert reach.unreached([target("127.0.0.1", port)]) == []
    found = reach.unreached([target("127.0.0.1", port, open=True, peer="p")])
    assert [(row["peer"], row["dropped"]) for row in found] == [("p", False)]
    assert "needs it on port %d of p (127.0.0.1), and nothing accepts a connection there" % port in found[0]["problem"]
    assert "correct it_host" in found[0]["problem"]


def test_all_are_looked_at_at_once_and_none_longer_than_the_limit():
    with socket.socket() as full:  # a backlog that is full answers nobody
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        queued = [socket.socket() for _number in range(4)]
        for one in queued:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        began = time.monotonic()
        found = reach.unreached([target("127.0.0.1", port, what="it")] * 20 + [target("127.0.0.1", port, what="more"), target("no-such-host.invalid", 1)], 0.5)
        took = time.monotonic() - began
        for one in queued:
            one.close()
    assert took < 1.5
    assert [row["dropped"] for row in found] == [True, False]
    assert "needs it and more on port %d of 127.0.0.1, and cannot reach it" % port in found[0]["problem"]
    assert "needs it on port 1 of no-such-host.invalid, and cannot resolve that name" in found[1]["problem"]
