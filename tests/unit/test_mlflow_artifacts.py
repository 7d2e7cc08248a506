"""What MLflow's gate makes of the errors of S3's and Google's clients, as chains of what they raise."""

import json
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "roles/images/files/mlflow"))
from mlops_mlflow import artifacts
from mlops_mlflow.artifacts import Said, cause_of, chain

AWS = {"MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket/ml", "AWS_SHARED_CREDENTIALS_FILE": "/run/secrets/mlflow_s3_credentials"}
MINIO = {**AWS, "MLFLOW_S3_ENDPOINT_URL": "https://minio:9000"}
GOOGLE = {"MLFLOW_ARTIFACTS_DESTINATION": "gs://bucket/ml", "GOOGLE_APPLICATION_CREDENTIALS": "/run/secrets/mlflow_gcp_key"}


class ClientError(Exception):
    """As botocore's."""

    def __init__(self, code, operation="PutObject"):
        super().__init__(f"An error occurred ({code}) when calling the {operation} operation: said")
        self.response, self.operation_name = {"Error": {"Code": code}}, operation


def client(code):
    """As boto3's transfers tell a client's error."""
    try:
        try:
            raise ClientError(code)
        except ClientError as error:
            raise RuntimeError(f"Failed to upload: {error}")  # noqa: B904
    except RuntimeError as error:
        return list(chain(error))


def other(kind, text="said", code=""):
    return [Said("MlflowException", "", "", "outer"), Said(kind, code, "", text)]


@pytest.mark.parametrize("said, environment, sentence", [
    (client("NoSuchBucket"), MINIO, "https://minio:9000 has no bucket bucket; create it, or correct MLFLOW_ARTIFACTS_DESTINATION"),
    (client("InvalidAccessKeyId"), AWS, "AWS does not know the access key; correct AWS_ACCESS_KEY_ID"),
    (client("SignatureDoesNotMatch"), AWS, "AWS refuses the secret key; correct AWS_SECRET_ACCESS_KEY"),
    (client("RequestTimeTooSkewed"), AWS, "AWS refuses requests of this machine's clock; run a time service"),
    (client("PermanentRedirect"), {**AWS, "AWS_DEFAULT_REGION": "eu-west-3"}, "the bucket bucket is in another region than eu-west-3 ("),
    (client("AccessDenied"), AWS, "the key may not call PutObject in the bucket bucket of AWS, or there is no such bucket; create it, or allow s3:"),
    (client("AccessDenied"), {"MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket/ml"}, "the identity of this machine may not call PutObject"),
    (client("404"), MINIO, "https://minio:9000 answers PutObject with 404 and no word, as no S3 does; correct MLFLOW_S3_ENDPOINT_URL"),
    (client("SlowDown"), MINIO, "https://minio:9000 does not do what is needed (An error occurred (SlowDown)"),
    (other("NoCredentialsError"), AWS, "AWS asks for a key, and /run/secrets/mlflow_s3_credentials cannot be read or holds no whole key; give AWS_"),
    (other("NoCredentialsError"), {"MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket/ml"}, "AWS asks for a key, and there is none and no identity of this"),
    (other("SSLError"), MINIO, "the certificate of https://minio:9000 is not trusted (said); give the certificate of its authority as mlflow_s3_ca_file"),
    (other("ConnectionRefusedError"), MINIO, "https://minio:9000 cannot be reached (said); start it, open the way to it, or correct MLFLOW_S3_ENDPOINT_URL"),
    (other("ConnectTimeout"), AWS, "AWS cannot be reached (said); start it, open the way to it, or correct MLFLOW_ARTIFACTS_DESTINATION"),
    (other("NotFound", code="404"), GOOGLE, "Google Cloud Storage has no bucket bucket; create it"),
    (other("Forbidden", "a@b lacks storage.objects.create", "403"), GOOGLE, "the key may not write to the bucket bucket (a@b lacks storage.objects.create); "),
    (other("Unauthorized", "Anonymous caller does not have storage.objects.create access", "401"), {"MLFLOW_ARTIFACTS_DESTINATION": "gs://bucket"},
     "Google Cloud Storage asks for a login, and there is no key and no identity of this machine"),
    (other("RefreshError", "('invalid_grant: Invalid JWT Signature.', {})"), GOOGLE, "Google refuses the key; it, or its account, was deleted"),
    (other("TransportError"), GOOGLE, "Google Cloud Storage cannot be reached (said)"),
    ([Said("ValueError", "", "", "")], GOOGLE, "Google Cloud Storage does not do what is needed (no reason given)"),
])
def test_what_is_wrong_is_told_in_a_sentence(said, environment, sentence):
    cause = cause_of(said, environment)
    assert cause.text.startswith(sentence)
    assert cause.may_pass == ("cannot be reached" in sentence)


def test_a_proof_holds_for_one_destination_and_key_and_tells_none(tmp_path, monkeypatch):
    monkeypatch.setattr(artifacts, "PROVEN", tmp_path / "proven.json")
    (tmp_path / "key").write_text("hush-0451")
    environment = {"MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket/ml", "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "key")}
    assert not artifacts.is_proven(environment)
    artifacts.PROVEN.write_text(json.dumps(artifacts.known(environment, "salt")))
    assert artifacts.is_proven(environment) and "hush" not in artifacts.PROVEN.read_text()
    assert not artifacts.is_proven({**environment, "MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket/other"})
    (tmp_path / "key").write_text("hush-0452")
    assert not artifacts.is_proven(environment)
    for damaged in ("", "[]", "{}"):
        artifacts.PROVEN.write_text(damaged)
        assert not artifacts.is_proven(environment)


@pytest.mark.parametrize("destination", ["", "/var/lib/mlflow/artifacts"])
def test_a_directory_needs_no_proof(destination, monkeypatch):
    monkeypatch.setattr(artifacts, "attempt", lambda environment: pytest.fail("asked for"))
    artifacts.prove({"MLFLOW_ARTIFACTS_DESTINATION": destination})
