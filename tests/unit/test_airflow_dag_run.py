"""airflow_dag_run against a scripted API of Airflow: pages, mapped instances, and a run that fails."""

from __future__ import annotations

import http.server
import json
import pathlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

COLLECTIONS = pathlib.Path(__file__).resolve().parents[2] / ".collections"
MODULE = "ansible_collections.mlops.stack.plugins.modules.airflow_dag_run"
RUN = "/api/v2/dags/score/dagRuns/r1"
PAGE = 100  # api.maximum_page_limit of Airflow 3


def instance(task: str, index: int = -1, state: str = "success") -> dict[str, object]:
    return {"task_id": task, "map_index": index, "state": state, "try_number": 1, "hostname": f"worker-{index}"}


class Api(http.server.ThreadingHTTPServer):
    """One run of the DAG score, which ended."""

    def __init__(self, state: str, instances: list[dict[str, object]]) -> None:
        self.state, self.instances = state, instances
        super().__init__(("127.0.0.1", 0), Handler)

    def answer(self, path: str, query: dict[str, str]) -> dict[str, object] | None:
        if path == "/auth/token":
            return {"access_token": "t"}
        if path == "/api/v2/dags/score":
            return {"dag_id": "score", "is_paused": False}
        if path in ("/api/v2/dags/score/dagRuns", RUN):
            return {"dag_run_id": "r1", "state": self.state}
        if path == f"{RUN}/taskInstances":
            first, size = int(query.get("offset", 0)), min(int(query["limit"]), PAGE)
            return {"task_instances": self.instances[first:first + size], "total_entries": len(self.instances)}
        index = int(query.get("map_index", -1))
        if path == f"{RUN}/taskInstances/each/xcomEntries/return_value" and index >= 0:
            return {"value": index * 2}
        if path == f"{RUN}/taskInstances/each/logs/1":
            return {"content": [{"event": f"log of {index}"}, {"event": "boom", "error_detail": [{"exc_type": "ValueError", "exc_value": str(index)}]}]}
        return None


class Handler(http.server.BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        answer = self.server.answer(url.path, {key: values[0] for key, values in parse_qs(url.query).items()})
        body = json.dumps(answer or {"detail": "not found"}).encode()
        self.send_response(200 if answer else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_arguments: object) -> None:
        """Quiet."""


@pytest.fixture
def run() -> Iterator:
    """Runs the module as Ansible does, against a run with a state and task instances."""
    servers: list[Api] = []

    def call(state: str, instances: list[dict[str, object]], **arguments: object) -> dict:
        api = Api(state, instances)
        servers.append(api)
        threading.Thread(target=api.serve_forever, daemon=True).start()
        given = {"url": f"http://127.0.0.1:{api.server_address[1]}", "username": "admin", "password": "none", "dag_id": "score", "timeout": 20, **arguments}
        done = subprocess.run([sys.executable, "-m", MODULE], input=json.dumps({"ANSIBLE_MODULE_ARGS": given}), cwd=COLLECTIONS,
                              capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    yield call
    for api in servers:
        api.shutdown()
        api.server_close()


EACH = [instance("each", index) for index in range(150)]


def test_every_page_is_read_and_each_mapped_instance_has_its_name(run):
    result = run("success", [instance("first"), *EACH])
    assert result["state"] == "success" and not result.get("failed")
    assert set(result["tasks"]) == {"first", *(f"each[{index}]" for index in range(150))}
    assert result["return_values"] == {f"each[{index}]": index * 2 for index in range(150)}
    assert result["hostnames"]["each[149]"] == "worker-149"


def test_a_failed_instance_on_a_later_page_fails_it_with_its_log(run):
    result = run("failed", [instance("first"), *EACH[:139], instance("each", 139, "failed"), *EACH[140:], instance("last", -1, "upstream_failed")])
    assert result["failed"] and result["state"] == "failed"
    assert result["tasks"]["each[139]"] == "failed" and result["tasks"]["each[138]"] == "success" and len(result["tasks"]) == 152
    assert "run r1 of DAG score ended as failed\ntask each[139] failed on try 1:\nlog of 139\nboom\n  ValueError: 139" in result["msg"]


def test_of_many_failed_instances_ten_show_their_logs(run):
    result = run("failed", [instance("each", index, "failed") for index in range(12)])
    assert result["msg"].count("boom") == 10 and result["msg"].endswith("failed too: each[10], each[11]")


def test_a_run_that_failed_without_a_failed_task_fails_too(run):
    result = run("failed", [instance("first", -1, "removed")])
    assert result["failed"] and "ended as failed" in result["msg"]


def test_logs_are_returned_when_asked_for(run):
    result = run("success", EACH[:2], return_logs=True)
    assert result["logs"]["each[1]"] == ["log of 1", "boom", "  ValueError: 1"]
