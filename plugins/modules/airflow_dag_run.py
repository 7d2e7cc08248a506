#!/usr/bin/python
# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trigger a DAG run through Airflow's public API and wait for its end."""

from __future__ import annotations

DOCUMENTATION = r"""
module: airflow_dag_run
short_description: Trigger a DAG run, or find one, and wait for its end
version_added: 0.1.0
author: mlops.stack maintainers (@mlops-stack)
description:
  - Triggers a run of a DAG through the public API of Airflow 3, waits until it has succeeded or failed, and returns the
    states and return values of its tasks. When it fails, the end of the log of its failed tasks is in the message, of ten at most.
  - Waits for a DAG that is not parsed yet.
  - With O(run_id) of a run that exists, waits for that one and triggers none.
  - An instance of a mapped task goes by the task's id and its index, such as C(score[3]); every other by the task's id.
attributes:
  check_mode: {support: full, description: Says whether a run would be triggered.}
  diff_mode: {support: none, description: A run has no before.}
  platform: {platforms: posix}
extends_documentation_fragment: [ansible.builtin.action_common_attributes]
options:
  url: {description: Where the API server answers., type: str, required: true}
  username: {description: Name of a user who may trigger the DAG., type: str, required: true}
  password: {description: The user's password. One of O(password) and O(password_file) is needed., type: str}
  password_file: {description: File on the managed host that holds the password., type: path}
  dag_id: {description: The DAG., type: str, required: true}
  run_id: {description: Id of the run. By default Airflow makes one., type: str}
  conf: {description: Parameters of the run., type: dict, default: {}}
  unpause: {description: "Unpause the DAG, without which a run stays queued.", type: bool, default: true}
  timeout: {description: "How long everything may take, in seconds.", type: float, default: 600}
  log_lines: {description: Lines shown from the end of a failed task's log., type: int, default: 40}
  return_logs: {description: Return the end of every task's log when the run succeeds., type: bool, default: false}
"""

EXAMPLES = r"""
- name: Train the model
  mlops.stack.airflow_dag_run:
    url: http://127.0.0.1:8081
    username: admin
    password_file: /opt/mlops/airflow/secrets/airflow_admin_password
    dag_id: train_regmodel
  register: training
"""

RETURN = r"""
run_id: {description: Id of the run., returned: success, type: str, sample: manual__2026-01-01T00:00:00+00:00}
state: {description: State in which it ended., returned: success, type: str, sample: success}
tasks: {description: State of each task instance by its name., returned: success, type: dict, sample: {train: success}}
return_values: {description: Return value of each task instance that has one., returned: success, type: dict}
hostnames: {description: Host that each task instance ran on., returned: success, type: dict, sample: {train: 10.0.0.3}}
logs: {description: End of each task instance's log as a list of lines., returned: success with O(return_logs), type: dict}
elapsed: {description: Seconds from call to end., returned: success, type: float}
"""

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.mlops.stack.plugins.module_utils._wait._run import wait

REQUEST_TIMEOUT = 30  # seconds
ENDED = ["success", "failed"]
SHOWN_LOGS = 10


class ApiError(Exception):
    """The API refused or did not answer; the text says what was asked and what came back."""

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


class Airflow:
    """The calls of the public API that a run needs."""

    def __init__(self, url: str, deadline: float) -> None:
        self.url = url.rstrip("/")
        self.deadline = deadline
        self.headers = {"Content-Type": "application/json", "Accept": "application/json"}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Decoded answer. Raises ApiError."""
        try:
            with open_url(self.url + path, method=method, data=None if body is None else json.dumps(body), headers=self.headers,
                          timeout=min(REQUEST_TIMEOUT, max(1, self.deadline - time.monotonic())), use_proxy=False) as answer:
                return json.loads(answer.read())
        except HTTPError as error:
            raise ApiError("%s %s answered %d: %s" % (method, path, error.code, error.read(500).decode("utf-8", "replace")), error.code) from error
        except (URLError, OSError, ValueError) as error:
            raise ApiError("%s %s%s: %s" % (method, self.url, path, error)) from error

    def login(self, username: str, password: str) -> None:
        try:
            token = self.call("POST", "/auth/token", {"username": username, "password": password})["access_token"]
        except ApiError as error:
            if error.status == 401:
                raise ApiError("%s refuses the password of user %s; the user's password is what airflow-init set from "
                               "airflow_admin_password" % (self.url, username)) from error
            raise
        self.headers["Authorization"] = "Bearer " + token

    def wait_for(self, name: str, path: str, expect: Any) -> Any:
        """Wait until a GET of path answers 200 and its JSON meets the expectations; the collection's one wait loop."""
        ended = wait({
            "checks": [{"name": name, "type": "http", "url": self.url + path, "headers": {"Authorization": self.headers["Authorization"]},
                        "json": expect}],
            "timeout": max(0.01, self.deadline - time.monotonic()), "attempt_timeout": 10.0, "suspect_after": 15.0,
            "interval": {"min": 0.2, "max": 2.0, "ratio": 0.02}, "fail_fast": True, "stable_for": 0.0, "max_restarts": 3,
            "docker_host": "unix:///var/run/docker.sock", "log_lines": 0, "diagnostics_timeout": 0.0, "redact": [],
        })
        if ended.failed:
            raise ApiError(ended.result["msg"])

    def task_instances(self, run_path: str) -> list:
        """Every task instance of a run, whatever the API's limit of a page is; its count of them may be capped too."""
        found: list = []
        page = True
        while page:
            page = self.call("GET", "%s/taskInstances?limit=100&offset=%d&order_by=id" % (run_path, len(found)))["task_instances"]
            found += page
        return found

    def log_tail(self, run_path: str, task: Mapping[str, Any], lines: int) -> list[str]:
        """End of a task's log as lines of text."""
        path = "%s/taskInstances/%s/logs/%d?full_content=true" % (run_path, quote(task["task_id"], safe=""), task["try_number"])
        if task.get("map_index", -1) >= 0:
            path += "&map_index=%d" % task["map_index"]
        try:
            content = self.call("GET", path)["content"]
        except ApiError as error:
            return ["its log cannot be read: %s" % error]
        shown = []
        for entry in content:
            if isinstance(entry, dict):
                details = entry.get("error_detail") or []
                shown.append(" ".join(str(entry[key]) for key in ("timestamp", "level", "event") if entry.get(key)))
                shown += ["  %s: %s" % (detail.get("exc_type"), detail.get("exc_value")) for detail in details if isinstance(detail, dict)]
            else:
                shown.append(str(entry))
        return shown[-lines:]


def name_of(task: Mapping[str, Any]) -> str:
    """What a task instance goes by."""
    index = task.get("map_index", -1)
    return task["task_id"] if index < 0 else "%s[%d]" % (task["task_id"], index)


def find_or_trigger(api: Any, module: AnsibleModule, dag_path: str) -> Any:
    """(run id, whether it was triggered now). In check mode a run that would be triggered has no id."""
    wanted = module.params
    if wanted["run_id"]:
        try:
            return api.call("GET", "%s/dagRuns/%s" % (dag_path, quote(wanted["run_id"], safe="")))["dag_run_id"], False
        except ApiError as error:
            if error.status != 404:
                raise
    if module.check_mode:
        return None, True
    body = {"logical_date": None, "conf": wanted["conf"]}
    if wanted["run_id"]:
        body["dag_run_id"] = wanted["run_id"]
    return api.call("POST", dag_path + "/dagRuns", body)["dag_run_id"], True


def return_values_of(api: Any, run_path: str, tasks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return values of the tasks that have one."""
    found = {}
    for task in tasks:
        try:
            found[name_of(task)] = api.call("GET", "%s/taskInstances/%s/xcomEntries/return_value?map_index=%d" % (
                run_path, quote(task["task_id"], safe=""), task.get("map_index", -1)))["value"]
        except ApiError as error:
            if error.status != 404:
                raise
    return found


def run(module: AnsibleModule, began: float) -> Any:
    wanted = module.params
    password = wanted["password"]
    if wanted["password_file"]:
        with open(wanted["password_file"], encoding="utf-8") as handle:
            password = handle.read().rstrip("\n")
    api = Airflow(wanted["url"], began + wanted["timeout"])
    dag_path = "/api/v2/dags/" + quote(wanted["dag_id"], safe="")
    api.login(wanted["username"], password)
    api.wait_for("DAG " + wanted["dag_id"], dag_path, [{"path": "dag_id", "op": "eq", "value": wanted["dag_id"]}])
    if wanted["unpause"] and not module.check_mode and api.call("GET", dag_path)["is_paused"]:
        api.call("PATCH", dag_path + "?update_mask=is_paused", {"is_paused": False})
    run_id, triggered = find_or_trigger(api, module, dag_path)
    if run_id is None:
        module.exit_json(changed=True, msg="a run of %s would be triggered" % wanted["dag_id"])
    run_path = "%s/dagRuns/%s" % (dag_path, quote(run_id, safe=""))
    api.wait_for("DAG run " + run_id, run_path, [{"path": "state", "op": "in", "value": ENDED}])
    state = api.call("GET", run_path)["state"]
    tasks = api.task_instances(run_path)
    result = {"changed": triggered, "run_id": run_id, "state": state, "tasks": {name_of(task): task["state"] for task in tasks},
              "hostnames": {name_of(task): task.get("hostname") for task in tasks}, "elapsed": round(time.monotonic() - began, 3)}
    if state != "success":
        failed = [task for task in tasks if task["state"] == "failed"]
        tails = ["task %s failed on try %d:\n%s" % (
            name_of(task), task["try_number"], "\n".join(api.log_tail(run_path, task, wanted["log_lines"])))
            for task in failed[:SHOWN_LOGS]]
        if failed[SHOWN_LOGS:]:
            tails.append("failed too: %s" % ", ".join(name_of(task) for task in failed[SHOWN_LOGS:]))
        module.fail_json(msg="run %s of DAG %s ended as %s\n%s" % (run_id, wanted["dag_id"], state, "\n".join(tails)), **result)
    if wanted["return_logs"]:
        result["logs"] = {name_of(task): api.log_tail(run_path, task, wanted["log_lines"]) for task in tasks}
    module.exit_json(return_values=return_values_of(api, run_path, tasks), **result)


def main() -> None:
    began = time.monotonic()
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "username": {"type": "str", "required": True},
            "password": {"type": "str", "no_log": True},
            "password_file": {"type": "path", "no_log": False},
            "dag_id": {"type": "str", "required": True},
            "run_id": {"type": "str"},
            "conf": {"type": "dict", "default": {}},
            "unpause": {"type": "bool", "default": True},
            "timeout": {"type": "float", "default": 600},
            "log_lines": {"type": "int", "default": 40},
            "return_logs": {"type": "bool", "default": False},
        },
        required_one_of=[("password", "password_file")],
        mutually_exclusive=[("password", "password_file")],
        supports_check_mode=True,
    )
    try:
        run(module, began)
    except (ApiError, OSError) as error:
        module.fail_json(msg="airflow_dag_run: %s" % error)


if __name__ == "__main__":
    main()
