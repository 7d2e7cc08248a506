"""What a team can bring that is wrong, file by file, each with what preflight must say of it; and that no message tells a value."""

import json
import pathlib
import string

import dotenv_files
import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.mlops.stack.plugins.filter.dotenv import from_dotenv, to_dotenv
from ansible_collections.mlops.stack.plugins.plugin_utils._dotenv import variable_problems
from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._given_files import folder_problems, given_file_problems, place_warnings

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TABLES = yaml.safe_load((ROOT / "roles/mlops/vars/main/dotenv.yml").read_text())
TAKEN = {"MLFLOW_DB_USER": ["postgres", "airflow"], "MLFLOW_DB_NAME": ["postgres", "airflow"]}
HUSH = "hush-0451"  # stands wherever a secret does
KEY = {
    "type": "service_account", "project_id": "my-project", "client_email": "a@my-project.iam.gserviceaccount.com",
    "private_key": "-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----\n" % HUSH}


def key(**changes):
    return json.dumps({name: value for name, value in {**KEY, **changes}.items() if value is not None})


def look(directory, given=None, read=None, wanted=None):
    """(problems, warnings) of the files in a directory."""
    return given_file_problems({
        "dotenv": str(directory / ".env"), "environments": [str(directory / "regmodel.env"), str(directory / "backend.env")],
        "keys": [str(directory / name) for name in ("gcp.json", "mlflow-ui-access.json", "mlflow-trainer.json")],
        "names": TABLES["__mlops_dotenv_names"], "unused": TABLES["__mlops_dotenv_unused"], "taken": TAKEN, "given": given or {}, "wanted": wanted,
    }, read or (lambda path: pathlib.Path(path).read_bytes()))


def put(directory, name, content, mode=0o600):
    path = directory / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


DOTENV = [
    ("MLFLOW_DB_PASS=hush-0451", "line 1: MLFLOW_DB_PASS is not a known name; did you mean MLFLOW_DB_PASSWORD?"),
    ("\n\nMLFLOW_PASSWORD=hush-0451", "line 3: MLFLOW_PASSWORD is not a known name; did you mean MLFLOW_DB_PASSWORD?"),
    ("mlflow_db_user=x", "did you mean MLFLOW_DB_USER?"),
    ("MLFLOW_DB_USERNAME=x", "did you mean MLFLOW_DB_USER?"),
    ("MLFLOW_DATABASE_NAME=x", "did you mean MLFLOW_DB_NAME?"),
    ("AIRFLOW_WWW_USER_PASSWORD=hush-0451", "did you mean _AIRFLOW_WWW_USER_PASSWORD?"),
    ("_AIRFLOW_WWW_USER_NAME=x", "did you mean _AIRFLOW_WWW_USER_USERNAME?"),
    ("DISCORD_WEBHOOK=https://d.example/hush-0451", "did you mean DISCORD_WEBHOOK_URL?"),
    ("GF_SECURITY_ADMIN_PASSWD=hush-0451", "did you mean GF_SECURITY_ADMIN_PASSWORD?"),
    ("MLFLOW_INSTANCE_CONECTION=a:b:c", "did you mean MLFLOW_INSTANCE_CONNECTION?"),
    ("# note\nMLFLOW_DB_PASSWORD='hush-0451", "line 2: cannot be read; a line is NAME=value"),
    ("MLFLOW_DB_PASSWORD=\"hush-0451\nMLFLOW_DB_USER=x\"", "line 1: the value of MLFLOW_DB_PASSWORD goes on to line 2; close its quote"),
    ("MLFLOW_DB_PASSWORD='a'hush-0451", "line 1: cannot be read"),
    ("MLFLOW_DB_PASSWORD hush-0451", "line 1: cannot be read"),
    ("=hush-0451", "line 1: cannot be read"),
    ("9LIVES=hush-0451", "line 1: what stands before = is not a name"),
    ("A-B=hush-0451", "line 1: what stands before = is not a name"),
    ("MLFLOW_DB_USER", "line 1: MLFLOW_DB_USER has no =; write MLFLOW_DB_USER=value"),
    ("MLFLOW_DB_PASSWORD=hush-0451\n\nMLFLOW_DB_PASSWORD=hush-0451", "line 3: MLFLOW_DB_PASSWORD stands on line 1 too; keep one of the two"),
    ("MLFLOW_DB_USER=", "line 1: MLFLOW_DB_USER is empty; give it a value, or remove the line"),
    ("DISCORD_WEBHOOK_URL=''", "line 1: DISCORD_WEBHOOK_URL is empty"),
    ("MLFLOW_DB_USER='my user'", "MLFLOW_DB_USER has not the right shape; wanted is a PostgreSQL role"),
    ("MLFLOW_DB_USER=pg_mlflow", "MLFLOW_DB_USER has not the right shape"),
    ("MLFLOW_DB_USER=postgres", "MLFLOW_DB_USER is a name that the stack's own PostgreSQL has for something else"),
    ("MLFLOW_DB_NAME=airflow", "MLFLOW_DB_NAME is a name that the stack's own PostgreSQL has for something else"),
    ("MLFLOW_DB_NAME=ml/flow", "MLFLOW_DB_NAME has not the right shape; wanted is a PostgreSQL identifier"),
    ("MLFLOW_DB_NAME=" + "a" * 64, "MLFLOW_DB_NAME has not the right shape"),
    ("MLFLOW_ARTIFACTS_DESTINATION=wasbs://c@a.blob.core.windows.net/p", "MLFLOW_ARTIFACTS_DESTINATION has not the right shape; wanted is a directory such as"),
    ("MLFLOW_ARTIFACTS_DESTINATION=hdfs://name/p", "s3://bucket/prefix (S3, MinIO and what else speaks S3), or gs://bucket/prefix"),
    ("MLFLOW_ARTIFACTS_DESTINATION=https://minio:9000/bucket", "MLFLOW_ARTIFACTS_DESTINATION has not the right shape"),
    ("MLFLOW_ARTIFACTS_DESTINATION=mlflow-artifacts:/", "MLFLOW_ARTIFACTS_DESTINATION has not the right shape"),
    ("MLFLOW_ARTIFACTS_DESTINATION=s3://", "MLFLOW_ARTIFACTS_DESTINATION has not the right shape"),
    ("MLFLOW_ARTIFACTS_DESTINATION=artifacts", "MLFLOW_ARTIFACTS_DESTINATION has not the right shape"),
    ("MLFLOW_S3_ENDPOINT_URL=minio:9000", "MLFLOW_S3_ENDPOINT_URL has not the right shape; wanted is a URL such as"),
    ("MLFLOW_S3_ENDPOINT_URL=http://localhost:9000", "and not localhost, which in a container is the container"),
    ("AWS_SECRET_ACCESS_KEY='hush 0451'", "AWS_SECRET_ACCESS_KEY has not the right shape; wanted is one line without a space"),
    ("MLFLOW_INSTANCE_CONNECTION=mlflow", "MLFLOW_INSTANCE_CONNECTION has not the right shape; wanted is project:region:instance"),
    ("MLFLOW_INSTANCE_CONNECTION=my-project:europe-west1", "MLFLOW_INSTANCE_CONNECTION has not the right shape"),
    ("MLFLOW_INSTANCE_CONNECTION=My_Project:europe-west1:db", "MLFLOW_INSTANCE_CONNECTION has not the right shape"),
    ("DISCORD_WEBHOOK_URL=http://d.example/hush-0451", "DISCORD_WEBHOOK_URL has not the right shape; wanted is an https URL"),
    ("DISCORD_WEBHOOK_URL=discord.com/api/webhooks/1/hush-0451", "DISCORD_WEBHOOK_URL has not the right shape"),
    ('MLFLOW_DB_PASSWORD="hush\\n-0451"', "MLFLOW_DB_PASSWORD has not the right shape; wanted is one line without control characters"),
    ('_AIRFLOW_WWW_USER_USERNAME="the admin"', "_AIRFLOW_WWW_USER_USERNAME has not the right shape"),
    (b"MLFLOW_DB_USER=x\nMLFLOW_DB_PASSWORD=hush-0451\xe9\n", "line 2: byte 46 of the file is not UTF-8; save the file as UTF-8"),
    ("MLFLOW_DB_USER=x\n".encode("utf-16"), "line 1: byte 1 of the file is not UTF-8"),
]
KEYS = [
    ("", "line 1, column 1: is not JSON from there on; download the JSON key"),
    (key()[:-1], "is not JSON from there on"),
    ('{\n  "private_key": "hush-0451",,\n}', "line 2, column 30: is not JSON from there on"),
    (key(private_key=None)[:-1] + ', "private_key": "-----BEGIN\nhush-0451"}', "is not JSON from there on"),
    ("[]", "is a JSON list where an object is wanted"),
    (key(type="authorized_user"), "its type is not service_account"),
    (key(type=None), "its type is not service_account"),
    (key(project_id=None), "project_id is missing"),
    (key(project_id=7), "project_id is missing"),
    (key(private_key=None), "private_key is missing"),
    (key(client_email=""), "client_email is missing"),
    (key(client_email="hush-0451"), "client_email is not an e-mail address"),
    (key(private_key="hush-0451"), "private_key is not a whole PEM block"),
    (key(private_key=KEY["private_key"][:-10]), "private_key is not a whole PEM block"),
    (key(private_key=KEY["private_key"].replace("\n", "\\n")), "private_key has \\n as two characters where line breaks are wanted"),
    (key(private_key=KEY["private_key"].replace("PRIVATE", "RSA PRIVATE")), "private_key is not a whole PEM block"),
    (key(project_id="other-project"), "its project_id is other-project and MLFLOW_INSTANCE_CONNECTION is in the project my-project"),
]


@pytest.mark.parametrize("content, message", DOTENV)
def test_of_the_environment_file(tmp_path, content, message):
    path = put(tmp_path, ".env", content)
    problems, _warnings = look(tmp_path)
    assert [problem for problem in problems if message in problem], problems
    assert all(problem.startswith(str(path)) for problem in problems)
    assert HUSH not in "".join(problems)


@pytest.mark.parametrize("content, message", KEYS)
def test_of_a_key_file(tmp_path, content, message):
    path = put(tmp_path, "gcp.json", content)
    problems, _warnings = look(tmp_path, {"MLFLOW_INSTANCE_CONNECTION": {"value": "my-project:europe-west1:db", "source": ".env"}})
    assert len(problems) == 1 and message in problems[0] and problems[0].startswith(str(path)), problems
    assert HUSH not in problems[0]


@pytest.mark.parametrize("name, content", [(".env", "MLFLOW_DB_USER=x\n"), ("regmodel.env", "A=1\n"), ("mlflow-trainer.json", key())])
@pytest.mark.parametrize("mode, word", [(0o644, "read"), (0o606, "change"), (0o640, None)])
def test_of_a_files_mode(tmp_path, name, content, mode, word):
    path = put(tmp_path, name, content, mode)
    expected = ["%s: its mode is %04o, so that every user of the controller can %s it; chmod 600 %s" % (path, mode, word, path)] if word else []
    assert look(tmp_path) == (expected, [])


@pytest.mark.parametrize("name", [".env", "regmodel.env", "mlflow-ui-access.json"])
def test_of_what_is_no_file(tmp_path, name):
    (tmp_path / name).mkdir()
    assert look(tmp_path)[0] == ["%s: is not a file; put a file there, or remove it" % (tmp_path / name)]


def test_a_link_to_nowhere(tmp_path):
    (tmp_path / "gcp.json").symlink_to(tmp_path / "gone")
    assert "gcp.json: is not a file" in look(tmp_path)[0][0]


@pytest.mark.parametrize("content, message", [("A='x", "line 1: cannot be read"), ("A=1\nA=2", "line 2: A stands on line 1 too"), ("B", "line 1: B has no =")])
def test_of_a_services_environment(tmp_path, content, message):
    put(tmp_path, "regmodel.env", content)
    assert message in look(tmp_path)[0][0]


def test_two_environments_of_one_service(tmp_path):
    put(tmp_path, "regmodel.env", "A=1")
    put(tmp_path, "backend.env", "A=1")
    assert "regmodel.env and %s/backend.env: are one and the same service's environment" % tmp_path in look(tmp_path)[0][0]


def test_a_variable_has_the_same_shape(tmp_path):
    given = {"MLFLOW_DB_NAME": {"value": "ml flow", "source": "variable"}, "MLFLOW_DB_PASSWORD": {"value": "hush\n0451", "source": "variable"}}
    problems = look(tmp_path, given)[0]
    assert [problem.split(" has")[0] for problem in problems] == ["variable mlflow_db_name", "variable mlflow_db_password"]
    assert "hush" not in "".join(problems)


def test_a_name_like_no_other_is_a_warning(tmp_path):
    path = put(tmp_path, ".env", "COMPANY=x\nexport _AIRFLOW_WWW_USER_LASTNAME=x\nMLFLOW_DB_HOST=x\n")
    problems, warnings = look(tmp_path)
    assert problems == []
    assert [warning.split(" is not used")[0] for warning in warnings] == [
        "%s, line %d: %s" % (path, line, name) for line, name in ((1, "COMPANY"), (2, "_AIRFLOW_WWW_USER_LASTNAME"), (3, "MLFLOW_DB_HOST"))]


@pytest.mark.parametrize("line, cut", [
    ("MLFLOW_DB_PASSWORD=hush-0451 #x", True), ("MLFLOW_DB_PASSWORD = hush-0451\t# who", True), ("MLFLOW_DB_PASSWORD=hush#0451", False),
    ("MLFLOW_DB_PASSWORD='hush #0451'", False), ('MLFLOW_DB_PASSWORD="hush-0451" # who', False), ("MLFLOW_DB_USER=fred # who", False)])
def test_a_password_that_a_comment_cuts_off_is_a_warning(tmp_path, line, cut):
    path = put(tmp_path, ".env", "\n" + line + "\n")
    assert look(tmp_path) == ([], [
        "%s, line 2: the value of MLFLOW_DB_PASSWORD ends before #, where a comment begins; if that is a part of it, put the value in single quotes" % path
    ] if cut else [])


@pytest.mark.parametrize("content", ["\ufeffMLFLOW_DB_USER=x\r\nMLFLOW_DB_PASSWORD='hush 0451'\r\n", "", "# nothing\n", "export MLFLOW_DB_USER = x  # who\n"])
def test_what_is_right_is_not_a_problem(tmp_path, content):
    put(tmp_path, ".env", content)
    for name in ("gcp.json", "mlflow-ui-access.json", "mlflow-trainer.json"):
        put(tmp_path, name, key())
    assert look(tmp_path) == ([], [])


def test_an_encrypted_file_is_read_with_its_password_and_else_named(tmp_path):
    secret = VaultSecret(b"password")
    secret.load()
    path = put(tmp_path, ".env", VaultLib([("default", secret)]).encrypt("MLFLOW_DB_USERS=x\n"))
    loader = DataLoader()

    def read(name):
        return loader._get_file_contents(name)[0]

    with pytest.raises(AnsibleError):
        read(str(path))
    assert "%s: cannot be decrypted; give the password" % path in look(tmp_path, read=read)[0][0]
    loader.set_vault_secrets([("default", secret)])
    assert "line 1: MLFLOW_DB_USERS is not a known name; did you mean MLFLOW_DB_USER?" in look(tmp_path, read=read)[0][0]


@pytest.mark.parametrize("character", string.printable[:95])
def test_every_printable_character_survives_in_a_password(tmp_path, character):
    for value in (character, "a" + character + "b", character * 2, character + "x", "x" + character, "\\" + character + "'"):
        text = to_dotenv({"MLFLOW_DB_PASSWORD": value})
        assert from_dotenv(text) == {"MLFLOW_DB_PASSWORD": value}
        # Some products take the space around what a file holds away.
        put(tmp_path, ".env", text)
        assert bool(look(tmp_path)[0]) == (value != value.strip())


@pytest.mark.parametrize("given, problems", [
    ({}, []),
    ({"MLFLOW_DB_PASSWORD": {"value": HUSH, "source": ".env"}, "MLFLOW_INSTANCE_CONNECTION": {"value": "my-project:europe-west1:db", "source": ".env"}}, []),
    ({"MLFLOW_INSTANCE_CONNECTION": {"value": "my-project:europe-west1:db", "source": ".env"}},
     ["MLFLOW_INSTANCE_CONNECTION is given and MLFLOW_DB_PASSWORD is not; give it too, in .env or as a variable"]),
])
def test_what_one_name_makes_necessary(tmp_path, given, problems):
    assert look(tmp_path, given, wanted={"MLFLOW_DB_PASSWORD": "MLFLOW_INSTANCE_CONNECTION"})[0] == problems


@pytest.mark.parametrize("given, problems", [
    ({"MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": HUSH}, []),
    # The machine's own identity.
    ({"MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket/deep/path", "AWS_DEFAULT_REGION": "eu-west-3"}, []),
    # A team's keys that are for something else.
    ({"AWS_ACCESS_KEY_ID": "k"}, []), ({"MLFLOW_ARTIFACTS_DESTINATION": "gs://my_bucket/ml", "AWS_SECRET_ACCESS_KEY": HUSH}, []),
    ({"MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket", "AWS_ACCESS_KEY_ID": "k"}, ["AWS_ACCESS_KEY_ID is given and AWS_SECRET_ACCESS_KEY is not"]),
    ({"MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket", "AWS_SECRET_ACCESS_KEY": HUSH}, ["AWS_SECRET_ACCESS_KEY is given and AWS_ACCESS_KEY_ID is not"]),
    ({"MLFLOW_S3_ENDPOINT_URL": "https://minio.example:9000"}, ["MLFLOW_S3_ENDPOINT_URL is given and MLFLOW_ARTIFACTS_DESTINATION is not"]),
    ({"MLFLOW_ARTIFACTS_DESTINATION": "/var/lib/mlflow/artifacts", "MLFLOW_S3_ENDPOINT_URL": "https://minio.example:9000"}, []),
])
def test_what_belongs_to_a_destination(tmp_path, given, problems):
    found = look(tmp_path, {name: {"value": value, "source": "variable"} for name, value in given.items()})[0]
    assert [problem.split("; give it too")[0] for problem in found] == problems


@pytest.mark.parametrize("name, value, refused", [
    ("redis_password", "hush-0451", False), ("redis_password", " hush-0451", True), ("redis_password", "hush-0451 ", True),
    ("redis_password", "hush\n0451", True), ("redis_password", "hush 0451" * 15, False), ("airflow_fernet_key", "hush-0451", True),
    ("airflow_fernet_key", "A" * 43 + "=", False)])
def test_a_secret_without_a_name_in_the_environment_file(name, value, refused):
    names = TABLES["__mlops_secret_names"]
    found = list(variable_problems({name: {"value": value, "source": "variable"}}, names, {}))
    assert [problem.split(" has not")[0] for problem in found] == ["variable " + names[name]["variable"]] * refused
    assert not any(HUSH in problem for problem in found)


def test_what_keeps_the_secrets_from_being_moved_is_told(tmp_path):
    former, now, elsewhere = (str(tmp_path / name) for name in ("secrets", ".secrets", "elsewhere/own.json"))
    named = [{"name": "mlflow_gcp_key_file", "path": former + "/keys/own.json"}, {"name": "airflow_dags_dir", "path": elsewhere}]
    assert list(folder_problems(former, now, named)) == []
    (tmp_path / "secrets").mkdir()
    assert list(folder_problems(former, now, named)) == [
        f"mlflow_gcp_key_file names {former}/keys/own.json, and a run moves that folder to {now}; have the variable name {now}/keys/own.json"]
    (tmp_path / ".secrets").mkdir()
    assert list(folder_problems(former, now, named)) == [
        f"{former} and {now} are both there, and former versions had the secrets in the first; move what is wanted from it into the second, and remove it"]


@pytest.mark.parametrize(("path", "told"), [
    ("i/secrets", 1), ("i/x/secrets", 1), ("i", 1), ("i/key.json", 1), ("i/.x/secrets", 0), ("i/.secrets", 0), ("i/group_vars/all/key", 0), ("j/secrets", 0)])
def test_what_may_be_taken_for_inventory_is_told(path, told):
    assert len(list(place_warnings("mlops_secrets_dir", path, "i"))) == told


@pytest.mark.parametrize("name", dotenv_files.ALL)
def test_another_teams_file_stops_no_run(tmp_path, name):
    put(tmp_path, ".env", dotenv_files.ALL[name])
    problems, warnings = look(tmp_path)
    assert problems == [] and HUSH not in "".join(warnings)


@pytest.mark.parametrize("lines, given, told", [
    ("MLFLOW_DB_PASS=x", {}, True),
    # The right name stands there, or a variable gives it.
    ("MLFLOW_DB_PASS=x\nMLFLOW_DB_PASSWORD=y", {}, False),
    ("MLFLOW_DB_PASS=x", {"MLFLOW_DB_PASSWORD": {"value": "y", "source": "variable"}}, False),
    # Another word is another name.
    ("AIRFLOW_DB_USER=x", {}, False), ("MLFLOW_DB_URL=x", {}, False), ("MLFOW_DB_USER=x", {}, True)])
def test_a_near_miss_counts_where_the_right_name_has_no_value(tmp_path, lines, given, told):
    put(tmp_path, ".env", lines + "\n")
    problems, warnings = look(tmp_path, given)
    assert [problem for problem in problems if "did you mean" in problem] == problems and bool(problems) is told
    assert told or len(warnings) == 1


@pytest.mark.parametrize("lines, told", [
    ("MLFLOW_DB_PASSWORD=${POSTGRES_PASSWORD}", ["line 1: the value of MLFLOW_DB_PASSWORD refers to POSTGRES_PASSWORD, which no line before gives; give that"]),
    ("POSTGRES_PASSWORD=x\nMLFLOW_DB_PASSWORD=${POSTGRES_PASSWORD}", []),
    ("MLFLOW_DB_PASSWORD=pa${x", ["line 1: the value of MLFLOW_DB_PASSWORD has a $ that begins no reference; put the value in single quotes"]),
    ("MLFLOW_DB_PASSWORD='pa${x'", []), ("SOME_URL=${HOME}/x", [])])
def test_a_reference_has_a_value_or_is_told_with_its_line(tmp_path, lines, told):
    put(tmp_path, ".env", lines + "\n")
    problems, _warnings = look(tmp_path)
    assert len(problems) == len(told) and all(part in problem for part, problem in zip(told, problems, strict=True))
    put(tmp_path, "regmodel.env", "A=${B}\n")
    assert [problem for problem in look(tmp_path)[0] if "regmodel.env, line 1: the value of A refers to B" in problem]


def test_an_environment_file_where_compose_would_read_it_is_told(tmp_path):
    def read(path):
        return pathlib.Path(path).read_bytes()

    root = tmp_path / "clone"
    root.mkdir()
    put(root, ".env", "MLFLOW_DB_USER=x\nOTHER=hush-0451\nMLFLOW_DB_NAME=\n")
    files = {"dotenv": str(tmp_path / ".env"), "environments": [], "keys": [], "names": TABLES["__mlops_dotenv_names"], "unused": [], "taken": {},
             "given": {}, "unread": [str(root / ".env"), str(tmp_path / "none/.env"), str(tmp_path / ".env")]}
    problems, warnings = given_file_problems(files, read)
    assert problems == [] and warnings == [
        f"{root}/.env is not read, and gives MLFLOW_DB_USER; its place is {tmp_path}/.env (install -m 0600 {root}/.env {tmp_path}/.env)"]
    put(root, ".env", "OTHER=x\n")
    assert given_file_problems(files, read) == ([], [])
