"""Whether a secret shows anywhere but in its file: in a run's output, in containers, processes, files, logs and reports."""

import base64
import json
import os
import pathlib
import re
import subprocess
import urllib.parse

import pytest
import yaml
from conftest import EPHEMERAL
from dotenv import dotenv_values

ROOT = pathlib.Path(__file__).resolve().parents[3]
SCENARIO = ROOT / "molecule/site"
# What all given passwords share stands behind the first characters of each (group_vars/all.yml). Those are letters, digits and
# dots, which no way of quoting changes.
OWN = 16
WEBHOOK = "api/webhooks/1/token"  # as converge.yml has it
CHANGED = {
    "infra_monitoring_password": "exporter.changed1'\"\\$x", "mlflow_db_password": "mlflow.changed.2'\"\\ $x",
    "airflow_admin_password": "admin.changed.03'\"\\ $x"}
# What lies in a team's folders beside their source: file -> what it holds.
TEAM = {
    ".git/config": "[remote \"origin\"]\n\turl = https://team:clone.token.f4Wz8Q@git.example/dags.git\n", ".env": "TEAM_PASSWORD=own.password.of.the.team7\n",
    "keys/sa.json": '{"type": "service_account", "private_key": "private.key.h2Jc9Xv4"}', "local.cfg": "token = ignored.by.git.k5Rn1t\n"}
TEAM_SECRETS = {"team's clone": "clone.token.f4Wz8Q", "team's .env": "own.password.of.the.team7", "team's key": "private.key.h2Jc9Xv4",
                "what git ignores": "ignored.by.git.k5Rn1t"}
# Delivers with no room to transfer to, and starts nothing.
NO_ROOM = """
- hosts: mlflow
  gather_facts: false
  vars: {mlops_deliver: [mlflow], ansible_remote_tmp: /proc/none}
  tasks:
    - import_role: {name: mlops.stack.mlops, tasks_from: files}
"""
ENVIRONMENTS = """
import json, pathlib, re
wanted = re.compile("|".join(map(re.escape, PATTERNS)).encode())
found = set()
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        command, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        continue
    found |= {("command line of " + command.split(b"\\0")[0].decode(), match.decode()) for match in wanted.findall(command)}
    for entry in environment.split(b"\\0"):
        found |= {(entry.partition(b"=")[0].decode(), match.decode()) for match in wanted.findall(entry)}
print(json.dumps(sorted(found)))
"""


class Loader(yaml.SafeLoader):
    """Reads Ansible's !unsafe as plain text."""


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def in_base64(text):
    """What stands in base64 of any text that holds this one, wherever it begins there; in both alphabets."""
    for before, spoilt in ((0, 0), (1, 2), (2, 3)):
        whole = (before + len(text)) // 3 * 4
        encoded = base64.b64encode(b"\0" * before + text.encode()).decode()[spoilt:whole]
        yield from {encoded, encoded.replace("+", "-").replace("/", "_")}


def every_secret():
    """Name -> what gives it away: all that was generated, all that is given, and what is derived from them."""
    given = yaml.load((SCENARIO / "group_vars/all.yml").read_text(), Loader)
    given.update(given.pop("site_dotenv"))
    found = {name: value[:OWN] for name, value in given.items() if name.upper().endswith("PASSWORD")}
    assert set(dotenv_values(EPHEMERAL / "secrets/.env", interpolate=False)) <= set(found)
    found.update({"changed " + name: value[:OWN] for name, value in CHANGED.items()})
    generated = {path.name: path.read_text().strip() for path in (EPHEMERAL / "secrets/generated").iterdir()}
    assert {"salt", "airflow_fernet_seed", "airflow_jwt_secret"} <= set(generated)
    return {**found, **generated, **TEAM_SECRETS, "webhook": WEBHOOK}


@pytest.fixture(scope="module")
def patterns():
    """Text -> name of the secret that it gives away."""
    secrets = every_secret()
    assert min(len(value) for value in secrets.values()) >= OWN, "a short one would be found in anything"
    return {text: name for name, value in secrets.items() for text in (value, urllib.parse.quote(value, safe=""), *in_base64(value))}


def names_in(text, patterns):
    return {name for pattern, name in patterns.items() if pattern in text}


def play(name, *arguments, **environment):
    """(exit status, all that a run says when it is asked to say everything)."""
    run = subprocess.run(
        ["ansible-playbook", "-vvv", "--diff", "--inventory", os.environ["MOLECULE_INVENTORY_FILE"], name, *arguments],
        cwd=SCENARIO, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, text=True, capture_output=True, check=False)
    return run.returncode, run.stdout + run.stderr


def converge(directory, *arguments, **environment):
    status, output = play("converge.yml", "--extra-vars", f"mlops_report_dir={directory}", *arguments, **environment)
    assert status == 0, output[-10000:]
    return output


@pytest.fixture(scope="module")
def run(host, tmp_path_factory):
    """A run that changes secrets and brings a team's folder, and its reports; test_output_of_a_run_by_another_configuration takes both back."""
    reports, files, team = (tmp_path_factory.mktemp(name) for name in ("report", "secrets", "team"))
    (files / "changed.json").write_text(json.dumps(CHANGED))
    for name, text in {**TEAM, ".gitignore": "local.cfg\n", "site_team.py": "SOURCE = 1\n", "site.yml": "groups: []\n"}.items():
        (team / name).parent.mkdir(exist_ok=True)
        (team / name).write_text(text)
    output = converge(reports, "--extra-vars", f"@{files / 'changed.json'}", "--extra-vars", f"airflow_dags_dir={team} monitoring_rules_dir={team}")
    for changed in ("mlflow/secrets/mlflow_pgpass", "airflow/secrets/airflow_admin_password", "monitoring/secrets/monitoring_postgres_password"):
        assert changed in output
    assert host.file("/opt/mlops/airflow/dags/site_team.py").exists and host.file("/opt/mlops/monitoring/prometheus/rules/team/site.yml").exists
    return output, reports


def test_output_of_a_run(run, patterns):
    output, _reports = run
    assert not names_in(output, patterns)


def test_reports(run, patterns):
    _output, reports = run
    written = [path for path in reports.rglob("*") if path.is_file()]
    assert written
    assert not {(path.name, name) for path in written for name in names_in(path.read_text(errors="replace"), patterns)}


def test_containers_as_the_engine_tells_them(host, run, patterns):
    told = host.check_output(" && ".join(f"docker {kind} inspect $(docker {kind} ls --quiet)" for kind in ("container", "image", "volume", "network")))
    assert not names_in(told, patterns)


def test_logs_of_containers(host, run, patterns):
    logs = host.check_output("cd /opt/mlops && docker compose logs --no-color --no-log-prefix")
    assert logs and not names_in(logs, patterns)


def listed_environment():
    """Variables that docs/security.md says hold a secret."""
    table = (ROOT / "docs/security.md").read_text().partition("<!-- environment -->")[2].partition("<!-- end of environment -->")[0]
    return {re.match(r"\| `([A-Z_]+)` \|", row).group(1) for row in table.splitlines() if row.startswith("| `")}


def test_processes(host, run, patterns):
    """Command lines and environments of every process on the host, those in containers with them."""
    script = f"PATTERNS = {list(patterns)!r}\n{ENVIRONMENTS}"
    read = subprocess.run(["docker", "exec", "-i", host.backend.host, "python3", "-"], input=script, capture_output=True, text=True, check=True)
    found = {(where, patterns[text]) for where, text in json.loads(read.stdout)}
    assert not {(where, name) for where, name in found if where not in listed_environment()}


def found_in_files(host, patterns, *arguments):
    """(path, name of a secret) by grep on the host."""
    read = subprocess.run(
        ["docker", "exec", "-i", host.backend.host, "grep", "-raoF", "-f", "-", *arguments],
        input="\n".join(patterns), capture_output=True, text=True, check=False)
    assert read.returncode in (0, 1), read.stderr
    return {(path, patterns.get(text, "?")) for path, _colon, text in (line.rpartition(":") for line in read.stdout.splitlines())}


def test_the_search_finds_what_is_there(host, run, patterns):
    found = {name for _path, name in found_in_files(host, patterns, "/opt/mlops")}
    assert found >= {"infra_postgres_password", "infra_redis_password", "airflow_db_password", "airflow_fernet_seed", "airflow_jwt_secret",
                     *(f"changed {name}" for name in CHANGED)}


def test_files(host, run, patterns):
    """All but the folders of secrets: what is delivered, what containers write, what the Engine and Ansible keep."""
    places = ["/opt/mlops", "/var/lib/docker/volumes", "/var/lib/docker/containers", "/root", "/tmp", "/etc", "/var/log"]
    assert not found_in_files(host, patterns, "--exclude-dir=secrets", *places)


def test_output_of_a_transfer_that_fails(host, run, patterns, tmp_path):
    (tmp_path / "no_room.yml").write_text(NO_ROOM)
    status, output = play(tmp_path / "no_room.yml", ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".collections"))
    assert status != 0 and "Deliver the files of mlflow" in output
    assert not names_in(output, patterns)
    assert not found_in_files(host, patterns, "/root", "/tmp")


def test_output_of_a_run_by_another_configuration(host, run, patterns, tmp_path):
    """The last: it brings back the secrets that the first run changed."""
    (tmp_path / "ansible.cfg").write_text("[defaults]\nstdout_callback = ansible.builtin.default\n")
    output = converge(tmp_path / "report", ANSIBLE_CONFIG=str(tmp_path / "ansible.cfg"), ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".collections"))
    assert "mlflow/secrets/mlflow_pgpass" in output
    assert not names_in(output, patterns)
    assert not host.file("/opt/mlops/airflow/dags/site_team.py").exists
