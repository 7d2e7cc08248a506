"""Whether artifacts can be kept where the server is told to keep them: an object is written, read back and deleted.

Once for each destination and key, before the server starts: a server that has proven them once starts without them too. What is
proven is remembered beside MLflow's data, as a salted digest.
"""

import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

PROVEN = Path("/var/lib/mlflow/artifacts-proven.json")
FOLDER = ".mlops-proof"
ATTEMPT = 30  # seconds for the whole of one attempt, once MLflow is loaded; the clients' own patience is minutes
# Seconds that a place may be unreachable before the server gives up: it may be starting at this moment.
CLOSED = 10
SETTINGS = ("MLFLOW_ARTIFACTS_DESTINATION", "MLFLOW_S3_ENDPOINT_URL", "AWS_DEFAULT_REGION", "STORAGE_EMULATOR_HOST")
FILES = ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE", "GOOGLE_APPLICATION_CREDENTIALS")
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301", "InvalidRegion"}
DENIED = {"AccessDenied", "AllAccessDisabled", "403"}
MISSING = {"NoSuchBucket", "NotFound"}
NO_KEY = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "MetadataRetrievalError"}
UNTRUSTED = {"SSLError", "SSLCertVerificationError"}
NO_WAY = {"EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError", "ProxyConnectionError", "ConnectionError",
          "ConnectTimeout", "ReadTimeout", "TransportError", "RetryError", "NewConnectionError", "NameResolutionError", "ConnectionRefusedError"}


class Cause(NamedTuple):
    """Why not, in a sentence, and whether waiting may mend it."""

    text: str
    may_pass: bool = False


class Said(NamedTuple):
    """What one error of a chain says: its kind, the service's code, what was called, and the text."""

    kind: str
    code: str
    operation: str
    text: str


def chain(error: BaseException | None) -> Iterator[Said]:
    """The error and what led to it."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        response = getattr(error, "response", None)
        # botocore's ClientError has a dictionary, Google's errors an HTTP response.
        code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else getattr(error, "code", "")
        text = " ".join(str(error).split())[:300]
        yield Said(type(error).__name__, str(int(code)) if isinstance(code, int) else str(code or ""), getattr(error, "operation_name", ""), text)
        error = error.__cause__ or error.__context__


def cause_of(said: list[Said], environment: Mapping[str, str]) -> Cause:
    """What the errors mean, in one sentence."""
    destination = environment["MLFLOW_ARTIFACTS_DESTINATION"]
    bucket = urlsplit(destination).netloc
    google = destination.startswith("gs:")
    where = environment.get("STORAGE_EMULATOR_HOST", "Google Cloud Storage") if google else environment.get("MLFLOW_S3_ENDPOINT_URL") or "AWS"
    has_key = bool(environment.get("GOOGLE_APPLICATION_CREDENTIALS" if google else "AWS_SHARED_CREDENTIALS_FILE"))
    who = "the key" if has_key else "the identity of this machine"
    codes, kinds = {one.code for one in said} - {""}, {one.kind for one in said}
    # The innermost error is the most exact one.
    last = next((one for one in reversed(said) if one.text), Said("", "", "", "no reason given"))
    called = next((one.operation for one in said if one.operation), "")
    fix = "correct MLFLOW_ARTIFACTS_DESTINATION (mlflow_artifacts_destination)"
    if "404" in codes and not google and not codes & MISSING:
        return Cause(f"{where} answers {called or 'what is asked'} with 404 and no word, as no S3 does; correct MLFLOW_S3_ENDPOINT_URL "
                     "(mlflow_s3_endpoint_url)")
    if codes & MISSING or "404" in codes:
        return Cause(f"{where} has no bucket {bucket}; create it, or {fix}")
    if kinds & UNTRUSTED:
        return Cause(f"the certificate of {where} is not trusted ({last.text}); give the certificate of its authority as mlflow_s3_ca_file")
    if google:
        if "DefaultCredentialsError" in kinds or "Anonymous caller" in last.text or "401" in codes:
            return Cause("Google Cloud Storage asks for a login, and there is no key and no identity of this machine: let it run as a service "
                         "account, or put a key into mlflow-ui-access.json")
        if codes & DENIED:
            return Cause(f"{who} may not write to the bucket {bucket} ({last.text}); give its account the role Storage Object User "
                         "(roles/storage.objectUser) on the bucket")
        if "RefreshError" in kinds and "invalid_grant" in last.text:
            return Cause("Google refuses the key; it, or its account, was deleted or disabled, or this machine's clock is wrong: put a valid key "
                         "into mlflow-ui-access.json (mlflow_gcp_key_file)")
    else:
        if "InvalidAccessKeyId" in codes:
            return Cause(f"{where} does not know the access key; correct AWS_ACCESS_KEY_ID (mlflow_s3_access_key_id)")
        if "SignatureDoesNotMatch" in codes:
            return Cause(f"{where} refuses the secret key; correct AWS_SECRET_ACCESS_KEY (mlflow_s3_secret_access_key)")
        if "RequestTimeTooSkewed" in codes:
            return Cause(f"{where} refuses requests of this machine's clock; run a time service (chrony, systemd-timesyncd)")
        if codes & ELSEWHERE:
            return Cause(f"the bucket {bucket} is in another region than {environment.get('AWS_DEFAULT_REGION') or 'the default'} ({last.text}); "
                         "correct AWS_DEFAULT_REGION (mlflow_s3_region)")
        if codes & DENIED:
            # A store need not tell whoever may do nothing there that a bucket is missing.
            return Cause(f"{who} may not call {called or 'what is needed'} in the bucket {bucket} of {where}, or there is no such bucket; "
                         "create it, or allow s3:ListBucket on it, and s3:GetObject, s3:PutObject and s3:DeleteObject on what is in it")
        if kinds & NO_KEY:
            none = (f"{environment['AWS_SHARED_CREDENTIALS_FILE']} cannot be read or holds no whole key" if has_key
                    else "there is none and no identity of this machine")
            return Cause(f"{where} asks for a key, and {none}; give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (mlflow_s3_access_key_id, "
                         "mlflow_s3_secret_access_key)")
    if kinds & NO_WAY:
        way = fix if google or where == "AWS" else "correct MLFLOW_S3_ENDPOINT_URL (mlflow_s3_endpoint_url)"
        return Cause(f"{where} cannot be reached ({last.text}); start it, open the way to it, or {way}", may_pass=True)
    return Cause(f"{where} does not do what is needed ({last.text}); {fix}")


def write_and_read(destination: str) -> str:
    """Write, read and delete an object with MLflow's own client; what does not keep MLflow from its work is returned in words."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    signal.signal(signal.SIGALRM, lambda *_: answer([Said("ConnectTimeout", "", "", f"no answer within {ATTEMPT} s")]))
    signal.alarm(ATTEMPT)
    repository = get_artifact_repository(destination)
    name, text = f"{secrets.token_hex(8)}.txt", secrets.token_hex(32)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, name)
        file.write_text(text)
        repository.log_artifact(str(file), FOLDER)
        (Path(directory) / "back").mkdir()
        back = Path(repository.download_artifacts(f"{FOLDER}/{name}", str(Path(directory, "back"))))
        if back.read_text() != text:
            raise ValueError("an object that was written reads back as another")
    try:
        repository.delete_artifacts(f"{FOLDER}/{name}")
    except Exception as error:  # whatever a client raises
        return f"the object {FOLDER}/{name} stays in {destination}, where MLflow may not delete ({type(error).__name__})"
    return ""


def known(environment: Mapping[str, str], salt: str) -> dict[str, str]:
    """What a proof holds for: destination, endpoint and keys, as a digest."""
    parts = [environment.get(name, "") for name in SETTINGS]
    parts += [Path(environment[name]).read_text() if environment.get(name) else "" for name in FILES]
    return {"salt": salt, "digest": hashlib.scrypt(json.dumps(parts).encode(), salt=salt.encode(), n=1024, r=8, p=1, dklen=16).hex()}


def is_proven(environment: Mapping[str, str]) -> bool:
    try:
        found = json.loads(PROVEN.read_text())
        return found == known(environment, found["salt"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def attempt(environment: Mapping[str, str]) -> Cause | None:
    """One attempt, in a process of its own, because its clients cannot be told to be quick; None where it has worked."""
    # One retry, and no look at a machine's identity that takes longer than the attempt.
    quick = {**environment, "AWS_MAX_ATTEMPTS": "2", "AWS_METADATA_SERVICE_NUM_ATTEMPTS": "2"}
    done = subprocess.run([sys.executable, "-I", "-m", "mlops_mlflow.artifacts"], env=quick, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        return Cause(f"the look at {environment['MLFLOW_ARTIFACTS_DESTINATION']} ended with {done.returncode}")
    said = json.loads(done.stdout.splitlines()[-1])
    if said["note"]:
        print(said["note"], flush=True)
    return cause_of([Said(*one) for one in said["errors"]], environment) if said["errors"] else None


def prove(environment: Mapping[str, str]) -> None:
    """Return when artifacts can be kept, or end with the reason."""
    destination = environment.get("MLFLOW_ARTIFACTS_DESTINATION", "")
    if not destination.startswith(("s3://", "gs://")) or is_proven(environment):
        return
    began = time.monotonic()
    while cause := attempt(environment):
        if not cause.may_pass or time.monotonic() - began >= CLOSED:
            sys.exit(f"gives up: artifacts cannot be kept in {destination}: {cause.text}")
        print(f"waits for {destination}: {cause.text}", flush=True)
        time.sleep(1)
    PROVEN.write_text(json.dumps(known(environment, secrets.token_hex(16))))
    print(f"an object was written to {destination} and read back", flush=True)


def answer(errors: list[Said], note: str = "") -> None:
    """Tell what was found and end, whatever threads of a client still wait for."""
    print(json.dumps({"errors": errors, "note": note}), flush=True)
    os._exit(0)


def main() -> None:
    try:
        note = write_and_read(os.environ["MLFLOW_ARTIFACTS_DESTINATION"])
    except Exception as error:  # whatever a client raises
        answer(list(chain(error)))
    answer([], note)


if __name__ == "__main__":
    main()
