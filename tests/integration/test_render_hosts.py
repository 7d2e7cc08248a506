"""What changes when a variable says so: TLS between hosts, the ports of logs, external servers, and one host that others reach."""

import ipaddress
import json

from cryptography import x509
from test_render import ONE, THREE, env, render, services, worker_checks


def test_with_tls_every_client_verifies_the_servers_certificate(tmp_path):
    assert render(tmp_path, THREE, "-e", "mlops_tls=true").returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "secrets/generated/tls").iterdir()}
    certificate = x509.load_pem_x509_certificate((tmp_path / "h1/infra/tls/server.crt").read_bytes())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate((tmp_path / "h3/airflow/tls/ca.crt").read_bytes()))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"postgres-airflow", "h1"} <= set(names.get_values_for_type(x509.DNSName))
    assert ipaddress.ip_address("10.0.0.1") in names.get_values_for_type(x509.IPAddress)
    assert env(tmp_path, "h2/mlflow/mlflow.env")["MLFLOW_BACKEND_STORE_URI"].endswith("?sslmode=verify-full&sslrootcert=/etc/mlops/tls/ca.crt")
    assert (tmp_path / "h3/airflow/secrets/airflow_broker_url").read_text().startswith("rediss://")
    exporters = services(tmp_path, "h2")
    assert "sslmode=verify-full" in exporters["postgres-exporter"]["environment"]["DATA_SOURCE_URI"]
    assert "--redis.addr=rediss://10.0.0.1:6379" in exporters["redis-exporter"]["command"]
    for host, name in (("h1", "postgres-airflow"), ("h2", "mlflow"), ("h2", "redis-exporter"), ("h3", "airflow-worker")):
        assert "./tls:/etc/mlops/tls:ro" in services(tmp_path, host)[name]["volumes"], name
    # No key leaves the controller but the server's, for its host alone; a second run makes nothing anew.
    assert [path.parent.parent.parent.name for path in tmp_path.glob("h*/*/secrets/*_tls_key")] == ["h1", "h1"]
    assert render(tmp_path, THREE, "-e", "mlops_tls=true", "--tags", "infra").returncode == 0
    assert {path: path.read_bytes() for path in before} == before


def test_a_moved_log_port_moves_the_url_too(tmp_path):
    assert render(tmp_path, THREE, "-e", "airflow_worker_log_port=18793", "--tags", "infra,airflow,firewall").returncode == 0
    assert services(tmp_path, "h3")["airflow-worker"]["ports"] == ["10.0.0.3:18793:18793"]
    # The API server makes the URL of a log from its own setting.
    for host in ("h1", "h3"):
        assert env(tmp_path, host + "/airflow/airflow.env")["AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT"] == "18793"
    assert "18793" in (tmp_path / "h3/firewall/rules/mlops.nft").read_text()


def test_an_external_servers_authority_is_delivered_where_only_that_one_has_tls(tmp_path):
    (tmp_path / "ca.pem").write_text("the authority\n")
    inventory = {**THREE, "vars": {**THREE["vars"], "airflow_db_host": "db.internal", "airflow_db_tls": True, "mlops_tls_ca_file": str(tmp_path / "ca.pem")}}
    assert render(tmp_path, inventory, "--tags", "infra,mlflow,airflow").returncode == 0
    assert [(tmp_path / host / "airflow/tls/ca.crt").read_text() for host in ("h1", "h2", "h3")] == ["the authority"] * 3
    assert "@db.internal:15432/airflow?sslmode=verify-full&sslrootcert=" in (tmp_path / "h3/airflow/secrets/airflow_sql_alchemy_conn").read_text()
    assert not (tmp_path / "h1/infra/tls").exists() and not (tmp_path / "h2/mlflow/tls").exists()


def test_workers_ask_flower_with_the_login_that_its_host_has(tmp_path):
    flower = {"hosts": {"h1": {}}, "vars": {"airflow_flower_username": "anna", "airflow_flower_password": "own-hush"}}
    of_all = {name: value for name, value in THREE["vars"].items() if name != "airflow_flower_username"}
    inventory = {**THREE, "vars": of_all, "children": {**THREE["children"], "airflow": flower}}
    assert render(tmp_path, inventory, "--tags", "infra,airflow").returncode == 0
    assert (tmp_path / "h1/airflow/secrets/airflow_flower_basic_auth").read_text() == "anna:own-hush"
    for host in ("h2", "h3"):
        assert [check["username"] for check in worker_checks(tmp_path, host)] == ["anna"] * 2
        assert (tmp_path / host / "airflow/secrets/airflow_flower_password").read_text() == "own-hush"


def test_one_host_that_others_reach_is_closed_by_the_firewall(tmp_path):
    """Its name in the inventory is none that an address need belong to."""
    assert render(tmp_path, ONE, "-e", "mlops_bind=10.0.0.9", "--tags", "firewall").returncode == 0
    rules = (tmp_path / "one/firewall/rules/mlops.nft").read_text()
    assert "ip daddr 10.0.0.9" in rules and "one" not in rules


def test_behind_a_proxy_every_container_asks_the_stack_without_it(tmp_path):
    given = {"__mlops_preflight": {"proxies": {"given": True, "no_proxy": "corp.example"}}}
    assert render(tmp_path, THREE, "-e", json.dumps(given)).returncode == 0
    names = {name for host in ("h1", "h2", "h3") for name in services(tmp_path, host)}
    for host in ("h1", "h2", "h3"):
        for name, service in services(tmp_path, host).items():
            found = service["environment"]["no_proxy"].split(",")
            assert service["environment"]["NO_PROXY"].split(",") == found and found[0] == "corp.example", name
            # BusyBox has no ear for no_proxy.
            assert " ".join(service["healthcheck"]["test"]).count("wget ") == " ".join(service["healthcheck"]["test"]).count("wget -Y off "), name
            assert names | {"localhost", "127.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.3", "metadata.google.internal"} <= set(found), name
