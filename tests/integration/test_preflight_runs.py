"""What a team can do wrong, as real runs of playbooks/preflight.yml: every defect that can stand beside the others is found in one run,
each is told with its message, nothing else is told, and nothing is changed. (Single functions: tests/unit/test_bad_configurations.py.)"""

import http.server
import json
import re
import socket
import subprocess
import threading

import pytest
from stack_plays import HUSH, ROOT, Stack, free_ports

KEY = {"type": "service_account", "project_id": "other-project", "client_email": "no address", "private_key": HUSH}
# Lines of .env, with what must be said of each.
DOTENV = [
    ("MLFLOW_DB_PASS=hush-0451", ["line 1: MLFLOW_DB_PASS is not a known name; did you mean MLFLOW_DB_PASSWORD?"]),
    ("MLFLOW_DB_NAME='a b'", ["line 2: MLFLOW_DB_NAME has not the right shape; wanted is a PostgreSQL identifier"]),
    ("MLFLOW_DB_NAME=", ["line 3: MLFLOW_DB_NAME is empty; give it a value, or remove the line", "line 3: MLFLOW_DB_NAME stands on line 2 too"]),
    ("MLFLOW_INSTANCE_CONNECTION=my-project:europe-west1", ["line 4: MLFLOW_INSTANCE_CONNECTION has not the right shape; wanted is project:region:instance"]),
    ("9LIVES=hush-0451", ["line 5: what stands before = is not a name"]),
    ("MLFLOW_DB_USER", ["line 6: MLFLOW_DB_USER has no =; write MLFLOW_DB_USER=value"]),
    ("DISCORD_WEBHOOK_URL=http://d.example/hush-0451", ["line 7: DISCORD_WEBHOOK_URL has not the right shape; wanted is an https URL"]),
    ("_AIRFLOW_WWW_USER_USERNAME=" + "é" * 65, ["line 8: _AIRFLOW_WWW_USER_USERNAME has not the right shape; wanted is 1 to 64 characters"]),
    ('GF_SECURITY_ADMIN_PASSWORD="hush\\n0451"', ["line 9: GF_SECURITY_ADMIN_PASSWORD has not the right shape; wanted is one line"]),
    ('_AIRFLOW_WWW_USER_PASSWORD="hush-0451\nx"', ["line 10: the value of _AIRFLOW_WWW_USER_PASSWORD goes on to line 11; close its quote"]),
    ("MLFLOW_DB_PASSWORD='a$b'hush-0451", ["line 12: cannot be read; a line is NAME=value"]),
    ("MLFLOW DB PORT=1", ["line 13: cannot be read"]),
    ("B='", ["line 14: cannot be read"]),
]
IMAGES = ("debian", "python", "builder", "postgres", "redis", "mlflow", "regmodel", "airflow", "prometheus", "alertmanager", "node_exporter",
          "postgres_exporter", "redis_exporter", "blackbox_exporter", "cloud_sql_proxy", "firewall", "grafana")

LEFT_OUT = """
- hosts: all
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - import_role: {name: mlops.stack.mlops, tasks_from: preflight}
- hosts: all
  gather_facts: false
  tasks:
    - command: "true"
    - import_role: {name: mlops.stack.mlops, tasks_from: left_out}
"""


def own_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return probe.getsockname()[0]


def told(said):
    """The list of problems."""
    lines = said.partition("nothing was changed:\n")[2].partition("\nOrigin:")[0].splitlines()
    assert "%d problem(s), nothing was changed" % len(lines) in said, said
    return lines


def check(stack, expected, *arguments):
    """The run tells each expected message in one line, no line beside them, no secret, and changes nothing."""
    before = stack.tree()
    status, said = stack.play("preflight.yml", *arguments)
    assert status == 2, said
    lines = told(said)
    for message in expected:
        assert len([line for line in lines if message in line]) == 1, "\n".join([message, *lines])
    assert [line for line in lines if not any(message in line for message in expected)] == []
    assert HUSH not in said
    assert stack.tree() == before
    assert subprocess.run(["docker", "ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project=" + stack.project],
                          check=True, capture_output=True).stdout == b""
    return said


@pytest.fixture
def stack(tmp_path):
    return Stack(tmp_path)


def test_all_that_can_be_wrong_at_once(stack):
    here = own_address()
    closed = free_ports(1, here)[0]
    stack.put(".env", "".join(line + "\n" for line, _messages in DOTENV) + "COMPANY=x\n")
    expected = [".env, " + message for _line, messages in DOTENV for message in messages]
    expected.append("controller: MLFLOW_INSTANCE_CONNECTION is given and MLFLOW_DB_PASSWORD is not; give it too")
    stack.put("regmodel.env", "A=1\nA=hush-0451\nC\n", 0o644)
    stack.put("gcp.json", json.dumps({**KEY, "type": "authorized_user"}))
    stack.put("mlflow-ui-access.json", json.dumps(KEY)[:-1])
    stack.put("mlflow-trainer.json", "[]")
    expected += [
        "regmodel.env: its mode is 0644, so that every user of the controller can read it; chmod 600", "regmodel.env, line 2: A stands on line 1 too",
        "regmodel.env, line 3: C has no =", "gcp.json: its type is not service_account", "mlflow-ui-access.json, line 1, column",
        "mlflow-trainer.json: is a JSON list where an object is wanted"]

    # Hosts and groups.
    one, two = stack.hosts["one"], stack.hosts["two"]
    three = stack.hosts["three"] = {"mlops_dir": str(stack.path / "opt3")}
    stack.groups = {"infra": ["one"], "airflow": ["one"], "mlflow": ["one", "three"], "regmodel": ["two"], "airflow_worker": ["two"],
                    "airflow_workers": ["three"], "monitor": ["three"]}
    del stack.vars["mlops_bind"]
    one.update(mlops_address="127.0.0.1")
    two.update(mlops_address="192.0.2.250", mlops_bind="a-name")
    three.update(mlops_address="192.0.2.250", mlops_bind="192.0.2.251")
    expected += [
        "controller: group airflow_workers is not one of the stack's; did you mean airflow_worker?",
        "controller: group monitor is not one of the stack's; did you mean monitoring?",
        "controller: group mlflow holds one, three; its parts run once: keep at most 1 host in it",
        "controller: group monitoring is empty; add the host that its parts shall run on to it",
        "controller: one has the address 127.0.0.1, where every other host finds itself; set mlops_address",
        # In the order of the groups.
        "controller: three and two have the same address, 192.0.2.250; set mlops_address of each to its own",
        "controller: images_build_host is nobody, which is not in the inventory",
        "- two: mlops_bind is a-name, which is a name, and ports are published on addresses",
        "- three: this host does not have the address 192.0.2.251, which mlops_bind says; set mlops_bind"]

    # Variables.
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    one.update({
        "mlflow_public_url": "https://a.example/ml", "mlflow_admin_password": "hush-0451", "regmodel_source_dir": str(stack.secrets),
        "mlflow_prot": 5001, "airflow_memry": "1g", "mlfow_port": 1, "mlflow_port": "abc", "airflow_memory": {"worker": "4"},
        "infra_postgres_port": taken.getsockname()[1], "airflow_port": closed, "airflow_flower_port": closed, "airflow_dags_dir": "/nowhere",
        "mlflow_memory": "{{ nowhere }}"})
    one["mlops_of_old"] = 1
    expected += [
        "- one: variable mlflow_public_url has not the right shape; wanted is a URL without a path",
        "- one: variable mlflow_admin_password has not the right shape; wanted is at least 12 characters",
        "controller: regmodel_source_dir names %s/Dockerfile, which is not there" % stack.secrets,
        "- one: variable mlflow_prot is not a known name; did you mean mlflow_port?",
        "- one: variable mlfow_port is not a known name; did you mean mlflow_port?",
        "- one: variable airflow_memry is not a known name; did you mean airflow_memory?",
        "- one: variable mlflow_port is 'abc'; wanted is a whole number", "- one: variable airflow_memory.worker is '4'; wanted is a size of 6m or more",
        "- one: infra_postgres_port: port %d on 127.0.0.1 is in use by another program; stop it or set infra_postgres_port" % taken.getsockname()[1],
        "- one: airflow_port and airflow_flower_port are both %d on 127.0.0.1; give one of them another port" % closed,
        "controller: airflow_dags_dir names /nowhere, which is not there", "- one: variable mlflow_memory cannot be evaluated: 'nowhere' is undefined",
        "MiB of memory and its roles need 90000000; give it more, move a role to another host, or set mlops_min_memory_mib"]
    two.update({
        "airflow_worker_queues": "default", "mlflow_db_password": [HUSH], "regmodel_port": 70000, "airflow_redis_host": "localhost",
        "airflow_db_host": "no-such-host.invalid", "airflow_db_port": 6543, "airflow_mlflow_tracking_uri": "http://%s:%d" % (here, closed),
        "regmodel_memory": "a lot",
        "regmodel_mlflow_tracking_uri": "mlflow:5000", "mlops_service_defaults": "restart", "regmodel_image": "My Image"})
    expected += [
        "- two: variable airflow_worker_queues is 'default'; wanted is a list", "- two: variable mlflow_db_password is a list; wanted is text",
        "- two: variable regmodel_port is 70000; wanted is a port",
        "- two: variable airflow_redis_host is 'localhost'; wanted is a name or an address",
        "- two: needs Airflow's database on port 6543 of no-such-host.invalid, and cannot resolve that name",
        "- two: needs MLflow on port %d of %s, and nothing accepts a connection there" % (closed, here),
        "- two: variable regmodel_memory is 'a lot'; wanted is a size",
        "- two: variable regmodel_mlflow_tracking_uri has not the right shape; wanted is a URL",
        "- two: variable mlops_service_defaults is 'restart'; wanted is a dictionary",
        "- two: variable regmodel_image is 'My Image'; wanted is an image's name"]
    three.update({
        "mlops_ports": {"mlflow": 5001}, "mlops_timeout": 0, "mlops_image_source": "package", "mlflow_db_name": False, "mlflow_db_host": "postgres://db",
        "mlops_allow_migration": "perhaps", "mlflow_workers": 0, "mlflow_allowed_hosts": ["a", {"b": 1}]})
    expected += [
        "- three: variable mlops_ports lacks postgres, redis, regmodel,", "- three: variable mlops_timeout is 0; wanted is a number of seconds above 0",
        "- three: mlops_image_source is 'package'; it can be registry, packages, archive, auto; did you mean packages?",
        "- three: variable mlflow_db_name is false (true or false); wanted is text; put it in quotes",
        "- three: variable mlflow_db_host is 'postgres://db'; wanted is a name or an address alone",
        "- three: variable mlops_allow_migration is 'perhaps'; wanted is true",
        "- three: variable mlflow_workers is 0; wanted is a whole number of 1 or more",
        "- three: variable mlflow_allowed_hosts: entry 2 is a dictionary; wanted is text"]
    everywhere = {"with_monitoring": "true", "images_build_host": "nobody", "mlops_min_memory_mib": {"infra": 90000000}}
    with taken:
        said = check(stack, expected, "-e", json.dumps(everywhere), "-vvv")
    assert len(expected) >= 55
    assert said.count("COMPANY is not used by this stack") == 1
    assert "no role reads the variable mlops_of_old;" in re.sub(r"\s+", " ", said)


def test_files_that_cannot_be_read_and_parts_without_what_they_need(stack):
    stack.put(".env", b"MLFLOW_DB_USER=x\r\nMLFLOW_DB_PASSWORD=hush-0451\xe9\r\n")
    stack.put("gcp.json", json.dumps({**KEY, "project_id": "", "private_key": "-----BEGIN PRIVATE KEY-----\\nhush-0451"}))
    (stack.secrets / "mlflow-ui-access.json").mkdir()
    (stack.secrets / "mlflow-trainer.json").symlink_to("gone.json")
    path = stack.put("regmodel.env", "A=hush-0451\n")
    (stack.path / "password").write_text("a password")
    subprocess.run(["ansible-vault", "encrypt", "--vault-password-file", str(stack.path / "password"), str(path)], check=True, capture_output=True)
    stack.groups = {"mlflow": [], "regmodel": ["one"], "airflow": ["one"], "airflow_worker": ["two"], "monitoring": ["one", "two"]}
    del stack.vars["mlops_bind"]
    stack.hosts["one"].update(mlops_address=own_address(), mlops_min_free_mib=10**9, mlflow_db_user="pg_x", regmodel_env_file=str(path))
    stack.hosts["two"].update(mlops_address="localhost", mlops_bind="0.0.0.0", ansible_python_interpreter="/no/python")
    check(stack, [
        ".env, line 2: byte 47 of the file is not UTF-8; save the file as UTF-8",
        "gcp.json: project_id is missing; download the JSON key", "gcp.json: private_key has \\n as two characters",
        "gcp.json: client_email is not an e-mail address", "mlflow-ui-access.json: is not a file; put a file there, or remove it",
        "mlflow-trainer.json: is not a file", "regmodel.env: cannot be decrypted; give the password",
        "group airflow has one and group infra has no host, so there is no database for Airflow; add a host to infra, or set airflow_db_host",
        "group airflow has one and group infra has no host, so there is no broker for Airflow; add a host to infra, or set airflow_redis_host",
        "group airflow has one and group mlflow has no host, so there is no MLflow for Airflow's tasks",
        "group airflow_worker has two and group infra has no host, so there is no database for the workers",
        "group airflow_worker has two and group infra has no host, so there is no broker for the workers",
        "group airflow_worker has two and group mlflow has no host, so there is no MLflow for Airflow's tasks",
        "group regmodel has one and group mlflow has no host, so there is no model registry for RegModel",
        "group monitoring holds one, two; its parts run once", "two has the address localhost, where every other host finds itself",
        "controller: variable mlflow_db_user has not the right shape; wanted is a PostgreSQL role",
        "MiB are free in /var/lib/docker and 1000000000 are needed; make room",
        "- two: preflight cannot run there; is it up, and is Python 3.9 or later at ansible_python_interpreter?",
    ])


class WantsALogin(http.server.BaseHTTPRequestHandler):
    """A registry without TLS, which the Engine speaks to because it is on loopback."""

    def do_GET(self):
        self.send_response(401)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("WWW-Authenticate", 'Basic realm="team"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_arguments):
        """Quiet."""


@pytest.fixture
def registry():
    """Address of a registry that answers, if only that one has to log in."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), WantsALogin)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_images_that_cannot_be_got(stack, registry):
    stack.vars.update({"images_wanted": ["redis"], "images_registry_mirror": "127.0.0.1:1", "images_probe_timeout": 4,
                       "mlops_images": {**dict.fromkeys(IMAGES, "mlops/other:1"), "redis": "mlops/none:1"}})
    stack.groups["infra"] = []
    stack.groups["regmodel"] = ["one", "two", "three"]
    stack.groups["mlflow"] = []
    stack.groups["airflow"] = stack.groups["airflow_worker"] = []
    stack.vars.update(mlops_check_network=False, regmodel_mlflow_tracking_uri="http://mlflow.example", mlops_bind="0.0.0.0")
    stack.hosts["one"].update(mlops_address="192.0.2.250", mlops_image_source="registry")
    stack.hosts["two"].update(mlops_address="192.0.2.251", mlops_image_source="archive", regmodel_port=free_ports(1)[0])
    # Its registry wants a login, so it may have the images.
    stack.hosts["three"] = {"mlops_dir": str(stack.path / "opt3"), "mlops_address": "192.0.2.252", "mlops_image_source": "registry",
                            "images_registry_mirror": registry, "regmodel_port": free_ports(1)[0]}
    check(stack, ["- one: lacks mlops/none:1, and its Engine gets no answer from the registry about 127.0.0.1:1/library/debian:trixie-slim (Get",
                  "- two: lacks mlops/none:1, and images_archive is not set: name a tarball"])


def test_what_is_right_is_let_through_however_odd(stack):
    stack.put(".env", ("\ufeff" + "\r\n".join([
        "MLFLOW_DB_PASSWORD='hush-0451 $HOME ${x} #no comment \"quoted\"'", 'GF_SECURITY_ADMIN_PASSWORD="hush-0451 \\"x\\" \\\\ é"',
        "_AIRFLOW_WWW_USER_PASSWORD='hush-0451" + "é" * 5000 + "'", "export MLFLOW_DB_USER = fred  # who",
        "MLFLOW_INSTANCE_CONNECTION=my-project:europe-west1:mlflow", ""])))
    # MLflow's database is elsewhere: .env says so, and no variable does.
    stack.groups = {"mlflow": ["one"]}
    stack.hosts["one"].update(mlflow_port=str(free_ports(1)[0]), mlops_timeout="900", with_monitoring="no", mlflow_memory="1.5GiB")
    before = stack.tree()
    status, said = stack.play("preflight.yml", "--limit", "one")
    assert status == 0 and said.count("no problems found") == 1, said
    assert HUSH not in said and stack.tree() == before


def test_a_host_that_does_not_answer_is_left_out_unless_the_others_need_it(stack):
    stack.hosts["two"] = {"mlops_dir": str(stack.path / "opt2"), "ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1,
                          "mlops_address": "192.0.2.250"}
    stack.hosts["one"]["mlops_address"] = own_address()
    stack.vars["mlops_bind"] = "0.0.0.0"
    stack.groups["mlflow"] = ["two"]
    play = stack.path / "play.yml"
    play.write_text(LEFT_OUT)
    why = "Connection refused"
    status, said = stack.play(play)
    assert status == 2, said
    assert "two does not answer and is left out; the others go on (" in said and why in said
    # Nothing tries it again, nothing that it holds is missed, and it is named at the end.
    assert "changed: [one]" in said and "changed: [two]" not in said and said.count("UNREACHABLE") == 0
    assert "Not done on two: no answer when the run began." in said.partition("changed: [one]")[2]

    stack.groups["airflow"] = ["two"]
    status, said = stack.play(play)
    assert status == 2 and "changed: [one]" not in said
    assert [line for line in told(said) if line.startswith("- two: does not answer (") and why in line]
    # A look alone tells every host, whatever it holds.
    stack.groups["airflow"] = ["one"]
    check(stack, ["- two: does not answer ("])


def test_airflows_data_and_logins_that_everybody_knows(stack):
    stack.put(".env", "_AIRFLOW_WWW_USER_PASSWORD=admin\n")
    stack.groups["monitoring"] = ["one"]
    stack.hosts["one"].update({
        "airflow_connections": {"db": {"password": HUSH}}, "airflow_pools": {"p": {}}, "airflow_requirements": ["-r " + HUSH],
        "monitoring_grafana_password": "admin", "airflow_dags_dir": str(ROOT / "molecule/airflow/airflow2")})
    stack.vars["with_monitoring"] = True
    wrong = ["- controller: airflow_connections: db has neither conn_type nor uri", "- controller: airflow_pools: p has no number of slots",
             "- controller: airflow_requirements, line 1 is no requirement"]
    # DAGs of Airflow 2 stop nobody; a look names what Airflow 3 still takes too.
    said = re.sub(r"\s+", " ", check(stack, wrong, "-vvv"))
    assert said.count("[WARNING]: airflow_dags_dir: nightly_etl.py does not fit Airflow 3: line 8: ") == 1
    assert said.count("[WARNING]: airflow_dags_dir: still_served.py uses what Airflow 3 will drop: line 9: ") == 1
    stack.vars["mlops_bind"] = "0.0.0.0"
    check(stack, [*wrong, "- one: airflow_admin_password (_AIRFLOW_WWW_USER_PASSWORD in .env) is the user's own name, admin or airflow",
                  "- one: monitoring_grafana_password (GF_SECURITY_ADMIN_PASSWORD in .env) is the user's own name, admin or airflow"])
