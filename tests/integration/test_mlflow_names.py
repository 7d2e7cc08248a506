"""MLflow off loopback, on every address of its host: by which names it is asked, and from which pages it is written to."""

import json
import subprocess

import pytest
from stack_images import image
from test_render import ONE, env, render, services

KNOWN = {"names": ["ml", "ml.example.org"], "addresses": ["10.0.0.9", "2001:db8::7"], "address": "10.0.0.9"}
SERVED = ["localhost", "127.0.0.1", "one", "ml", "ml.example.org", "10.0.0.9", "[2001:db8::7]"]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    path = tmp_path_factory.mktemp("names")
    done = render(path, ONE, "-e", "mlops_bind=0.0.0.0", "-e", json.dumps({"__mlops_preflight": {"known": KNOWN}}))
    assert done.returncode == 0, done.stdout
    return path


def test_pages_are_opened_at_the_hosts_address(rendered):
    labels = {name: service.get("labels", {}) for name, service in services(rendered, "one").items()}
    shown = {name: label["stack.mlops.url"] for name, label in labels.items() if "stack.mlops.url" in label}
    assert {"mlflow", "airflow-webserver", "regmodel-backend", "prometheus", "flower"} < shown.keys()
    assert [url for url in shown.values() if "://10.0.0.9:" not in url] == []
    assert labels["mlflow"]["stack.mlops.names"] == " ".join(f"{name}:5000" for name in SERVED)


# What MLflow's server puts before all that it serves, asked for a search, which is a POST, as most of what its pages ask.
ASK = """
import asyncio, json, sys
from fastapi import FastAPI
from mlflow.server.fastapi_security import init_fastapi_security
app = FastAPI()
app.post("/ajax-api/2.0/mlflow/experiments/search")(lambda: {})
init_fastapi_security(app)

async def status(host, origin):
    headers = [(b"host", host.encode())] + ([(b"origin", origin.encode())] if origin else [])
    scope = {"type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": "/ajax-api/2.0/mlflow/experiments/search",
             "query_string": b"", "headers": headers, "server": ("127.0.0.1", 5000), "client": ("10.0.0.1", 9)}
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"]

print(json.dumps([asyncio.run(status(*row)) for row in json.load(sys.stdin)]))
"""
OWN = [(f"{name}:5000", f"http://{name}:5000") for name in SERVED] + [("mlflow:5000", "")]
FOREIGN = [
    ("ml.example.org:5000", "http://evil.example"), ("ml.example.org:5000", "http://evil.example:5000"), ("ml.example.org:5000", "null"),
    ("ml.example.org:5000", "http://ml.example.org:8000"), ("ml.example.org:5000", "http://mlflow:5000"),
    ("evil.example:5000", "http://evil.example:5000"), ("evil.example:5000", ""), ("172.17.0.1:5000", ""), ("ml.example.org:5001", "")]


def test_pages_from_the_hosts_names_may_write_and_no_other(rendered):
    found = env(rendered, "one/mlflow/mlflow.env")
    given = [f"--env={name}={found[name]}" for name in ("MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS")]
    asked = subprocess.run(["docker", "run", "--rm", "--interactive", "--network", "none", *given, image("mlflow"), "python", "-c", ASK],
                           input=json.dumps(OWN + FOREIGN), capture_output=True, text=True, check=False)
    assert asked.returncode == 0, asked.stderr
    answers = dict(zip(OWN + FOREIGN, json.loads(asked.stdout), strict=True))
    assert {row for row, status in answers.items() if status == 200} == set(OWN)
    assert {row for row, status in answers.items() if status == 403} == set(FOREIGN)
