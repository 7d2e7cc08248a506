"""playbooks/preflight.yml and show-config.yml as a user runs them, against a directory in place of the host's /opt/mlops."""

import json
import os
import subprocess

import pytest
from stack_plays import HUSH, ROOT, Stack

# A run as far as the place of the secrets goes, and what it generates there.
BEGINNING = """
- hosts: all
  gather_facts: false
  tasks:
    - import_role: {name: mlops.stack.mlops, tasks_from: preflight}
    - debug: {msg: "{{ __mlops_given.MLFLOW_DB_USER.value }} and {{ mlops_secrets.redis_password | length }} characters"}
"""
SECRETS = """
- hosts: one
  gather_facts: false
  tasks:
    - import_role: {name: mlops.stack.mlops, tasks_from: tls}
    - copy:
        content: "{{ [mlops_secrets, __mlops_infra_key] | to_json }}"
        dest: "{{ mlops_dir }}"
        mode: "0600"
      vars: {__mlops_infra_key: "{{ lookup('file', __mlops_tls_dir ~ '/server.key') }}"}
"""
# What preflight finds of a RegModel that runs, and whether it may load other models than it may after the run.
SERVED = """
- hosts: one
  gather_facts: false
  tasks:
    - import_role: {name: mlops.stack.mlops}
    - assert:
        that: __mlops_regmodel_differs == item.differs
      vars: {__mlops_preflight: {served_by: "{{ item.found }}"}}
      loop:
        - {found: {}, differs: false}
        - {found: {image: "{{ mlops_images.regmodel }}", allowed: "{{ allowed }}"}, differs: false}
        - {found: {image: "{{ mlops_images.regmodel }}", allowed: ""}, differs: "{{ not own }}"}
        - {found: {image: "mlops/regmodel:former", allowed: "{{ allowed }}"}, differs: "{{ not own }}"}
"""


@pytest.fixture
def stack(tmp_path):
    return Stack(tmp_path)


def test_where_nothing_is_wrong_it_says_so_and_changes_nothing(stack, monkeypatch):
    # Each host would go on by itself, and each say it.
    monkeypatch.setenv("ANSIBLE_STRATEGY", "free")
    stack.put(".env", "\ufeffMLFLOW_DB_USER=fred\r\nMLFLOW_DB_PASSWORD='hush-0451'\r\n")
    before = stack.tree()
    status, said = stack.play("preflight.yml")
    assert status == 0, said
    assert said.count("no problems found") == 1 and said.count("WARNING") == 1, said
    assert "[WARNING]: in no group of the stack, so that nothing runs there: two" in said
    assert stack.tree() == before


def test_an_encrypted_environment_file_counts(stack):
    path = stack.put(".env", "MLFLOW_DB_USER=fred\nMLFLOW_DB_PASSWORD=hush-0451\n")
    (stack.path / "password").write_text("a password")
    vault = ["--vault-password-file", str(stack.path / "password")]
    subprocess.run(["ansible-vault", "encrypt", *vault, str(path)], check=True, capture_output=True)
    # A variable's name may say nothing of a secret; that it is encrypted does.
    variable = subprocess.run(["ansible-vault", "encrypt_string", *vault, "--name", "mlflow_memory", HUSH], check=True, capture_output=True, text=True)
    (stack.path / "variables.yml").write_text(variable.stdout)
    status, said = stack.play("show-config.yml", "--limit", "one", *vault, "-e", "@%s" % (stack.path / "variables.yml"))
    assert status == 0 and HUSH not in said, said
    lines = [line.strip(' ",').split() for line in said.splitlines()]
    assert ["mlflow_db_user", "fred", ".env"] in lines and ["mlflow_memory", "set", "variable"] in lines
    status, said = stack.play("preflight.yml")
    assert status != 0 and "%s: cannot be decrypted; give the password" % path in said


def test_a_variable_of_the_host_that_has_the_part_holds_on_the_others(stack):
    stack.put(".env", "MLFLOW_DB_NAME=models\n")
    stack.group_vars["mlflow"] = {"mlflow_db_name": "runs"}
    status, said = stack.play("show-config.yml", "--limit", "two")
    assert status == 0, said
    assert ["mlflow_db_name", "runs", "variable"] in [line.strip(' ",').split() for line in said.splitlines()]


def test_what_holds_is_shown_with_its_source_and_without_secrets(stack):
    stack.put(".env", "MLFLOW_DB_USER=fred\nMLFLOW_DB_NAME=models\n_AIRFLOW_WWW_USER_PASSWORD=hush-0451\n"
                      "DISCORD_WEBHOOK_URL=https://d.example/hush-0451\n")
    status, said = stack.play("show-config.yml", "--limit", "one", "-e", "mlflow_db_user=anna", "-e", "mlflow_db_password=hush-0451",
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
    assert not (stack.secrets / "generated").exists()


def test_data_made_with_secrets_that_are_gone_is_told(stack):
    (stack.path / "opt").mkdir()
    digests = dict.fromkeys(("postgres_password", "airflow_fernet_key"), "0" * 32)
    (stack.path / "opt/state.json").write_text(json.dumps({"salt": "s", "secrets": digests, "versions": {"postgres": "16"}, "volumes": {}}))
    # The image that will run decides, whatever its name says.
    images = subprocess.run(["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"], check=True, capture_output=True, text=True).stdout.split()
    stack.hosts["one"].update(infra_postgres_image=next(image for image in images if image.startswith("mlops/postgres:17")),
                              airflow_image="127.0.0.1:1/airflow:16")
    volume = stack.project + "-data"
    subprocess.run(["docker", "volume", "create", "--label", "com.docker.compose.project=" + stack.project, volume],
                   check=True, capture_output=True)
    try:
        status, said = stack.play("preflight.yml", "--limit", "one")
    finally:
        subprocess.run(["docker", "volume", "rm", volume], check=True, capture_output=True)
    assert status != 0
    assert "- one: the data on this host was made with another airflow_fernet_key and postgres_password; point mlops_secrets_dir" in said
    assert "- one: the image 127.0.0.1:1/airflow:16, given for airflow, is not on this host and no registry gives it; correct its name" in said
    assert "postgres 16 holds data here and 17 is wanted" in said and "airflow 16" not in said
    assert not (stack.secrets / "generated").exists()


def begin(stack, *arguments):
    (stack.path / "begin.yml").write_text(BEGINNING)
    return stack.play(stack.path / "begin.yml", "--limit", "one", *arguments)


def test_no_configuration_makes_names_of_hosts_of_secrets(stack):
    inventory = stack.path / "inventory"
    inventory.mkdir()
    stack.path, stack.secrets = inventory, stack.secrets.rename(inventory / ".secrets")
    stack.put(".env", "MLFLOW_DB_USER=hush-0451\n")
    assert begin(stack)[0] == 0
    kept = [path.read_text().strip() for path in (stack.secrets / "generated").iterdir()] + [HUSH]
    assert len(kept) > 3
    (inventory / "begin.yml").unlink()
    (inventory.parent / "team.cfg").write_text("[defaults]\n[inventory]\n")
    listed = subprocess.run(["ansible-inventory", "-i", str(inventory), "--graph"], check=True, capture_output=True, text=True,
                            env={**os.environ, "ANSIBLE_CONFIG": str(inventory.parent / "team.cfg")})
    said = listed.stdout + listed.stderr
    assert "|--one" in said and not [secret for secret in kept if secret in said]


def test_a_run_moves_the_secrets_of_former_versions_and_a_look_leaves_them(stack):
    former = stack.secrets.rename(stack.path / "secrets")
    for name, text in {".env": "MLFLOW_DB_USER=fred\n", "generated/redis_password": "x" * 17}.items():
        (former / name).parent.mkdir(exist_ok=True, mode=0o700)
        (former / name).write_text(text)
        (former / name).chmod(0o600)
    for status, said in (stack.play("preflight.yml", "--limit", "one"), begin(stack, "--check")):
        assert status == 0 and former.is_dir() and not stack.secrets.exists(), said
    # The look generates nothing, a check run does.
    before = sorted(path.name for path in (former / "generated").iterdir())
    status, said = begin(stack)
    assert status == 0 and said.count(f"The secrets lie in {stack.secrets} now; they were moved from {former}.") == 1, said
    assert "fred and 17 characters" in said
    assert not former.exists() and set(before) <= {path.name for path in (stack.secrets / "generated").iterdir()}


def test_generated_secrets_that_were_encrypted_are_the_same(stack):
    play = stack.path / "secrets.yml"
    play.write_text(SECRETS)
    status, said = stack.play(play, "-e", "mlops_tls=true")
    assert status == 0, said
    before = (stack.path / "opt").read_bytes()
    files = [path for path in (stack.secrets / "generated").rglob("*") if path.is_file() and path.suffix != ".crt"]
    assert len(files) > 15
    (stack.path / "password").write_text("a password")
    vault = ["--vault-password-file", str(stack.path / "password")]
    subprocess.run(["ansible-vault", "encrypt", *vault, *map(str, files)], check=True, capture_output=True)
    encrypted = {path: path.read_bytes() for path in (stack.secrets / "generated").rglob("*") if path.is_file()}
    status, said = stack.play(play, "-e", "mlops_tls=true", *vault)
    assert status == 0 and "changed=0" in said, said
    assert (stack.path / "opt").read_bytes() == before
    assert {path: path.read_bytes() for path in (stack.secrets / "generated").rglob("*") if path.is_file()} == encrypted
    (stack.path / "opt").unlink()
    status, said = stack.play("preflight.yml", "--limit", "one")
    assert status == 2 and "generated/postgres_password: cannot be decrypted; give the password" in said, said


@pytest.mark.parametrize(("variables", "allowed"), [
    ({}, "sklearn"), ({"regmodel_allowed_flavors": ["sklearn", "python_function"]}, "sklearn,python_function"),
    ({"regmodel_source_dir": str(ROOT / "molecule/regmodel/own")}, "sklearn")])
def test_a_regmodel_is_checked_before_it_is_replaced_where_it_may_load_other_models(stack, variables, allowed):
    (stack.path / "served.yml").write_text(SERVED)
    stack.vars.update(variables, allowed=allowed, own="regmodel_source_dir" in variables)
    status, said = stack.play(stack.path / "served.yml")
    assert status == 0 and said.count('"changed": false') == 4, said
