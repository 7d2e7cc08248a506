"""MLflow's artifacts in S3 and in Google's storage: they are there, and each way in which they cannot be has a sentence of its own."""

import json
import os
import subprocess

# Read when mlflow is imported. A client writes artifacts of this size to the store itself where the server offers that.
os.environ.update(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false", MLFLOW_DISABLE_TELEMETRY="true",
                  MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE="1")

import mlflow
import pytest
from artifacts_stack import ENDPOINT, KEY, PROJECT, SECRET, certificate

pytestmark = pytest.mark.full
GS = {"mlflow_artifacts_destination": "gs://artifacts/ml",
      "mlflow_environment": {"MLFLOW_BACKEND_STORE_URI": "sqlite:////var/lib/mlflow/mlflow.db", "STORAGE_EMULATOR_HOST": "http://gcs:4443"}}
# Makes a bucket as its owner does.
BUCKET = ("import json, urllib.request as u; u.urlopen(u.Request('http://gcs:4443/storage/v1/b', json.dumps({'name': 'artifacts'}).encode(), "
          "{'Content-Type': 'application/json'}))")


def kept(stack, directory):
    """The id of a new run whose artifact was written and read back through the server."""
    mlflow.set_tracking_uri(f"http://127.0.0.1:{stack.port}")
    with mlflow.start_run() as run:
        mlflow.log_text("é" * 100000, "notes/deep/model.txt")
    path = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="notes/deep/model.txt", dst_path=str(directory))
    with open(path, encoding="utf-8") as file:
        assert file.read() == "é" * 100000
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    return run.info.run_id


def inspected(service):
    return json.loads(subprocess.run(["docker", "inspect", f"{PROJECT}-{service}-1"], check=True, capture_output=True, text=True).stdout)[0]


def test_an_artifact_is_in_the_bucket(stack, tmp_path):
    assert kept(stack, tmp_path) in stack.shell("fs.tree /buckets/artifacts/ml")
    assert "an object was written to s3://artifacts/ml and read back" in stack.compose("logs", "mlflow")
    # The proof leaves nothing behind.
    assert ".txt" not in stack.shell("fs.tree /buckets/artifacts/ml/.mlops-proof")


def test_no_key_is_told_and_a_second_run_changes_nothing(stack):
    status, printed = stack.play("--diff", "--tags", "mlflow")
    assert status == 0 and "changed=0" in printed, printed[-3000:]
    shown = stack.printed + printed + json.dumps(inspected("mlflow")) + stack.compose("logs", "mlflow") + stack.compose("top", "mlflow")
    # The play itself gives the store its identities.
    assert SECRET not in shown.replace(json.dumps(stack.files["s3/identities.json"])[1:-1], "")
    file = stack.directory / "opt/mlflow/secrets/mlflow_s3_credentials"
    assert file.stat().st_mode & 0o777 == 0o400 and f"aws_access_key_id = {KEY}\n" in file.read_text()


def test_what_is_proven_starts_without_the_store(stack, tmp_path):
    stack.compose("kill", "store")
    try:
        stack.compose("restart", "--timeout", "1", "mlflow")
        status, printed = stack.play("--tags", "mlflow")
        assert status == 0, printed[-3000:]
    finally:
        stack.compose("start", "store")


@pytest.fixture(scope="module")
def gates(stack):
    """What the server's gate says, by case, of places where nothing can be kept; all at the same time."""
    # The server's user reads it, whose way does not lead through the directory above.
    directory = stack.directory / "given"
    directory.mkdir(mode=0o755)
    for name, text in {"unknown": f"[default]\naws_access_key_id = nobody\naws_secret_access_key = {SECRET}\n",
                       "wrong": f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = hush-0453\n",
                       "reader": "[default]\naws_access_key_id = reader\naws_secret_access_key = hush-0452\n",
                       "another.crt": certificate("store")[1]}.items():
        (directory / name).write_text(text)
    given = {name: {"AWS_SHARED_CREDENTIALS_FILE": f"/given/{name}"} for name in ("unknown", "wrong", "reader", "no file")}
    cases = {
        **given, "no bucket": {"MLFLOW_ARTIFACTS_DESTINATION": "s3://nowhere/ml"}, "unreachable": {"MLFLOW_S3_ENDPOINT_URL": "https://store:1"},
        "no name": {"MLFLOW_S3_ENDPOINT_URL": "https://nowhere.invalid"}, "untrusted": {"AWS_CA_BUNDLE": "/given/another.crt"},
        "no key": {"AWS_SHARED_CREDENTIALS_FILE": ""}, "no store": {"MLFLOW_S3_ENDPOINT_URL": "http://gcs:4443"},
        "gs no bucket": {"MLFLOW_ARTIFACTS_DESTINATION": "gs://nowhere/ml", "STORAGE_EMULATOR_HOST": "http://gcs:4443"},
        "gs unreachable": {"MLFLOW_ARTIFACTS_DESTINATION": "gs://artifacts/ml", "STORAGE_EMULATOR_HOST": "http://gcs:1"}}
    running = {
        case: stack.start("run", "--rm", "--no-deps", "-T", "--volume", f"{directory}:/given:ro",
                          *[f"--env={name}={value}" for name, value in environment.items()], "mlflow")
        for case, environment in cases.items()}
    ended = {case: process.communicate(timeout=300)[0] for case, process in running.items()}
    assert all("gives up: " in text for text in ended.values()), ended
    return {case: text.split("gives up: artifacts cannot be kept in ")[1].split(": ", 1)[1].strip() for case, text in ended.items()}


@pytest.mark.parametrize("case, sentence", [
    ("unknown", f"{ENDPOINT} does not know the access key; correct AWS_ACCESS_KEY_ID"),
    ("wrong", f"{ENDPOINT} refuses the secret key; correct AWS_SECRET_ACCESS_KEY"),
    ("reader", f"the key may not call PutObject in the bucket artifacts of {ENDPOINT}, or there is no such bucket; create it, or allow s3:"),
    ("no bucket", f"the key may not call PutObject in the bucket nowhere of {ENDPOINT}, or there is no such bucket; create it, or allow s3:"),
    ("no file", f"{ENDPOINT} asks for a key, and /given/no file cannot be read or holds no whole key; give AWS_ACCESS_KEY_ID"),
    ("unreachable", "https://store:1 cannot be reached ("),
    ("no name", "https://nowhere.invalid cannot be reached ("),
    ("untrusted", f"the certificate of {ENDPOINT} is not trusted ("),
    ("no key", f"{ENDPOINT} asks for a key, and there is none and no identity of this machine; give AWS_ACCESS_KEY_ID"),
    ("no store", "http://gcs:4443 answers PutObject with 404 and no word, as no S3 does; correct MLFLOW_S3_ENDPOINT_URL"),
    ("gs no bucket", "http://gcs:4443 has no bucket nowhere; create it"),
    ("gs unreachable", "http://gcs:1 cannot be reached ("),
])
def test_the_gate_says_why_it_gives_up(gates, case, sentence):
    assert gates[case].startswith(sentence), gates[case]


def test_a_run_with_another_key_proves_it_anew_and_fails_with_the_reason(stack):
    status, printed = stack.play("--tags", "mlflow", mlflow_s3_secret_access_key="hush-0454")
    assert status != 0 and f"{ENDPOINT} refuses the secret key" in printed, printed[-4000:]
    assert "hush-0454" not in stack.compose("logs", "mlflow")
    assert stack.play("--tags", "mlflow")[0] == 0


def test_an_artifact_is_in_googles_storage(stack, tmp_path):
    stack.compose("exec", "-T", "mlflow", "python", "-c", BUCKET)
    status, printed = stack.play("--tags", "mlflow", **GS)
    assert status == 0, printed[-4000:]
    run_id = kept(stack, tmp_path)
    listed = stack.compose("exec", "-T", "mlflow", "curl", "--silent", "http://gcs:4443/storage/v1/b/artifacts/o")
    assert f"ml/0/{run_id}/artifacts/notes/deep/model.txt" in listed and ".mlops-proof" not in listed
