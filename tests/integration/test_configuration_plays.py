"""playbooks/preflight.yml and show-config.yml as a user runs them, against a directory in place of the host's /opt/mlops."""

import json
import pathlib
import socket
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HUSH = "hush-0451"
GROUPS = ("infra", "mlflow", "regmodel", "airflow", "airflow_worker")
PORTS = ("postgres", "redis", "mlflow", "regmodel", "airflow", "flower", "airflow_exporter", "node_exporter", "prometheus", "alertmanager", "grafana")


def free_ports(count):
    """Ports that nothing listens on."""
    sockets = [socket.socket() for _number in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def stack(tmp_path):
    """A directory with an inventory of two hosts, which are this machine, and a place for the team's files."""
    (tmp_path / "secrets").mkdir(mode=0o700)
    inventory = {
        # The second host has no role: what it finds is what the first finds of the controller.
        "hosts": {"one": {"mlops_dir": str(tmp_path / "opt")}, "two": {"mlops_dir": str(tmp_path / "opt2")}},
        "children": {group: {"hosts": {"one": {}}} for group in GROUPS},
        "vars": {
            "ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}", "mlops_project": "config-" + tmp_path.name.lower(),
            "mlops_bind": "127.0.0.1", "mlops_ports": dict(zip(PORTS, free_ports(len(PORTS)), strict=True)),
            "mlops_min_free_mib": 1, "mlops_min_memory_mib": {}}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": inventory}))
    return tmp_path


def play(stack, name, *arguments):
    """The playbook's exit status and all that it printed."""
    done = subprocess.run(["ansible-playbook", "-i", str(stack / "hosts.yml"), str(ROOT / "playbooks" / name), *arguments],
                          cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    return done.returncode, done.stdout + done.stderr


def put(stack, name, text, mode=0o600):
    path = stack / "secrets" / name
    path.write_text(text)
    path.chmod(mode)
    return path


def tree(path):
    return {str(each.relative_to(path)): each.read_bytes() if each.is_file() else None for each in path.rglob("*")}


def test_all_that_is_wrong_is_one_list_and_nothing_is_changed(stack):
    put(stack, ".env", "MLFLOW_DB_PASS=hush-0451\nMLFLOW_DB_NAME='a b'\nMLFLOW_INSTANCE_CONNECTION=my-project:europe-west1:db\n"
                       "MLFLOW_DB_NAME=\nCOMPANY=x\nB='\n")
    put(stack, "regmodel.env", "A=1\nA=hush-0451\n", 0o644)
    put(stack, "gcp.json", '{"type": "service_account", "project_id": "other-project", "private_key": "hush-0451", "client_email": "a@b.c"}')
    put(stack, "mlflow-ui-access.json", "{")
    put(stack, "mlflow-trainer.json", "[]")
    before = tree(stack)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, said = play(stack, "preflight.yml", "-e", "mlops_image_source=package", "-e", "airflow_dags_dir=/nowhere", "-e", "mlflow_db_user=pg_x",
                            "-e", "mlflow_port=%d" % taken.getsockname()[1], "-e", "regmodel_port=70000",
                            "-e", '{"mlops_min_memory_mib": {"infra": 90000000}}')
    assert status != 0
    for message in (
            "MLFLOW_DB_PASS is not a known name; did you mean MLFLOW_DB_PASSWORD?", "MLFLOW_DB_NAME has not the right shape",
            "MLFLOW_DB_NAME stands on line 2 too", "MLFLOW_DB_NAME is empty", ".env, line 6: cannot be read",
            "regmodel.env: its mode is 0644", "regmodel.env, line 2: A stands on line 1 too",
            "private_key is not a whole PEM block", "its project_id is other-project and MLFLOW_INSTANCE_CONNECTION is in the project my-project",
            "mlflow-ui-access.json, line 1, column 2: is not JSON", "mlflow-trainer.json: is a JSON list",
            "variable mlflow_db_user has not the right shape", "airflow_dags_dir names /nowhere, which is not there"):
        # Once in the list, and once more in the result that Ansible shows below it, however many hosts found it.
        assert said.count(message) == 2, (message, said)
    for message in ("- one: mlops_image_source is 'package'", "- one: mlflow_port: port", "- one: regmodel_port is 70000",
                    "MiB of memory and its roles need 90000000; give it more, move a role to another host, or set mlops_min_memory_mib"):
        assert message in said, said
    assert said.count("line 5: COMPANY is not used by this stack") == 1
    assert HUSH not in said
    assert tree(stack) == before


def test_where_nothing_is_wrong_it_says_so_and_changes_nothing(stack):
    put(stack, ".env", "\ufeffMLFLOW_DB_USER=fred\r\nMLFLOW_DB_PASSWORD='hush-0451'\r\n")
    before = tree(stack)
    status, said = play(stack, "preflight.yml")
    assert status == 0, said
    assert said.count("no problems found") == 1 and "WARNING" not in said, said
    assert tree(stack) == before


def test_an_encrypted_environment_file_counts(stack):
    path = put(stack, ".env", "MLFLOW_DB_USER=fred\nMLFLOW_DB_PASSWORD=hush-0451\n")
    (stack / "password").write_text("a password")
    vault = ["--vault-password-file", str(stack / "password")]
    subprocess.run(["ansible-vault", "encrypt", *vault, str(path)], check=True, capture_output=True)
    # A variable's name may say nothing of a secret; that it is encrypted does.
    variable = subprocess.run(["ansible-vault", "encrypt_string", *vault, "--name", "mlflow_memory", HUSH], check=True, capture_output=True, text=True)
    (stack / "variables.yml").write_text(variable.stdout)
    status, said = play(stack, "show-config.yml", "--limit", "one", *vault, "-e", "@%s" % (stack / "variables.yml"))
    assert status == 0 and HUSH not in said, said
    lines = [line.strip(' ",').split() for line in said.splitlines()]
    assert ["mlflow_db_user", "fred", ".env"] in lines and ["mlflow_memory", "set", "variable"] in lines
    status, said = play(stack, "preflight.yml")
    assert status != 0 and "%s: cannot be decrypted; give the password" % path in said


def test_a_variable_of_the_host_that_has_the_part_holds_on_the_others(stack):
    put(stack, ".env", "MLFLOW_DB_NAME=models\n")
    inventory = yaml.safe_load((stack / "hosts.yml").read_text())
    inventory["all"]["children"]["mlflow"]["vars"] = {"mlflow_db_name": "runs"}
    (stack / "hosts.yml").write_text(yaml.safe_dump(inventory))
    status, said = play(stack, "show-config.yml", "--limit", "two")
    assert status == 0, said
    assert ["mlflow_db_name", "runs", "variable"] in [line.strip(' ",').split() for line in said.splitlines()]


def test_what_holds_is_shown_with_its_source_and_without_secrets(stack):
    put(stack, ".env", "MLFLOW_DB_USER=fred\nMLFLOW_DB_NAME=models\n_AIRFLOW_WWW_USER_PASSWORD=hush-0451\n"
                       "DISCORD_WEBHOOK_URL=https://d.example/hush-0451\n")
    status, said = play(stack, "show-config.yml", "--limit", "one", "-e", "mlflow_db_user=anna", "-e", "mlflow_db_password=hush-0451",
                        "-e", "airflow_uid=50001", "-e", '{"mlflow_environment": {"A": "hush-0451"}}')
    assert status == 0, said
    lines = {line.split()[0]: line.split()[1:] for line in (line.strip(' ",') for line in said.splitlines()) if line}
    assert {name: lines[name] for name in (
        "mlflow_db_user", "mlflow_db_password", "mlflow_db_name", "airflow_admin_username", "airflow_admin_password", "monitoring_grafana_password",
        "monitoring_discord_webhook_url", "airflow_uid", "mlflow_environment")} == {
            "mlflow_db_user": ["anna", "variable"], "mlflow_db_password": ["set", "variable"], "mlflow_db_name": ["models", ".env"],
            "airflow_admin_username": ["admin", "default"], "airflow_admin_password": ["set", ".env"],
            "monitoring_grafana_password": ["generated", "generated"], "monitoring_discord_webhook_url": ["set", ".env"],
            "airflow_uid": ["50001", "variable"], "mlflow_environment": ["set", "variable"]}
    assert HUSH not in said and "WARNING" not in said
    assert not (stack / "secrets/generated").exists()


def test_data_made_with_secrets_that_are_gone_is_told(stack):
    (stack / "opt").mkdir()
    digests = dict.fromkeys(("postgres_password", "airflow_fernet_key"), "0" * 32)
    (stack / "opt/state.json").write_text(json.dumps({"salt": "s", "secrets": digests, "versions": {}}))
    volume = yaml.safe_load((stack / "hosts.yml").read_text())["all"]["vars"]["mlops_project"] + "-data"
    subprocess.run(["docker", "volume", "create", "--label", "com.docker.compose.project=" + volume.removesuffix("-data"), volume],
                   check=True, capture_output=True)
    try:
        status, said = play(stack, "preflight.yml", "--limit", "one")
    finally:
        subprocess.run(["docker", "volume", "rm", volume], check=True, capture_output=True)
    assert status != 0
    assert "- one: the data on this host was made with another airflow_fernet_key and postgres_password; point mlops_secrets_dir" in said
    assert not (stack / "secrets/generated").exists()


def test_airflows_data_and_known_logins_are_in_the_list(stack):
    put(stack, ".env", "_AIRFLOW_WWW_USER_PASSWORD=admin\n")
    (stack / "given.yml").write_text(yaml.safe_dump({
        "airflow_connections": {"db": {"password": HUSH}}, "airflow_pools": {"p": {}}, "airflow_requirements": ["-r %s" % HUSH],
        "monitoring_grafana_password": "admin", "with_monitoring": True}))
    inventory = yaml.safe_load((stack / "hosts.yml").read_text())
    inventory["all"]["children"]["monitoring"] = {"hosts": {"one": {}}}
    (stack / "hosts.yml").write_text(yaml.safe_dump(inventory))
    wrong = ("- controller: airflow_connections: db has neither conn_type nor uri", "- controller: airflow_pools: p has no number of slots",
             "- controller: airflow_requirements, line 1 is no requirement")
    known = ("- one: airflow_admin_password (_AIRFLOW_WWW_USER_PASSWORD in .env) is the user's own name or admin, and ports are published on 0.0.0.0",
             "- one: monitoring_grafana_password (GF_SECURITY_ADMIN_PASSWORD in .env) is the user's own name or admin")
    status, said = play(stack, "preflight.yml", "-e", "@%s" % (stack / "given.yml"), "-vvv")
    assert status != 0 and HUSH not in said, said
    assert [message for message in wrong if message not in said] == [] and not any(message in said for message in known), said
    status, said = play(stack, "preflight.yml", "-e", "@%s" % (stack / "given.yml"), "-e", "mlops_bind=0.0.0.0")
    assert status != 0 and [message for message in known if message not in said] == [], said
