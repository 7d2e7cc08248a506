"""The filters that read the inventory's groups."""

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mlops.stack.plugins.filter import wiring

POSTGRES = {"group": "infra", "service": "postgres-airflow", "port": 5432, "variable": "infra_postgres_port"}
ONE = {"infra": ["a"], "mlflow": ["a"]}
THREE = {"infra": ["a"], "mlflow": ["b"], "airflow_worker": ["b", "c"]}


@pytest.mark.parametrize("groups, hostvars, host, expected", [
    (ONE, {"a": {}}, "a", ("postgres-airflow", 5432)),
    (ONE, {"a": {"infra_postgres_port": 6000}}, "a", ("postgres-airflow", 5432)),
    (THREE, {"a": {}}, "c", ("a", 5400)),
    (THREE, {"a": {"ansible_host": "10.0.0.1"}}, "c", ("10.0.0.1", 5400)),
    (THREE, {"a": {"ansible_host": "10.0.0.1", "mlops_address": "10.9.0.1"}}, "b", ("10.9.0.1", 5400)),
    (THREE, {"a": {"infra_postgres_port": "6000"}}, "b", ("a", 6000)),
    # Of several hosts that have it, each asks its own; a stranger asks the first.
    ({"infra": ["a", "b"]}, {"a": {}, "b": {}}, "b", ("postgres-airflow", 5432)),
    ({"infra": ["a", "b"]}, {"a": {}, "b": {}}, "c", ("a", 5400)),
])
def test_endpoint_is_the_container_here_and_the_published_port_elsewhere(groups, hostvars, host, expected):
    found = wiring.endpoint(POSTGRES, groups, hostvars, host, 5400)
    assert (found["host"], found["port"]) == expected
    port = hostvars["a"].get("infra_postgres_port", 5400)
    assert found["published"] == ("127.0.0.1:%s" % port if host in groups["infra"] else "%s:%s" % expected)


@pytest.mark.parametrize("variables, address", [
    ({"inventory_hostname": "a"}, "a"),
    ({"inventory_hostname": "a", "ansible_host": "10.0.0.1"}, "10.0.0.1"),
    ({"inventory_hostname": "a", "ansible_host": "10.0.0.1", "mlops_address": "10.9.0.1"}, "10.9.0.1"),
])
def test_address_of_a_host_needs_no_facts(variables, address):
    assert wiring.address_of(variables) == address


def test_an_empty_group_names_the_group_and_the_way_out():
    with pytest.raises(AnsibleFilterError, match="group infra.*postgres-airflow.*external service"):
        wiring.endpoint(POSTGRES, {}, {}, "a", 5432)


def test_roles_of_a_host_follow_its_groups():
    table = {"infra": ["infra"], "mlflow": ["mlflow"], "airflow": ["airflow", "airflow_worker"]}
    assert wiring.roles_of(table, THREE, "a") == ["infra"]
    assert wiring.roles_of(table, THREE, "b") == ["mlflow", "airflow"]
    assert wiring.roles_of(table, THREE, "c") == ["airflow"]
    assert wiring.roles_of(table, {}, "a") == []


def test_published_ports_follow_the_role_and_its_variable():
    table = {"mlflow": {"mlflow": "mlflow_port"}, "airflow": {"airflow": "airflow_port", "flower": "airflow_flower_port"}}
    ports = {"mlflow": 5000, "airflow": 8081, "flower": 5555}
    assert wiring.published_ports(["airflow"], table, ports, "127.0.0.1", {"airflow_port": 9000}) == [
        {"name": "airflow_port", "address": "127.0.0.1", "port": 9000},
        {"name": "airflow_flower_port", "address": "127.0.0.1", "port": 5555}]


@pytest.mark.parametrize("name, expected", [("10.0.0.1", "IP:10.0.0.1"), ("fd00:0::1", "IP:fd00::1"), ("db.internal", "DNS:db.internal"), ("10.0", "DNS:10.0")])
def test_a_certificate_names_addresses_and_names_apart(name, expected):
    assert wiring.subject_alt_name(name) == expected


def test_problems_of_all_hosts_are_one_list_and_each_stands_once():
    hostvars = {"a": {"found": {"problems": ["x", "y"], "controller_problems": ["file"]}, "more": {"problems": ["z"]}},
                "b": {"found": {"problems": ["y"], "controller_problems": ["file"]}}, "c": {}}
    assert wiring.problems(["a", "b", "c"], hostvars, ["found", "more"]) == ["- controller: file", "- a: x", "- a, b: y", "- a: z"]


def test_a_host_that_does_not_answer_is_a_problem_where_the_others_need_it():
    unreached = [{"peer": "b", "problem": "b's part", "dropped": True}, {"peer": "d", "problem": "d's part", "dropped": True}]
    hostvars = {"a": {"found": {"unreached": unreached}}, "b": {"found": {"no_answer": "why"}}}
    # Which of its parts others miss needs no second word; nor does a host outside of the run that they can do without.
    assert wiring.problems(["a", "b"], hostvars, ["found"]) == []
    assert wiring.problems(["a", "b"], hostvars, ["found"], ["d"]) == ["- a: d's part; a run without --limit lets a new host in"]
    assert [line.split(";")[0] for line in wiring.problems(["a", "b"], hostvars, ["found"], ["b"])] == ["- b: does not answer (why)"]
    assert [line.split(";")[0] for line in wiring.problems(["b"], hostvars, ["found"])] == ["- b: does not answer (why)"]


@pytest.mark.parametrize("new, old, dropped, told", [
    ({"settled": False}, {"settled": True}, True, False), ({"settled": False}, {"settled": True}, False, True),
    ({"settled": True}, {"settled": True}, True, True),
    ({"settled": False}, {"settled": False}, True, True)])
def test_a_host_that_is_new_is_let_in_by_the_run(new, old, dropped, told):
    hostvars = {"new": {"found": {**new, "unreached": [{"peer": "old", "problem": "x", "dropped": dropped}]}}, "old": {"found": old}}
    assert wiring.problems(["new", "old"], hostvars, ["found"]) == (["- new: x"] if told else [])


def test_what_is_nobodys_part_must_be_reached():
    hostvars = {"a": {"found": {"unreached": [{"peer": "", "problem": "x", "dropped": True}]}}}
    assert wiring.problems(["a"], hostvars, ["found"]) == ["- a: x"]


def test_targets_are_the_parts_of_every_host():
    services = {"postgres": POSTGRES, "node": {"group": "all", "service": "node-exporter", "port": 9100, "variable": "node_port"}}
    groups = {"infra": [], "all": ["a", "b", "c"]}
    hostvars = {"a": {}, "b": {"mlops_address": "10.0.0.2"}, "c": {"mlops_address": "10.0.0.3", "node_port": 9200}}
    found = wiring.scrape_targets(services, groups, hostvars, "a", {"postgres": 5432, "node": 9100})
    assert found["postgres"] == []
    assert [(row["targets"], row["labels"]["instance"]) for row in found["node"]] == [
        (["node-exporter:9100"], "a"), (["10.0.0.2:9100"], "b"), (["10.0.0.3:9200"], "c")]


def test_secret_files_keep_who_reads_them():
    assert wiring.secret_files({"key": [999, "k"]}) == {"key": {"content": "k", "uid": 999}}


NAMES = {"MLFLOW_DB_USER": {"variable": "mlflow_db_user", "group": "mlflow"}}


@pytest.mark.parametrize("dotenv, hostvars, expected", [
    ({"MLFLOW_DB_USER": "file"}, {"a": {"mlflow_db_user": "here"}, "b": {"mlflow_db_user": "there"}}, {"value": "here", "source": "variable"}),
    # The host with the database learns what the host with MLflow is told.
    ({"MLFLOW_DB_USER": "file"}, {"a": {}, "b": {"mlflow_db_user": "there"}}, {"value": "there", "source": "variable"}),
    ({"MLFLOW_DB_USER": "file"}, {"a": {}, "b": {}}, {"value": "file", "source": ".env"}),
    ({"MLFLOW_DB_USER": ""}, {"a": {}, "b": {"mlflow_db_user": ""}}, None),
    ({"OTHER": "x"}, {"a": {}, "b": {}}, None),
])
def test_a_variable_wins_over_the_environment_file(dotenv, hostvars, expected):
    assert wiring.given(NAMES, dotenv, hostvars, THREE, "a").get("MLFLOW_DB_USER") == expected


@pytest.mark.parametrize("project, network, name", [
    ("mlops", "", "mlops"), ("mlops", "identity", "mlops-identity"), ("mlops", "cloud-sql", "mlops-cloud-sql"),
    ("mlops-of-the-team", "", "mlops-of-b18312"), ("mlops-of-the-test", "", "mlops-of-8a8bfa")])
def test_a_bridge_has_a_name_that_linux_takes_and_no_other_project_has(project, network, name):
    assert wiring.bridge_name(project, network) == name and len(name) <= 15


def test_a_host_is_asked_by_each_name_once_in_lower_case_with_its_port():
    assert wiring.host_headers(["ML.example.org", "10.0.0.2", "", "ml.example.org", "fd00::2"], "5000") == [
        "ml.example.org:5000", "10.0.0.2:5000", "[fd00::2]:5000"]
    assert wiring.host_headers(["ml", "fd00::2"], 80) == ["ml", "[fd00::2]"]


@pytest.mark.parametrize("bind, variables, own, host", [
    ("127.0.0.1", {"ansible_host": "10.0.0.2"}, "10.0.0.9", "127.0.0.1"),
    ("10.0.0.3", {"ansible_host": "10.0.0.2"}, "10.0.0.9", "10.0.0.3"),
    ("fd00::3", {}, "", "[fd00::3]"),
    ("0.0.0.0", {"ansible_host": "ml.example.org"}, "10.0.0.9", "ml.example.org"),
    ("0.0.0.0", {"mlops_address": "10.0.0.4", "ansible_host": "ml.example.org"}, "10.0.0.9", "10.0.0.4"),
    ("0.0.0.0", {"ansible_host": "localhost"}, "10.0.0.9", "10.0.0.9"),
    ("::", {"ansible_host": "127.0.0.1"}, "fd00::9", "[fd00::9]"),
    ("0.0.0.0", {}, "", "127.0.0.1")])
def test_pages_are_opened_where_another_machine_finds_them(bind, variables, own, host):
    assert wiring.page_host(bind, variables, own) == host


@pytest.mark.parametrize("here, images, expected", [
    ({}, {}, {}),
    ({"infra_postgres_image": "postgres:18"}, {}, {"postgres": "postgres:18"}),
    ({"infra_postgres_image": "mlops/postgres:17-b"}, {}, {"postgres": "mlops/postgres:17-b"}),
    ({"infra_postgres_image": "mlops/postgres:17-a", "airflow_image": "x"}, {}, {}),
    ({"infra_postgres_image": ""}, {"redis": "redis:8"}, {"redis": "redis:8"})])
def test_given_images_are_those_that_are_not_the_stacks_own(here, images, expected):
    own = {"postgres": "mlops/postgres:17-a", "redis": "mlops/redis:8.0-a", "airflow": "mlops/airflow:3-a", **images}
    assert wiring.given_images(["postgres", "redis"], {"postgres": "infra_postgres_image", "airflow": "airflow_image"}, own, here) == expected
