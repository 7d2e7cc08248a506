# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module in slices and passes its state on, so that a long wait says which checks are still open."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.mlops.stack.plugins.plugin_utils._report import write_report

SLICE = 10  # seconds between two lines
NAMED = 6  # open checks that a line names

display = Display()


def open_line(host: str, result: Mapping[str, Any]) -> str:
    """What is still waited for, in one line, with what was last seen of each."""
    still = [(name, check["last"]) for name, check in sorted(result["checks"].items()) if check["state"] == "pending"]
    named = ", ".join("%s (%s)" % (name, (last or {}).get("code") or "not asked yet") for name, last in still[:NAMED])
    more = " and %d more" % (len(still) - NAMED) if len(still) > NAMED else ""
    return "%s: %d of %d checks open after %d s: %s%s" % (host, len(still), len(result["checks"]), result["elapsed"], named, more)


def dossier(host: str, task: str, result: Mapping[str, Any]) -> Any:
    """A failed wait as it goes into the report: the checks that it failed for, with all that is known of them."""
    return {
        "host": host,
        "task": task,
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **{key: result[key] for key in ("reason", "elapsed", "msg", "failed_checks")},
        "checks": {name: result["checks"][name] for name in result["failed_checks"]},
    }


class ActionModule(ActionBase):
    """Options are documented in the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        args = dict(self._task.args, _slice=SLICE)
        while True:
            result = self._execute_module(module_args=args, task_vars=task_vars)
            if result.pop("finished", True) or result.get("failed"):
                result.pop("_state", None)
                return self._reported(result, variables)
            display.display(open_line(variables["inventory_hostname"], result))
            args["_state"] = result["_state"]

    def _reported(self, result: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        directory = self._templar.template(task_vars.get("mlops_report_dir") or "")
        # Without checks it was the arguments that were wrong; with no_log nothing is to be shown.
        if not directory or not result.get("failed") or not result.get("checks") or self._task.no_log:
            return result
        host = task_vars["inventory_hostname"]
        try:
            write_report(directory, "dossier-%s.json" % host, json.dumps(dossier(host, self._task.get_name(), result), indent=2) + "\n")
            write_report(directory, "dossier-%s.txt" % host, result["msg"] + "\n")
        except OSError as exc:
            display.warning("the dossier of %s cannot be written to %s: %s; set mlops_report_dir to a directory on the controller"
                            " that this user may write" % (host, directory, exc))
        return result
