#!/usr/bin/python
# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The managed host's half of preflight: ports, space, memory, Engine, and what the host remembers of its data."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Find every problem of a host before anything is changed
version_added: 0.1.0
author: mlops.stack maintainers (@mlops-stack)
description:
  - Looks at ports, disk space, memory, the Engine, the clock, files, and at whether the given secrets and versions fit the data that the host holds.
  - Returns all problems in one list and changes nothing; it fails only when it cannot look.
attributes:
  check_mode: {support: full, description: Always looks only.}
  diff_mode: {support: none, description: Changes nothing.}
  platform: {platforms: posix}
extends_documentation_fragment: [ansible.builtin.action_common_attributes]
options:
  project: {description: Name of the Compose project. Wanted., type: str}
  state_path: {description: File in which the host remembers versions and secret digests. Wanted., type: path}
  runs_parts: {description: Whether the host is to run parts of the stack., type: bool, default: true}
  bridge: {description: Network interface that the project makes; empty checks nothing., type: str, default: ""}
  start_empty: {description: Begin without remembered data that is gone., type: bool, default: false}
  given_images:
    description: Images that the user gives in place of the stack's own, by short name. One that the host lacks must be there to pull.
    type: dict
    default: {}
  ports:
    description: Ports this host will publish.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Variable that sets the port., type: str, required: true}
      address: {description: Address it is bound to., type: str, required: true}
      port: {description: Port number., type: int, required: true}
  min_free_mib:
    description: Free space wanted where the Engine keeps its data, in MiB; at most 1024 on a host that holds the stack already.
    type: int
    default: 0
  min_memory_mib:
    description: Memory that the roles of this host need, in MiB; 0 checks nothing.
    type: int
    default: 0
  min_engine:
    description: Oldest Docker Engine that will do, such as C(20.10.10); compared where one runs. Empty checks nothing.
    type: str
    default: ""
  min_compose:
    description: Oldest Compose that will do; told only where O(distributions) shows that no newer one can be installed. Empty checks nothing.
    type: str
    default: ""
  distributions:
    description: Distributions, such as C(Debian 13), on which a missing Engine or Compose can be installed. None checks nothing.
    type: list
    elements: str
    default: []
  bind: {description: Address that the host publishes ports on; empty checks nothing., type: str, default: ""}
  address: {description: Address that the other hosts reach this one by; empty checks nothing., type: str, default: ""}
  reach:
    description: Places that must answer; the action plugin adds those of O(parts).
    type: list
    elements: dict
    default: []
    suboptions:
      host: {description: Name or address., type: str, required: true}
      port: {description: Port number., type: int, required: true}
      what: {description: "What is there, in words.", type: str, required: true}
      fix: {description: What to do where it does not answer., type: str, required: true}
      open: {description: Whether it must accept a connection now; else a refusal proves enough., type: bool, default: false}
      peer: {description: The inventory's host that it is on., type: str, default: ""}
  from_variables:
    description: Options given as names of variables. Each is evaluated by itself; one that cannot be is a problem and hides no other.
    type: dict
    default: {}
  files:
    description: Files and directories that a variable names and that must be readable on the controller, as C(name) and C(path).
    type: list
    elements: dict
    default: []
  folders:
    description:
      - Folders of a team's of which the source is delivered, on the controller, as C(rows) like those of O(files), and C(build), the names of
        variables whose folder an image is built from.
    type: dict
    default: {}
  given_files:
    description:
      - Files that the team brings, on the controller, as C(dotenv) (path), C(unread) (where such a file is not read),
        C(environments) and C(keys) (lists of paths), the tables C(names),
        C(unused) and C(taken) of what the first may hold, C(given), which the filter P(mlops.stack.given#filter) returns, and C(wanted),
        names with the name that makes each necessary.
        C(secret_names) is such a table for secrets that the first has no names for.
        C(folders) has the paths C(former), C(now) and C(used) of the folder of secrets, and C(inventory).
      - What is missing is left out. Nothing of a file's content is ever told but names.
    type: dict
    default: {}
  airflow:
    description: Variables of the role airflow whose shape is looked at, by name, as far as they are set. Used on the controller.
    type: dict
    default: {}
  dags:
    description: The team's DAGs as C(directory) on the controller, of which ruff names what Airflow 3 cannot load; with C(every) also what it will drop.
    type: dict
    default: {}
  logins:
    description: Logins that others reach, as C(name), C(user) and C(password); refused where everybody knows it. Used on the controller.
    type: list
    elements: dict
    default: []
  given: {description: "What the user gives of them, as the filter P(mlops.stack.given#filter) returns it.", type: dict, default: {}}
  given_secrets: {description: "The same of C(secret_names).", type: dict, default: {}}
  taken: {description: Values that names in the first may not have., type: dict, default: {}}
  variables:
    description:
      - The roles' directory (C(roles)), variables that are not read any more with what to do instead (C(removed)), and dictionaries of which
        every key is looked up (C(whole)). What the inventory and the command line set is compared with the roles' argument specs. Used on the controller.
    type: dict
    default: {}
  inventory:
    description: The stack's groups (C(known)), how many hosts they may have (C(sizes)), what their parts need (C(needs)), and C(build_host). Used on
      the controller.
    type: dict
    default: {}
  parts:
    description: What hosts connect to (C(rows)), where parts are (C(services), C(ports)) and what Prometheus asks (C(scraped)). Used on the controller.
    type: dict
    default: {}
  secrets:
    description: Secrets that the data is made with, by name. Used on the controller only, as salted digests.
    type: dict
    default: {}
  versions: {description: "Versions that own a schema, by name.", type: dict, default: {}}
  artifacts: {description: Where MLflow is to keep artifacts; empty where it is not to run. Used on the controller., type: str, default: ""}
  allow_migration: {description: Accept versions that differ from those of the data and data that is left behind., type: bool, default: false}
"""

EXAMPLES = r"""
- name: Look for problems
  mlops.stack.preflight:
    project: mlops
    state_path: /opt/mlops/state.json
    ports: [{name: mlflow_port, address: 127.0.0.1, port: 5000}]
    min_free_mib: 8192
  register: found
"""

RETURN = r"""
problems:
  description: Each problem with what was found, what was wanted and what to do.
  returned: always
  type: list
  elements: str
controller_problems:
  description: The same of the controller's files, equal for all hosts that use the same; made by the action plugin.
  returned: always
  type: list
  elements: str
unreached:
  description: What this host cannot connect to, as C(problem), C(peer) (the inventory's host that it is on) and C(dropped) (no answer at all).
  returned: always
  type: list
  elements: dict
doubts: {description: What may be wrong; the action plugin warns of it., returned: when there is an answer, type: list, elements: str}
lacking: {description: Which of Docker Engine and Compose the host needs., returned: when there is an answer, type: list, elements: str}
restart_engine: {description: Whether the Engine has to be restarted to give back a port., returned: when there is an answer, type: bool}
served_by: {description: "Of RegModel's container, if it runs: C(image) and C(allowed) (flavors).", returned: when there is an answer, type: dict}
settled: {description: Whether the host remembers former runs; made by the action plugin., returned: always, type: bool}
sound: {description: Whether the host answered and no variable is wrong; made by the action plugin., returned: always, type: bool}
images: {description: Local names of the images that the host has., returned: always, type: list, elements: str}
given_versions: {description: What the given images that own a schema say of their versions; null where they do not., returned: always, type: dict}
lost: {description: Remembered data volumes that are not there., returned: always, type: list, elements: str}
state:
  description: What to write to O(state_path) once the run goes on; made by the action plugin.
  returned: always
  type: dict
no_answer: {description: Why the host cannot be reached; made by the action plugin., returned: when it cannot be, type: str}
now: {description: The host's clock in seconds since the epoch; the action plugin compares it with the controller's., returned: always, type: float}
data: {description: Whether the host holds data of this project., returned: always, type: bool}
bridges: {description: Bridges of the project's default network as it is., returned: when there is an answer, type: list, elements: str}
proxies:
  description: Whether Docker's client gives proxies to every container, C(given), and C(no_proxy), what it lets pass by them.
  returned: when there is an answer
  type: dict
known:
  description: By which C(names) and C(addresses) others may know the host, and the C(address) that it calls others from.
  returned: when there is an answer
  type: dict
kept: {description: Where MLflow keeps artifacts by the files that are there; empty without such., returned: when there is an answer, type: str}
"""

import os
import re
import time
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlops.stack.plugins.module_utils._docker import _host as _host_docker
from ansible_collections.mlops.stack.plugins.module_utils._docker._cli import docker_of, engine_data
from ansible_collections.mlops.stack.plugins.module_utils._preflight import _checks, _network, _project, _reach
from ansible_collections.mlops.stack.plugins.module_utils._preflight._versions import given_problems, image_versions

OS_RELEASE = "/etc/os-release"
# MiB that a host needs whose images and volumes are there.
SETTLED = 1024
# As the filter to_dotenv writes it.
ARTIFACTS = re.compile(r"^MLFLOW_ARTIFACTS_DESTINATION='(.*)'$", re.MULTILINE)


ARGUMENTS = {
    "project": {"type": "str"},
    "state_path": {"type": "path"},
    "runs_parts": {"type": "bool", "default": True},
    "bridge": {"type": "str", "default": ""},
    "start_empty": {"type": "bool", "default": False},
    "given_images": {"type": "dict", "default": {}},
    "ports": {"type": "list", "elements": "dict", "default": [], "options": {
        "name": {"type": "str", "required": True},
        "address": {"type": "str", "required": True},
        "port": {"type": "int", "required": True},
    }},
    "reach": {"type": "list", "elements": "dict", "default": [], "options": {
        "host": {"type": "str", "required": True},
        "port": {"type": "int", "required": True},
        "what": {"type": "str", "required": True},
        "fix": {"type": "str", "required": True},
        "open": {"type": "bool", "default": False},
        "peer": {"type": "str", "default": ""},
    }},
    "bind": {"type": "str", "default": ""},
    "address": {"type": "str", "default": ""},
    "min_free_mib": {"type": "int", "default": 0},
    "min_memory_mib": {"type": "int", "default": 0},
    "min_engine": {"type": "str", "default": ""},
    "min_compose": {"type": "str", "default": ""},
    "distributions": {"type": "list", "elements": "str", "default": []},
    "from_variables": {"type": "dict", "default": {}},
    "variables": {"type": "dict", "default": {}},
    "inventory": {"type": "dict", "default": {}},
    "parts": {"type": "dict", "default": {}},
    "files": {"type": "list", "elements": "dict", "default": []},
    "airflow": {"type": "dict", "default": {}, "no_log": True},
    "dags": {"type": "dict", "default": {}},
    "logins": {"type": "list", "elements": "dict", "default": [], "no_log": True},
    "folders": {"type": "dict", "default": {}},
    "given_files": {"type": "dict", "default": {}, "no_log": True},
    "given": {"type": "dict", "default": {}, "no_log": True},
    "taken": {"type": "dict", "default": {}},
    "given_secrets": {"type": "dict", "default": {}, "no_log": True},
    "secrets": {"type": "dict", "default": {}, "no_log": True},
    "versions": {"type": "dict", "default": {}},
    "artifacts": {"type": "str", "default": ""},
    "allow_migration": {"type": "bool", "default": False},
}


class Host:
    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.docker = docker_of(module)
        self.filter = "label=%s=%s" % (_project.LABEL, module.params["project"])
        self.engine = (self.docker("version", "--format", "{{.Server.Version}}") or "").strip()
        self.compose = self.docker("compose", "version", "--short") or ""

    def data(self, remembered: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
        """What the host has of the project: (problems, what else the module returns)."""
        return _project.look(self.docker, self.module.params, remembered)

    def keeps_artifacts(self, directory: str) -> str:
        try:
            with open(os.path.join(directory, "mlflow", "mlflow.env"), encoding="utf-8") as handle:
                found = ARTIFACTS.search(handle.read())
        except OSError:
            return ""
        return found.group(1) if found else ""

    def machine_problems(self, data: bool) -> Iterator[str | None]:
        """What the machine lacks: space, memory, an Engine and Compose that will do."""
        wanted = self.module.params
        free, where = _checks.free_mib(engine_data(self.docker))
        need = min(wanted["min_free_mib"], SETTLED) if data else wanted["min_free_mib"]
        if free < need:
            yield "%d MiB are free in %s and %d are needed; make room (docker system prune) or set mlops_min_free_mib" % (free, where, need)
        with open("/proc/meminfo", encoding="ascii") as handle:
            yield _checks.memory_problem(_checks.memory_mib(handle.read()), wanted["min_memory_mib"])
        yield _checks.engine_problem(self.engine, wanted["min_engine"])
        if wanted["distributions"] and wanted["min_compose"] and os.path.exists(OS_RELEASE):
            with open(OS_RELEASE, encoding="utf-8") as handle:
                yield _checks.compose_problem(self.lacking(), handle.read(), wanted["distributions"])

    def lacking(self) -> list[str]:
        """What the role docker has to install or to start."""
        return _checks.lacking_products(self.engine, self.compose, self.module.params["min_compose"])


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, required_together=[("project", "state_path")], supports_check_mode=True)
    wanted = module.params
    host = Host(module)
    problems: list[str | None] = []
    remembered: dict[str, Any] = {}
    about: dict[str, Any] = {"data": False}
    kept = ""
    if wanted["state_path"]:
        try:
            remembered = _project.read_state(wanted["state_path"])
        except (ValueError, OSError) as error:
            problems.append("%s cannot be read (%s); restore it from a backup, or remove it if the data is gone" % (wanted["state_path"], error))
        found, about = host.data(remembered)
        problems += found
        kept = host.keeps_artifacts(os.path.dirname(wanted["state_path"]))
    config = _host_docker.client_config(_host_docker.config_path(os.environ))
    problems.append(_host_docker.other_engine_problem(os.environ, config, _host_docker.config_path(os.environ)))
    problems.append(_host_docker.mapped_problem(host.docker("info", "--format", "{{.SecurityOptions}}") or ""))
    problems.append(_checks.bind_problem(wanted["bind"]))
    taken, mended = _checks.port_problems(wanted["ports"], host.docker, host.filter)
    problems += taken
    problems += host.machine_problems(about["data"])
    problems += given_problems(host.docker, wanted["given_images"], config)
    warning = _checks.address_warning(wanted["address"], wanted["bind"])
    module.exit_json(
        changed=False, now=time.time(), kept=kept, given_versions=image_versions(host.docker, wanted["given_images"]),
        **{"lost": [], "remembered": remembered, **about, "doubts": about.get("doubts", []) + ([warning] if warning else []) + mended},
        restart_engine=bool(mended), lacking=host.lacking(),
        problems=[problem for problem in problems if problem], unreached=_reach.unreached(wanted["reach"]),
        proxies=_host_docker.proxies(config),
        bridges=_project.bridges(host.docker, wanted["project"]) if wanted["project"] else [],
        served_by=_project.served_by(host.docker, wanted["project"]) if wanted["project"] else {},
        known={"names": _network.names(), "addresses": _network.addresses(), "address": _checks.own_address()},
        images=(host.docker("image", "ls", "--filter", "reference=mlops/*", "--format", "{{.Repository}}:{{.Tag}}") or "").split())


if __name__ == "__main__":
    main()
