# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module in slices and passes its state on, so that a long wait says which checks are still open."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

SLICE = 10  # seconds between two lines
NAMED = 6  # open checks that a line names

display = Display()


def open_line(host, result):
    """What is still waited for, in one line, with what was last seen of each."""
    still = [(name, check["last"]) for name, check in sorted(result["checks"].items()) if check["state"] == "pending"]
    named = ", ".join("%s (%s)" % (name, (last or {}).get("code") or "not asked yet") for name, last in still[:NAMED])
    more = " and %d more" % (len(still) - NAMED) if len(still) > NAMED else ""
    return "%s: %d of %d checks open after %d s: %s%s" % (host, len(still), len(result["checks"]), result["elapsed"], named, more)


class ActionModule(ActionBase):
    """Options are documented in the module of the same name."""

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args = dict(self._task.args, _slice=SLICE)
        while True:
            result = self._execute_module(module_args=args, task_vars=task_vars)
            if result.get("failed") or result.pop("finished", True):
                result.pop("_state", None)
                return result
            display.display(open_line(task_vars["inventory_hostname"], result))
            args["_state"] = result["_state"]
