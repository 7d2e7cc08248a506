"""What a team can give Airflow that is wrong, each with what preflight must say of it; and how its containers' secrets are compared."""

import hashlib
import hmac
import importlib
import pathlib
import sys

import pytest
from ansible_collections.mlops.stack.plugins.filter.secret_differences import secret_differences
from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._airflow_given import airflow_problems, login_problems

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HUSH = "hush-0451"


@pytest.mark.parametrize("value, message", [
    ({"host": "h", "password": HUSH}, "airflow_connections: db has neither conn_type nor uri"),
    ({"uri": HUSH}, "airflow_connections: db has a uri that cannot be read"),
    ({"uri": "http://a:b@h:%s/" % HUSH}, "db has a uri that cannot be read"),
    ({"uri": "http://h", "password": HUSH}, "db has uri and password too"),
    ({"conn_type": "http", "user": HUSH}, "db has user, which nothing reads; it can have conn_type,"),
    ({"conn_type": "http", "port": "80"}, "db has a port that is no number"),
    ({"conn_type": "http", "port": True}, "db has a port that is no number"),
    ({"conn_type": "http", "password": 451}, "db has a password that is no text"),
    ({"conn_type": "http", "extra": HUSH}, "db has an extra that is no dictionary"),
    ({"conn_type": "http", "extra": "[]"}, "db has an extra that is no dictionary"),
    (HUSH, "airflow_connections: db is no dictionary"),
])
def test_of_a_connection(value, message):
    found = airflow_problems({"airflow_connections": {"db": value}})
    assert len(found) == 1 and message in found[0], found
    assert HUSH not in found[0]


@pytest.mark.parametrize("given, message", [
    ({"airflow_connections": [HUSH]}, "airflow_connections is no dictionary"),
    ({"airflow_connections": {"a b": {"conn_type": "http"}}}, "airflow_connections: a b is no name"),
    ({"airflow_connections": {7: {"conn_type": "http"}}}, "airflow_connections: 7 is no name"),
    ({"airflow_variables": {"v": None}}, "airflow_variables: v has no value"),
    ({"airflow_pools": {"p": {}}}, "airflow_pools: p has no number of slots"),
    ({"airflow_pools": {"p": {"slots": "4"}}}, "airflow_pools: p has no number of slots"),
    ({"airflow_pools": {"p": {"slots": -2}}}, "airflow_pools: p has no number of slots"),
    ({"airflow_pools": {"p": {"slots": 1, "slot": 2}}}, "airflow_pools: p has slot, which nothing reads"),
    ({"airflow_pools": {"p": {"slots": 1, "include_deferred": "yes"}}}, "p has an include_deferred that is neither"),
    ({"airflow_pools": {"p": 4}}, "airflow_pools: p is no dictionary"),
    ({"airflow_requirements": "humanize"}, "airflow_requirements is no list"),
    ({"airflow_requirements": ["humanize", "--index-url https://%s" % HUSH]}, "airflow_requirements, line 2 is no requirement"),
    ({"airflow_requirements": ["own @ https://user:%s@host/own.whl" % HUSH]}, "line 1 has a login in its URL"),
    ({"airflow_public_url": "airflow.example.org"}, "airflow_public_url is no address"),
    ({"airflow_flower_username": "a:b"}, "airflow_flower_username has a colon or a comma"),
    ({"airflow_flower_password": "%s,b" % HUSH}, "airflow_flower_password has a comma"),
])
def test_of_the_rest(given, message):
    found = airflow_problems(given)
    assert len(found) == 1 and message in found[0], found
    assert HUSH not in found[0]


def test_what_is_right_is_not_a_problem():
    assert airflow_problems({}) == []
    assert airflow_problems({
        "airflow_connections": {
            "a": {"conn_type": "postgres", "host": "h", "port": 5432, "extra": {"sslmode": "require"}}, "b": {"uri": "google-cloud-platform://"},
            "c": {"conn_type": "http", "extra": '{"a": 1}'}, "d": {"uri": "http://u:p%40@h:1/", "description": "x"}},
        "airflow_variables": {"text": "", "number": 0, "list": [1], "no": False},
        "airflow_pools": {"p": {"slots": -1, "description": "x", "include_deferred": True}, "default_pool": {"slots": 0}},
        "airflow_requirements": ["humanize==4.12.3", "pandas[excel]>=2; python_version > '3.12'", "own @ https://host/own-1-py3-none-any.whl"],
        "airflow_public_url": "https://example.org:8443/airflow/"}) == []


@pytest.mark.parametrize("user, password, refused", [
    ("admin", "admin", True), ("anna", "admin", True), ("anna", "anna", True), ("admin", "other", False), ("admin", "", False)])
def test_a_login_that_everybody_knows(user, password, refused):
    found = list(login_problems([{"name": "airflow_admin_password", "user": user, "password": password}], "10.0.0.1"))
    assert bool(found) is refused
    assert not refused or found[0].startswith("airflow_admin_password is the user's own name, admin or airflow, and ports are published on 10.0.0.1")


def effective(monkeypatch, **environment):
    """mlops_airflow.effective of the image's sources, its digests under a key."""
    sources = ROOT / "roles/images/files/airflow"
    monkeypatch.syspath_prepend(str(sources))
    for name in [name for name in sys.modules if name.startswith("mlops_airflow")]:
        monkeypatch.delitem(sys.modules, name)
    module = importlib.import_module("mlops_airflow.effective")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return {"%s.%s" % option: module.digest(b"key", *option) for option in module.OPTIONS}


def test_of_a_url_all_but_the_host_counts(monkeypatch, tmp_path):
    url = "postgresql+psycopg2://airflow:%s@postgres-airflow:5432/airflow"
    (tmp_path / "fernet").write_text(HUSH)
    with monkeypatch.context() as here:
        first = effective(here, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=url % "a%2Fb", AIRFLOW__CORE__FERNET_KEY_CMD="cat %s" % (tmp_path / "fernet"))
    with monkeypatch.context() as there:
        other = effective(there, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=(url % "a%2fb").replace("postgres-airflow:5432", "10.0.0.1:15432"),
                          AIRFLOW__CORE__FERNET_KEY=HUSH)
    assert first == other and None not in first.values()
    assert first["core.fernet_key"] == hmac.new(b"key", b"core.fernet_key\0" + HUSH.encode(), hashlib.sha256).hexdigest()
    with monkeypatch.context() as there:
        assert effective(there, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=url % "c")["database.sql_alchemy_conn"] != first["database.sql_alchemy_conn"]
    with monkeypatch.context() as there:
        assert effective(there, AIRFLOW__CORE__FERNET_KEY_CMD="cat %s" % (tmp_path / "gone"))["core.fernet_key"] is None


def test_the_one_that_differs_is_named_with_its_host_and_option():
    same = {"core.fernet_key": "1", "api.secret_key": "2"}
    hostvars = {
        "h1": {"asked": {"digests": {"airflow-webserver": same, "airflow-scheduler": same}, "failures": {}}},
        "h2": {"asked": {"digests": {"airflow-worker": {**same, "core.fernet_key": "3"}}, "failures": {}}},
        "h3": {"asked": {"digests": {"airflow-worker": {**same, "api.secret_key": None}}, "failures": {"flower": "no answer within 30 s"}}},
        "h4": {"asked": {"skipped": True}}, "h5": {}}
    assert secret_differences(list(hostvars), hostvars, "asked") == [
        "flower on h3 cannot be asked: no answer within 30 s", "airflow-worker on h3 cannot read its api.secret_key",
        "airflow-worker on h2 has another core.fernet_key than airflow-webserver on h1 and 2 more"]
    assert secret_differences(["h1", "h4"], hostvars, "asked") == []
