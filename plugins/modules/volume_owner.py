#!/usr/bin/python
# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hand a volume over to the user that its container runs as now."""

from __future__ import annotations

DOCUMENTATION = r"""
module: volume_owner
short_description: Hand a volume over to the user that its container runs as now
version_added: 0.1.0
author: mlops.stack maintainers (@mlops-stack)
description:
  - Gives a named volume and all that it holds to a user, where any of it belongs to another. A container that is to run as another user than
    before could not write what it wrote before.
  - Containers that use the volume are stopped first, because they may write as they end; they are not started again.
  - A volume that is not there is left to Compose. A directory that every user may write into may belong to anybody; what is in it may not.
attributes:
  check_mode: {support: full, description: Says whether it would be handed over.}
  diff_mode: {support: none, description: Owners only.}
  platform: {platforms: posix}
extends_documentation_fragment: [ansible.builtin.action_common_attributes]
options:
  volume: {description: "The volume's whole name, such as C(mlops_alertmanager-data).", type: str, required: true}
  uid: {description: "The user id, which is taken for the group too.", type: int, required: true}
"""

EXAMPLES = r"""
- name: Hand the volume over
  mlops.stack.volume_owner:
    volume: mlops_alertmanager-data
    uid: 50003
"""

RETURN = r"""
stopped: {description: Ids of the containers that were stopped., returned: always, type: list, elements: str}
"""

import os
from collections.abc import Iterator

from ansible.module_utils.basic import AnsibleModule

EVERYBODY = 0o002


def entries(directory: str) -> Iterator[str]:
    """The directory and all below it; links are not followed."""
    yield directory
    for top, directories, files in os.walk(directory):
        yield from (os.path.join(top, name) for name in directories + files)


def is_strange(path: str, uid: int, top: bool) -> bool:
    """Whether what lies at path belongs to another user and keeps this one from its work."""
    found = os.lstat(path)
    return found.st_uid != uid and not (top and found.st_mode & EVERYBODY)


def docker(module: AnsibleModule, *arguments: str) -> str:
    """What a docker command says; empty where it fails."""
    status, out, _err = module.run_command(["docker", *arguments])
    return out.strip() if status == 0 else ""


def main() -> None:
    module = AnsibleModule(argument_spec={"volume": {"type": "str", "required": True}, "uid": {"type": "int", "required": True}}, supports_check_mode=True)
    volume, uid = module.params["volume"], module.params["uid"]
    # A check run may find no Engine yet.
    where = docker(module, "volume", "inspect", "--format", "{{.Mountpoint}}", volume) if module.get_bin_path("docker") else ""
    if not where or not any(is_strange(path, uid, path == where) for path in entries(where)):
        module.exit_json(changed=False, stopped=[])
    users = docker(module, "ps", "--quiet", "--filter", f"volume={volume}").split()
    if not module.check_mode:
        if users:
            module.run_command(["docker", "stop", *users], check_rc=True)
        for path in entries(where):
            os.chown(path, uid, uid, follow_symlinks=False)
    module.exit_json(changed=True, stopped=users)


if __name__ == "__main__":
    main()
