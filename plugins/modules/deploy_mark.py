#!/usr/bin/python
# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leave a mark of what a run changed where the node exporter's textfile collector finds it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: deploy_mark
short_description: Tell Prometheus what a run changed on a host, when, and how long it took
version_added: 0.1.0
author: mlops.stack maintainers (@mlops-stack)
description:
  - Writes C(mlops_deploy_timestamp_seconds), C(mlops_deploy_duration_seconds) and C(mlops_deploy_info) of each role that changed into a
    file of its own, C(mlops_deploy_<role>.prom), for the textfile collector of the node exporter. Marks of other roles stay.
  - Each file is written beside its place and renamed, as the collector wants it.
  - Writes nothing where nothing changed.
attributes:
  check_mode: {support: full, description: Says which roles would be marked.}
  diff_mode: {support: none, description: The mark itself is the difference.}
  platform: {platforms: posix}
extends_documentation_fragment: [ansible.builtin.action_common_attributes]
options:
  project: {description: Directory of the Compose project., type: path, required: true}
  name: {description: Name of the Compose project., type: str, required: true}
  directory: {description: Directory that the textfile collector reads., type: path, required: true}
  files: {description: "Files that were delivered, relative to O(project); the first part of a path is the role.", type: list, elements: str, default: []}
  actions:
    description: What M(community.docker.docker_compose_v2) returned as its RV(ignore:actions).
    type: list
    elements: dict
    default: []
  duration: {description: How long the run took to start services until all were healthy (seconds)., type: float, required: true}
"""

EXAMPLES = r"""
- name: Leave a mark
  mlops.stack.deploy_mark:
    project: /opt/mlops
    name: mlops
    directory: /opt/mlops/monitoring/textfile
    files: [mlflow/services.yaml]
    actions: [{what: container, id: mlops-mlflow-1, status: Recreated}]
    duration: 12.5
"""

RETURN = r"""
marks:
  description: What was changed, by role.
  returned: always
  type: dict
  sample: {mlflow: [mlflow]}
"""

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule

NAMED = 5  # services or files that a mark names
SERVICE = re.compile(r"  ([\w.-]+):$")


def services_of(text: str) -> list[str]:
    """Names of the services in a services.yaml as template_tree writes it."""
    inside, names = False, []
    for line in text.splitlines():
        if line and not line.startswith((" ", "#")):
            inside = line == "services:"
        found = SERVICE.match(line) if inside else None
        if found:
            names.append(found.group(1))
    return names


def roles_by_service(project: str) -> dict[str, str]:
    """Service -> role, of all services that the project holds."""
    found = {}
    for role in sorted(os.listdir(project)) if os.path.isdir(project) else []:
        path = os.path.join(project, role, "services.yaml")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as handle:
                found.update(dict.fromkeys(services_of(handle.read()), role))
    return found


def marks(files: Iterable[str], actions: Iterable[Mapping[str, Any]], name: str, roles: Mapping[str, str]) -> dict[str, list[str]]:
    """Role -> what changed in it: services that were touched, else files that were delivered."""
    services: dict[str, set[str]] = {}
    delivered: dict[str, set[str]] = {}
    for action in actions:
        if action.get("what") == "container" and action.get("id", "").startswith(name + "-"):
            service = action["id"][len(name) + 1:].rpartition("-")[0]
            if service in roles:
                services.setdefault(roles[service], set()).add(service)
    for path in files:
        role, _separator, rest = path.partition(os.sep)
        # What lies at the top or begins with a dot is the project's own.
        if rest and not os.path.basename(rest).startswith("."):
            delivered.setdefault(role, set()).add(rest)
    return {role: sorted(services.get(role) or delivered[role]) for role in sorted(services.keys() | delivered.keys())}


def exposition(role: str, what: Sequence[str], now: float, duration: float) -> str:
    """Text of one role's mark in Prometheus' format."""
    shown = ", ".join(what[:NAMED]) + (" and %d more" % (len(what) - NAMED) if len(what) > NAMED else "")
    shown = shown.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return "".join("# HELP %s %s\n# TYPE %s gauge\n%s{%s} %s\n" % (name, text, name, name, labels, value) for name, text, labels, value in (
        ("mlops_deploy_timestamp_seconds", "When a run last changed this role on this host.", 'role="%s"' % role, "%.3f" % now),
        ("mlops_deploy_duration_seconds", "From the first start of a service until all were healthy.", 'role="%s"' % role, "%.3f" % duration),
        ("mlops_deploy_info", "What that run changed.", 'role="%s",what="%s"' % (role, shown), "1")))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "directory": {"type": "path", "required": True},
            "files": {"type": "list", "elements": "str", "default": []},
            "actions": {"type": "list", "elements": "dict", "default": []},
            "duration": {"type": "float", "required": True},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    found = marks(wanted["files"], wanted["actions"], wanted["name"], roles_by_service(wanted["project"]))
    if found and not module.check_mode:
        now = time.time()
        try:
            os.umask(0o022)
            os.makedirs(wanted["directory"], exist_ok=True)
            # The exporter reads it as another user, whatever the umask.
            os.chmod(wanted["directory"], 0o755)
            for role, what in found.items():
                path = os.path.join(wanted["directory"], "mlops_deploy_%s.prom" % role)
                # The collector reads names that end in .prom only.
                with open(path + ".new", "w", encoding="utf-8") as handle:
                    handle.write(exposition(role, what, now, wanted["duration"]))
                os.chmod(path + ".new", 0o644)
                os.replace(path + ".new", path)
        except OSError as error:
            module.fail_json(msg="deploy_mark: cannot write to %s: %s" % (wanted["directory"], error))
    module.exit_json(changed=bool(found), marks=found)


if __name__ == "__main__":
    main()
