"""What a user sets, against the argument specs of the roles as they are; and which values are shown."""

import pathlib
from functools import partial

import pytest
from ansible_collections.mlops.stack.plugins.filter.configuration import configuration
from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._secret_names import is_hidden
from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._variables import variable_problems

ROLES = str(pathlib.Path(__file__).resolve().parent.parent.parent / "roles")
HUSH = "hush-0451"
WHOLE = ["mlops_ports", "airflow_memory"]


def look(variables, removed=()):
    return variable_problems({name: partial(lambda value: value, value) for name, value in variables.items()}, ROLES, dict(removed), WHOLE)


@pytest.mark.parametrize("name, value, told", [
    ("mlflow_port", "abc", "variable mlflow_port is 'abc'; wanted is a whole number"),
    ("mlflow_port", True, "variable mlflow_port is true (true or false); wanted is a whole number"),
    ("mlflow_port", 0, "variable mlflow_port is 0; wanted is a port, 1 to 65535"),
    ("mlflow_port", 5000.5, "wanted is a whole number"),
    ("mlflow_port", None, "variable mlflow_port is empty; wanted is a whole number"),
    ("mlops_timeout", "soon", "variable mlops_timeout is 'soon'; wanted is a number"),
    ("mlops_timeout", -1, "wanted is a number of seconds above 0"),
    ("mlflow_db_name", False, "variable mlflow_db_name is false (true or false); wanted is text; put it in quotes"),
    ("mlflow_image", {"a": 1}, "variable mlflow_image is a dictionary; wanted is text"),
    ("mlflow_image", "My Image:1", "wanted is an image's name, such as"),
    ("mlops_allow_migration", "perhaps", "variable mlops_allow_migration is 'perhaps'; wanted is true or false"),
    ("with_monitoring", "maybe", "variable with_monitoring is 'maybe'; wanted is true or false"),
    ("airflow_worker_queues", "default", "is 'default'; wanted is a list, in YAML or as -e '{\"airflow_worker_queues\": ...}'"),
    ("airflow_worker_queues", ["a", ["b"]], "variable airflow_worker_queues: entry 2 is a list; wanted is text"),
    ("mlflow_environment", "A=1", "variable mlflow_environment is text; wanted is a dictionary"),
    ("mlops_image_source", "package", "mlops_image_source is 'package'; it can be registry, packages, archive, auto; did you mean packages?"),
    ("images_wanted", ["postgres", "airfow"], "images_wanted holds 'airfow'; it can be"),
    ("mlflow_memory", "2 gigs", "wanted is a size of 6m or more as Compose writes it"),
    ("mlflow_memory", "4", "wanted is a size of 6m or more"),
    ("airflow_memory", {"worker": "lots"}, "variable airflow_memory.worker is 'lots'; wanted is a size"),
    ("mlops_ports", {"mlflow": 99999}, "variable mlops_ports.mlflow is 99999"),
    ("mlops_ports", {"mlflow": 5001}, "variable mlops_ports lacks postgres, redis"),
    ("mlops_ports", {"mlflw": 5001}, "variable mlops_ports: mlflw is not a known key; did you mean mlflow?"),
    ("mlflow_db_host", "postgres://db", "variable mlflow_db_host is 'postgres://db'; wanted is a name or an address alone"),
    ("mlflow_db_host", "db:5432", "wanted is a name or an address alone"),
    ("airflow_redis_host", "localhost", "and not localhost, which in a container is the container"),
    ("airflow_db_host", "127.0.0.1", "and not localhost"),
    ("mlops_allowed_sources", ["10.0.0.0/24", "office"], "variable mlops_allowed_sources[1] is 'office'; wanted is an address or a network"),
    ("regmodel_mlflow_tracking_uri", "mlflow:5000", "variable regmodel_mlflow_tracking_uri has not the right shape; wanted is a URL"),
    ("airflow_mlflow_tracking_uri", "http://localhost:5000", "and is not localhost"),
    ("monitoring_scrape_interval", "15", "wanted is a time as Prometheus writes it"),
    ("monitoring_alert_for", {"*": "soon"}, "variable monitoring_alert_for.* is 'soon'; wanted is a time"),
    ("monitoring_retention_size", "8G", "wanted is a size as Prometheus writes it"),
    ("monitoring_smtp_smarthost", "mail", "wanted is host:port"),
    ("mlops_dir", "opt/mlops", "wanted is an absolute path"),
    ("mlops_dir", "/", "wanted is an absolute path"),
    ("mlops_project", "My Stack", "as Compose names a project"),
    ("airflow_environment", {"my-key": 1}, "wanted is names of letters, digits and _"),
    ("airflow_environment", {"KEY": ["a"]}, "wanted is text, a number, or true or false"),
    ("monitoring_environment", {"grafana": {"1A": "b"}}, "wanted is names of letters, digits and _"),
    ("mlops_project", "filter", "no word of nftables such as filter"),
    ("images_registry_prefix", "https://registry.example.org/mlops", "without a scheme"),
    ("mlflow_workers", 0, "wanted is a whole number of 1 or more"),
])
def test_a_value_that_will_not_do(name, value, told):
    problems, warnings = look({name: value})
    assert [problem for problem in problems if told in problem], problems
    assert warnings == []


@pytest.mark.parametrize("name, value", [
    ("mlflow_port", "5001"), ("mlops_allow_migration", "true"), ("mlops_timeout", "900"), ("mlflow_memory", "1.5GiB"), ("mlflow_db_password", 123456),
    ("mlflow_db_host", "fd00::1"), ("mlflow_db_host", "db.internal"), ("mlflow_image", "my_mlflow:3"), ("mlflow_image", "[fd00::1]:5000/x:1"),
    ("mlflow_image", "registry.example.org:5000/team/mlflow:3@sha256:" + "a" * 64),
    ("monitoring_webhook_url", ""), ("monitoring_evaluation_interval", "1m30s"), ("mlops_min_memory_mib", {}), ("mlops_bind", "0.0.0.0"),
    ("images_registry_mirror", "127.0.0.1:5000"), ("airflow_dags_dir", ""), ("airflow_worker_queues", [])])
def test_a_value_that_will_do(name, value):
    assert look({name: value}) == ([], [])


@pytest.mark.parametrize("name, near", [
    ("mlflow_prot", "mlflow_port"), ("airflow_memry", "airflow_memory"), ("airflow_dag_dir", "airflow_dags_dir"), ("mlops_adress", "mlops_address"),
    ("mlflowport", "mlflow_port"), ("mlfow_port", "mlflow_port"), ("with_monitorring", "with_monitoring"), ("MLFLOW_PORT", "mlflow_port"),
    ("airflow_db_pass", "airflow_db_password"), ("regmodel_model_alais", "regmodel_model_alias")])
def test_a_misspelt_name_is_a_problem(name, near):
    assert look({name: 1}) == (["variable %s is not a known name; did you mean %s?" % (name, near)], [])


def test_a_name_that_no_role_has_is_a_warning_and_a_name_of_the_users_own_is_nothing():
    assert look({"mlflow_url": 1, "airflow_team": 1, "team_port": 1, "inventory_dir": 1, "ansible_user": 1, "__mlops_look": 1}) == (
        [], ["no role reads the variables airflow_team, mlflow_url; the roles' READMEs list those that are read"])


def test_a_removed_variable_names_what_to_do():
    assert look({"mlops_old": 1}, {"mlops_old": "set mlops_new"})[0] == ["variable mlops_old is not read any more; set mlops_new"]


def test_a_value_that_cannot_be_evaluated_is_told_by_its_variable():
    def fails():
        raise ValueError("'nowhere' is undefined")
    assert variable_problems({"mlflow_memory": fails}, ROLES, {}, []) == (
        ["variable mlflow_memory cannot be evaluated: 'nowhere' is undefined; correct it"], [])


@pytest.mark.parametrize("name", [
    "mlflow_db_password", "airflow_fernet_key", "airflow_jwt_secret", "monitoring_discord_webhook_url", "regmodel_mlflow_tracking_uri", "mlflow_environment",
    "infra_databases", "regmodel_api_key", "regmodel_api_keys", "airflow_connections", "airflow_variables", "x_token", "x_passwd", "mlops_secrets"])
def test_what_may_be_a_secret_is_never_told(name):
    assert is_hidden(name)
    problems, _warnings = look({name: [HUSH, {HUSH: HUSH}]})
    shown = configuration({}, {}, {name: HUSH}, [name], [])
    assert HUSH not in "".join(problems + shown) and shown == ["%s  set  variable" % name]


@pytest.mark.parametrize("name, value", [
    ("images_debian_mirror", "http://me:hush-0451@mirror.example/debian"), ("monitoring_scrape_configs", [{"basic_auth": {"password": HUSH}}]),
    ("docker_daemon_options", {"proxies": HUSH})])
def test_a_value_with_a_login_in_it_is_never_shown(name, value):
    assert configuration({}, {}, {name: value}, [name], []) == ["%s  set  variable" % name]
    assert HUSH not in "".join(look({name: value})[0])


def test_a_plain_value_is_shown():
    assert configuration({}, {}, {"mlflow_port": 5001, "mlflow_uid": ""}, ["mlflow_port", "mlflow_uid"], []) == [
        "mlflow_port  5001   variable", "mlflow_uid   empty  variable"]
