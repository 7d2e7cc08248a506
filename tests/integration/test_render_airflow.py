"""What the role airflow renders of a team's data, of a public URL and of Flower's login, for one host and for three."""

import json
import subprocess

import yaml
from stack_plays import NAME
from test_render import ONE, ROOT, THREE, env, render, services, worker_checks

HUSH = "hush-0451"
KEY = {"type": "service_account", "project_id": "my-project", "private_key": HUSH, "client_email": "a@b"}


def given(path, **variables):
    """The argument that gives variables without showing them."""
    (path / "given.json").write_text(json.dumps(variables))
    return "--extra-vars", "@%s" % (path / "given.json")


def objects(path, host):
    return json.loads((path / host / "airflow/secrets/airflow_objects").read_text())


def test_data_stands_in_one_secret_that_only_init_reads(tmp_path):
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "secrets/gcp.json").write_text(json.dumps(KEY))
    secret = subprocess.run(["ansible-vault", "encrypt_string", "--vault-password-file", "/dev/stdin", HUSH + "-vault"], cwd=ROOT, input="a password",
                            check=True, capture_output=True, text=True).stdout
    (tmp_path / "password").write_text("a password")
    (tmp_path / "vaulted.yml").write_text(
        "airflow_connections:\n  db:\n    conn_type: postgres\n    password: %s\n" % secret.replace("\n", "\n    "))
    arguments = ["--vault-password-file", str(tmp_path / "password"), "-e", "@%s" % (tmp_path / "vaulted.yml"), "-vvv", "--diff"]
    done = render(tmp_path, ONE, *given(tmp_path, airflow_variables={"a": HUSH, "b": [1]}, airflow_pools={"p": {"slots": 2}}), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert HUSH not in done.stdout + done.stderr
    found = objects(tmp_path, "one")
    assert found["variables"] == {"a": HUSH, "b": [1]} and found["pools"] == {"p": {"slots": 2}}
    assert found["connections"]["db"] == {"conn_type": "postgres", "password": HUSH + "-vault"}
    google = found["connections"]["google_cloud_default"]
    assert google["conn_type"] == "google_cloud_platform" and google["extra"]["project"] == "my-project"
    assert json.loads(google["extra"]["keyfile_dict"]) == KEY
    readers = {name for name, service in services(tmp_path, "one").items() if "airflow_objects" in service.get("secrets", [])}
    assert readers == {"airflow-init"}
    holders = {path.name for path in (tmp_path / "one").rglob("*") if path.is_file() and HUSH in path.read_text(errors="replace")}
    assert holders == {"airflow_objects"}


def test_googles_connection_can_be_given(tmp_path):
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "secrets/gcp.json").write_text(json.dumps(KEY))
    mine = {"google_cloud_default": {"conn_type": "google_cloud_platform"}}
    assert render(tmp_path, ONE, *given(tmp_path, airflow_connections=mine), "--tags", "infra,airflow").returncode == 0
    assert objects(tmp_path, "one")["connections"] == mine


def test_changed_data_recreates_init_alone_and_requirements_every_component(tmp_path):
    assert render(tmp_path, ONE, "--tags", "infra,airflow").returncode == 0
    before = services(tmp_path, "one")
    assert render(tmp_path, ONE, *given(tmp_path, airflow_variables={"a": "b"}), "--tags", "infra,airflow").returncode == 0
    after = services(tmp_path, "one")
    assert {name for name in before if before[name] != after[name]} == {"airflow-init"}
    # A command line's variables are those of every host.
    assert render(tmp_path, ONE, *given(tmp_path, airflow_requirements=["humanize==4.12.3"]), "--tags", "infra,airflow").returncode == 0
    after = services(tmp_path, "one")
    images = {service["image"] for name, service in after.items() if name.startswith("airflow-") or name == "flower"}
    assert len(images) == 1 and images != {before["airflow-init"]["image"]}
    assert {name for name in before if before[name]["image"] != after[name]["image"]} == {
        name for name in before if name.startswith("airflow-") or name == "flower"}


def test_one_image_has_what_any_host_asks_for(tmp_path):
    inventory = json.loads(json.dumps(THREE))
    inventory["children"]["airflow_worker"]["hosts"]["h3"] = {"airflow_requirements": ["humanize==4.12.3"]}
    assert render(tmp_path, inventory, "--tags", "infra,airflow").returncode == 0
    assert len({services(tmp_path, host)[name]["image"] for host, name in
                (("h1", "airflow-webserver"), ("h2", "airflow-worker"), ("h3", "airflow-worker"))}) == 1


def test_a_public_url_leaves_the_way_of_the_workers(tmp_path):
    url = "https://airflow.example.org/flow"
    done = render(tmp_path, THREE, *given(tmp_path, airflow_public_url=url, airflow_proxy_addresses=["10.0.0.9", "10.1.0.0/16"],
                                          airflow_allowed_hosts=["flow.internal", "flow.example.net"]), "--tags", "infra,airflow")
    assert done.returncode == 0, done.stdout
    for host in ("h1", "h2", "h3"):
        found = env(tmp_path, host + "/airflow/airflow.env")
        assert found["AIRFLOW__API__BASE_URL"] == url
        inside = "airflow-webserver:8080" if host == "h1" else "10.0.0.1:8081"
        assert found["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://%s/flow/execution/" % inside
    webserver = services(tmp_path, "h1")["airflow-webserver"]
    assert webserver["command"] == ["api-server", "--proxy-headers"]
    assert webserver["environment"] == {"FORWARDED_ALLOW_IPS": "10.0.0.9,10.1.0.0/16", "MLOPS_AIRFLOW_ALLOWED_HOSTS": "flow.internal,flow.example.net"}
    assert webserver["labels"]["stack.mlops.url"] == url


def test_flower_asks_for_a_login_off_loopback_only(one, three):
    assert env(one, "one/airflow/flower.env") == {"FLOWER_READ_ONLY": "true", "FLOWER_UNAUTHENTICATED_API": "true"}
    assert not (one / "one/airflow/secrets/airflow_flower_password").exists()
    password = (three / "secrets/generated/airflow_flower_password").read_text().strip()
    assert env(three, "h1/airflow/flower.env") == {
        "FLOWER_READ_ONLY": "true", "AIRFLOW__CELERY__FLOWER_BASIC_AUTH_CMD": "cat /run/secrets/airflow_flower_basic_auth"}
    assert (three / "h1/airflow/secrets/airflow_flower_basic_auth").read_text() == f"{NAME}:{password}"
    readers = {name for name, service in services(three, "h1").items() if "airflow_flower_basic_auth" in service.get("secrets", [])}
    assert readers == {"flower"}
    for host in ("h2", "h3"):
        checks = worker_checks(three, host)
        assert [check["username"] for check in checks] == [NAME] * 2
        assert {check["password_file"] for check in checks} == {str(three / host / "airflow/secrets/airflow_flower_password")}
        assert (three / host / "airflow/secrets/airflow_flower_password").read_text() == password
        assert not (three / host / "airflow/secrets/airflow_flower_basic_auth").exists()


def test_on_loopback_airflow_serves_no_foreign_name_and_lets_no_container_log_in_by_a_known_password(one, three):
    assert services(one, "one")["airflow-webserver"]["environment"] == {"MLOPS_AIRFLOW_ALLOWED_HOSTS": "", "MLOPS_AIRFLOW_LOGIN": "host"}
    assert env(one, "one/airflow/init.env")["MLOPS_AIRFLOW_EXPOSED"] == "false"
    assert services(three, "h1")["airflow-webserver"]["environment"] == {"MLOPS_AIRFLOW_ALLOWED_HOSTS": "*"}
    assert env(three, "h1/airflow/init.env")["MLOPS_AIRFLOW_EXPOSED"] == "true"


def test_further_volumes_are_those_of_all_components(tmp_path):
    volumes = ["/srv/data:/data:ro", "scratch:/scratch", "./own:/own:ro"]
    assert render(tmp_path, ONE, *given(tmp_path, airflow_volumes=volumes), "--tags", "infra,airflow").returncode == 0
    document = yaml.safe_load((tmp_path / "one/airflow/services.yaml").read_text())
    assert document["services"] and all(service["volumes"][-3:] == volumes for service in document["services"].values())
    assert document["volumes"] == {"airflow-logs": {}, "airflow-worker-tmp": {}, "scratch": {}}
    subprocess.run(["docker", "compose", "--project-directory", tmp_path / "one", "config", "--quiet"], check=True)
