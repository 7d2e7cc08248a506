"""What the role delivers for artifacts in S3, and what it leaves out."""

import pytest
from test_render import LOCAL, env, render, services

DOTENV = "MLFLOW_S3_ENDPOINT_URL=https://store:9000\nAWS_DEFAULT_REGION=eu-west-3\nAWS_ACCESS_KEY_ID=team\nAWS_SECRET_ACCESS_KEY='hush/0451+%(x)s=#;'\n"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """A server with all that is given, and one whose artifacts stay on its host."""
    made = tmp_path_factory.mktemp("artifacts")
    (made / "secrets").mkdir(mode=0o700)
    (made / "secrets/.env").write_text(DOTENV)
    (made / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")
    common = {**LOCAL, "mlflow_db_host": "db.example", "mlflow_db_port": 5432, "mlflow_auth": False, "mlflow_s3_ca_file": str(made / "ca.crt")}
    inventory = {"hosts": {"s3": {**common, "mlflow_artifacts_destination": "s3://bucket/ml", "mlops_address": "10.0.0.1"},
                           "here": {**common, "mlflow_artifacts_destination": "/var/lib/mlflow/artifacts", "mlops_address": "10.0.0.2"}},
                 "children": {"mlflow": {"hosts": {"s3": {}, "here": {}}}}}
    done = render(made, inventory)
    assert done.returncode == 0, done.stdout
    return made


def test_keys_are_a_secret_file_and_nothing_else(hosts):
    found = env(hosts, "s3/mlflow/mlflow.env")
    assert {name: value for name, value in found.items() if "S3" in name or name.startswith(("AWS", "MLFLOW_ART"))} == {
        "MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket/ml", "MLFLOW_S3_ENDPOINT_URL": "https://store:9000", "AWS_DEFAULT_REGION": "eu-west-3",
        "AWS_SHARED_CREDENTIALS_FILE": "/run/secrets/mlflow_s3_credentials", "AWS_CA_BUNDLE": "/etc/mlops/tls/s3-ca.crt",
        "AWS_EC2_METADATA_DISABLED": "true", "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required", "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required"}
    secret = hosts / "s3/mlflow/secrets/mlflow_s3_credentials"
    assert secret.read_text() == "[default]\naws_access_key_id = team\naws_secret_access_key = hush/0451+%(x)s=#;\n"
    assert secret.stat().st_mode & 0o777 == 0o400
    server = services(hosts, "s3")["mlflow"]
    assert "mlflow_s3_credentials" in server["secrets"] and "./tls:/etc/mlops/tls:ro" in server["volumes"]
    assert (hosts / "s3/mlflow/tls/s3-ca.crt").read_text().strip() == (hosts / "ca.crt").read_text().strip()
    others = [file for file in (hosts / "s3").rglob("*") if file.is_file() and file != secret and "hush" in file.read_text(errors="replace")]
    assert others == []


def test_without_such_a_destination_nothing_of_it_is_delivered(hosts):
    found = env(hosts, "here/mlflow/mlflow.env")
    assert not [name for name in found if "S3" in name or name.startswith("AWS")] and found["MLFLOW_ARTIFACTS_DESTINATION"] == "/var/lib/mlflow/artifacts"
    assert not (hosts / "here/mlflow/secrets/mlflow_s3_credentials").exists() and not (hosts / "here/mlflow/tls").exists()
