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
  project: {description: Name of the Compose project., type: str, required: true}
  state_path: {description: File in which the host remembers versions and secret digests., type: path, required: true}
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
  choices:
    description: Variables with a closed set of values, as C(name), C(value) and C(choices). Used on the controller.
    type: list
    elements: dict
    default: []
  files:
    description: Files and directories that a variable names and that must be readable on the controller, as C(name) and C(path).
    type: list
    elements: dict
    default: []
  given_files:
    description:
      - Files that the team brings, on the controller, as C(dotenv) (path), C(environments) and C(keys) (lists of paths), the tables C(names),
        C(unused) and C(taken) of what the first may hold, and C(given), which the filter P(mlops.stack.given#filter) returns.
        C(secret_names) and C(given_secrets) are such a table and such a result for secrets that the first has no names for.
      - What is missing is left out. Nothing of a file's content is ever told but names.
    type: dict
    default: {}
  removed:
    description: Variables that are set and are not read any more, each with what to do instead. Used on the controller.
    type: dict
    default: {}
  groups:
    description: Inventory groups with too few or too many hosts, as C(name), C(hosts) and C(at_most). Used on the controller.
    type: list
    elements: dict
    default: []
  secrets:
    description: Secrets that the data is made with, by name. Used on the controller only, as salted digests.
    type: dict
    default: {}
  versions: {description: "Versions that own a schema, by name.", type: dict, default: {}}
  allow_migration: {description: Accept versions that differ from those of the data., type: bool, default: false}
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
state:
  description: What to write to O(state_path) once the run goes on; made by the action plugin.
  returned: always
  type: dict
now: {description: The host's clock in seconds since the epoch; the action plugin compares it with the controller's., returned: always, type: float}
data: {description: Whether the host holds data of this project., returned: always, type: bool}
"""

import errno
import json
import os
import re
import socket
import time

from ansible.module_utils.basic import AnsibleModule

ENGINE_DATA = "/var/lib/docker"
# MiB that a host needs whose images and volumes are there.
SETTLED = 1024


def port_problem(wanted, ours):
    """Why a port cannot be published, or None. ours: output of docker ps with the project's published ports."""
    address, port = wanted["address"], wanted["port"]
    if not 1 <= port <= 65535:
        return "%s is %d; a port is 1 to 65535" % (wanted["name"], port)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                if ":%d->" % port in ours:
                    return None
                return "%s: port %d on %s is in use by another program; stop it or set %s to a free port" % (
                    wanted["name"], port, address, wanted["name"])
            if error.errno == errno.EADDRNOTAVAIL:
                return "%s: this host does not have the address %s; set mlops_bind or mlops_address to one of its own" % (wanted["name"], address)
            return "%s: cannot bind port %d on %s: %s" % (wanted["name"], port, address, error.strerror)
    return None


def free_mib(path):
    """Free space for root's data where path lies or will lie: (MiB, existing directory)."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize // 1048576, path


def memory_mib(meminfo):
    """The host's memory in MiB, from the text of /proc/meminfo."""
    kib = dict(line.split(":", 1) for line in meminfo.splitlines())["MemTotal"].split()[0]
    return int(kib) // 1024


def memory_problem(have, need):
    """Why the memory (MiB) will not do, or None."""
    if have >= need:
        return None
    return "the host has %d MiB of memory and its roles need %d; give it more, move a role to another host, or set mlops_min_memory_mib" % (have, need)


def engine_problem(version, oldest):
    """Why the Engine that runs will not do, or None. version: as docker version tells it, such as 20.10.24+dfsg1."""
    found = re.match(r"\d+(\.\d+)*", version)
    if not oldest or not found or [int(part) for part in found.group().split(".")] >= [int(part) for part in oldest.split(".")]:
        return None
    return "Docker Engine %s runs here and %s or later is needed; upgrade it (an Engine that runs is never replaced)" % (version, oldest)


class Host:
    def __init__(self, module):
        self.module = module
        self.filter = "label=com.docker.compose.project=" + module.params["project"]

    def docker(self, *args):
        """Output of a docker command, or None where no Engine answers."""
        if not self.module.get_bin_path("docker"):
            return None
        status, out, _err = self.module.run_command(["docker"] + list(args))
        return out if status == 0 else None

    def remembered(self, path):
        """What state_path holds, {} where it is missing; a damaged file is the caller's problem."""
        try:
            with open(path, encoding="utf-8") as handle:
                return json.load(handle)
        except FileNotFoundError:
            return {}

    def holds_data(self, remembered):
        """Whether volumes of the project exist. A host that remembers data and has no Engine up is taken to hold it."""
        volumes = self.docker("volume", "ls", "--quiet", "--filter", self.filter)
        return bool(remembered) if volumes is None else bool(volumes.strip())


def main():
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "state_path": {"type": "path", "required": True},
            "ports": {"type": "list", "elements": "dict", "default": [], "options": {
                "name": {"type": "str", "required": True},
                "address": {"type": "str", "required": True},
                "port": {"type": "int", "required": True},
            }},
            "min_free_mib": {"type": "int", "default": 0},
            "min_memory_mib": {"type": "int", "default": 0},
            "min_engine": {"type": "str", "default": ""},
            "choices": {"type": "list", "elements": "dict", "default": []},
            "files": {"type": "list", "elements": "dict", "default": []},
            "given_files": {"type": "dict", "default": {}, "no_log": True},
            "removed": {"type": "dict", "default": {}},
            "groups": {"type": "list", "elements": "dict", "default": []},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "versions": {"type": "dict", "default": {}},
            "allow_migration": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    host = Host(module)
    problems = []
    try:
        remembered = host.remembered(wanted["state_path"])
    except (ValueError, OSError) as error:
        remembered = {}
        problems.append("%s cannot be read (%s); restore it from a backup, or remove it if the data is gone" % (wanted["state_path"], error))
    data = host.holds_data(remembered)
    ours = host.docker("ps", "--filter", host.filter, "--format", "{{.Ports}}") or ""
    problems += [problem for problem in (port_problem(port, ours) for port in wanted["ports"]) if problem]
    free, where = free_mib(ENGINE_DATA)
    need = min(wanted["min_free_mib"], SETTLED) if data else wanted["min_free_mib"]
    if free < need:
        problems.append("%d MiB are free in %s and %d are needed; make room (docker system prune) or set mlops_min_free_mib" % (free, where, need))
    with open("/proc/meminfo", encoding="ascii") as handle:
        memory = memory_problem(memory_mib(handle.read()), wanted["min_memory_mib"])
    engine = engine_problem((host.docker("version", "--format", "{{.Server.Version}}") or "").strip(), wanted["min_engine"])
    problems += [problem for problem in (memory, engine) if problem]
    module.exit_json(changed=False, problems=problems, now=time.time(), remembered=remembered, data=data)


if __name__ == "__main__":
    main()
