# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Warns of each file that the module names, with what the controller knows of it."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._dag_files import NoRuff, findings, import_warning


class ActionModule(ActionBase):
    """Options are documented in the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        result = self._execute_module(task_vars=task_vars)
        directory = self._task.args.get("directory")
        try:
            found = findings(directory) if directory and result.get("errors") else {}
        except NoRuff:
            found = {}  # preflight has told so
        for row in result.get("errors", []):
            self._display.warning(import_warning(row, found.get(row["file"], [])))
        return result
