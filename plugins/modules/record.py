#!/usr/bin/python
# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host remembers of its data, written where nothing contradicts it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: record
short_description: Keep a record of the data on a host
version_added: 0.1.0
author: mlops.stack maintainers (@mlops-stack)
description:
  - Writes what the data is made with, and which data volumes there are, to a file that M(mlops.stack.preflight) compares later.
  - Refuses where somebody else has the project's name, where remembered volumes are gone, and where an image would migrate data. Preflight
    finds the same earlier, unless no Engine ran then or an image was not there yet.
  - A record that is contradicted by the data is kept beside the new one.
attributes:
  check_mode: {support: full, description: Writes nothing.}
  diff_mode: {support: none, description: The record holds digests only.}
  platform: {platforms: posix}
extends_documentation_fragment: [ansible.builtin.action_common_attributes]
options:
  state:
    description:
      - V(present) writes the record; V(looked) only says whose the project is; V(absent) removes the record of data that was deleted.
    type: str
    choices: [present, looked, absent]
    default: present
  path: {description: The file., type: path, required: true}
  project: {description: Name of the Compose project., type: str, required: true}
  content:
    description: What to remember beside the volumes, as M(mlops.stack.preflight) returns it.
    type: dict
    default: {}
  images:
    description: Images that a user gives for products whose version owns a schema, by product; each is asked its version.
    type: dict
    default: {}
  bridge: {description: Network interface that the project makes; empty checks nothing., type: str, default: ""}
  start_empty: {description: Begin without remembered data that is gone., type: bool, default: false}
  keep: {description: "With O(state=absent), keep the record beside, because data that it remembers was not there.", type: bool, default: false}
  allow_migration: {description: Accept versions that differ from those of the data., type: bool, default: false}
"""

EXAMPLES = r"""
- name: Remember what the data is made with
  mlops.stack.record:
    path: /opt/mlops/state.json
    project: mlops
    content: {versions: {postgres: "17"}}
"""

RETURN = r"""
ours: {description: Whether anything of the project is this stack's., returned: always, type: bool}
foreign: {description: Containers of the project that this stack did not make., returned: always, type: list, elements: str}
engine: {description: Whether an Engine answers., returned: always, type: bool}
kept: {description: Where the former record was kept., returned: when it was contradicted, type: str}
left:
  description: Volumes and networks of a project that nobody says is this stack's, for neither a container of it nor a record is there.
  returned: when O(state) is V(looked) and an Engine answers
  type: list
  elements: str
lost: {description: Remembered data volumes that are not there., returned: when an Engine answers, type: list, elements: str}
volumes:
  description: The data volumes that are remembered now; with O(state=looked), every volume of the project.
  returned: when O(state) is V(present) or V(looked)
  type: raw
"""

import os
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlops.stack.plugins.module_utils._docker._cli import Docker, docker_of
from ansible_collections.mlops.stack.plugins.module_utils._preflight import _project
from ansible_collections.mlops.stack.plugins.module_utils._preflight._versions import image_versions, unknown_problems, version_problems

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "looked", "absent"], "default": "present"},
    "path": {"type": "path", "required": True},
    "project": {"type": "str", "required": True},
    "content": {"type": "dict", "default": {}},
    "images": {"type": "dict", "default": {}},
    "bridge": {"type": "str", "default": ""},
    "start_empty": {"type": "bool", "default": False},
    "keep": {"type": "bool", "default": False},
    "allow_migration": {"type": "bool", "default": False},
}


Here = dict[str, "str | None"]


def contradictions(wanted: dict[str, Any], found: _project.Found, remembered: dict[str, Any], here: Here, versions: Here) -> Iterator[str]:
    """Why nothing may be made with this record."""
    yield from _project.foreign_problems(found, wanted["project"], os.path.dirname(wanted["path"]), wanted["bridge"])
    another = _project.renamed_problem(remembered, wanted["project"], wanted["path"])
    if another:
        yield another
        return
    data = _project.compare(remembered, here, wanted["project"])
    if not wanted["start_empty"]:
        yield from _project.lost_problems(data, here, wanted["path"])
    kept = _project.forget(remembered, data, wanted["project"]) if data.lost else remembered
    yield from version_problems(kept, {name: version for name, version in versions.items() if version}, wanted["allow_migration"])
    yield from unknown_problems(versions, wanted["images"], kept, wanted["allow_migration"])


def present(module: AnsibleModule, docker: Docker, found: _project.Found, remembered: dict[str, Any], here: Here) -> dict[str, Any]:
    """Write the record; returns what the module returns of it."""
    wanted, versions = module.params, image_versions(docker, module.params["images"])
    problems = list(contradictions(wanted, found, remembered, here, versions))
    if problems:
        module.fail_json(msg="%d problem(s), nothing was started:\n%s" % (len(problems), "\n".join("- " + problem for problem in problems)))
    known, data = _project.remembered_volumes(remembered, wanted["project"]), _project.compare(remembered, here, wanted["project"])
    content, directory = dict(wanted["content"]), os.path.dirname(wanted["path"])
    content["versions"] = {**content.get("versions", {}), **{name: version for name, version in versions.items() if version}}
    content["volumes"] = {name: identity or known.get(name, "") for name, identity in here.items()}
    content["project"] = wanted["project"]
    # That a volume is no longer empty is what using the stack does, and no change of this run.
    result: dict[str, Any] = {"changed": _project.made(content) != _project.made(remembered), "volumes": content["volumes"]}
    if not module.check_mode:
        # Containers' users read below it by path.
        os.umask(0o022)
        os.makedirs(directory, exist_ok=True)
        result["changed"] = module.set_mode_if_different(directory, "0755", result["changed"])
    if content != remembered and not module.check_mode:
        if data.new or data.lost:
            result["kept"] = _project.keep_beside(wanted["path"])
        _project.write_state(wanted["path"], content)
    return result


def absent(module: AnsibleModule) -> dict[str, Any]:
    """Remove the record, or give it another name; returns what the module returns of it."""
    path = module.params["path"]
    result: dict[str, Any] = {"changed": os.path.lexists(path)}
    if result["changed"] and not module.check_mode:
        if module.params["keep"]:
            result["kept"] = _project.keep_beside(path)
        os.unlink(path)
    return result


def without_engine(module: AnsibleModule) -> None:
    """Ends the module where no Engine answers."""
    ours = _project.is_ours(os.path.dirname(module.params["path"]))
    start = "start it (systemctl start docker), then run again"
    if module.params["state"] == "present" and not module.check_mode:
        module.fail_json(msg="no Docker Engine answers on this host, so nobody can say which data it has; " + start)
    if module.params["state"] != "present" and ours and module.get_bin_path("docker"):
        module.fail_json(msg="no Docker Engine answers on this host, so nothing can be removed, and what runs here comes back with it; " + start)
    module.exit_json(changed=False, engine=False, ours=ours, foreign=[])


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    wanted, docker = module.params, docker_of(module)
    directory = os.path.dirname(wanted["path"])
    found = _project.find(docker, wanted["project"])
    if found is None:
        without_engine(module)
        return
    remembered: dict[str, Any] = {}
    try:
        remembered = _project.read_state(wanted["path"])
    except (ValueError, OSError) as error:
        if wanted["state"] == "present":  # a removal does without
            module.fail_json(msg="%s cannot be read (%s); restore it from a backup, or remove it if the data is gone" % (wanted["path"], error))
    foreign, ours = _project.sort_out(found, directory, _project.is_ours(directory))
    result: dict[str, Any] = {"changed": False, "engine": True, "ours": ours, "foreign": [name for name, _folder in foreign]}
    here = _project.data_volumes(docker, found, wanted["project"], _project.remembered_volumes(remembered, wanted["project"]))
    result["lost"] = _project.compare(remembered, here, wanted["project"]).lost
    if wanted["state"] == "looked":
        result["volumes"] = sorted({*found.volumes, *here})
        result["left"] = [] if ours or foreign else sorted({*found.volumes, *found.networks})
    if foreign and ours:
        module.fail_json(msg="; ".join(_project.foreign_problems(found, wanted["project"], directory)), **result)
    if wanted["state"] == "present":
        result.update(present(module, docker, found, remembered, here))
    elif wanted["state"] == "absent":
        result.update(absent(module))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
