# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The docker command on a host, and what it says of the Engine and of images."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Callable

from ansible_collections.mlops.stack.plugins.module_utils._docker._host import SOCKET

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# Runs docker with these arguments; its output, or None where no Engine answers or the command fails.
Docker = Callable[..., "str | None"]

# The Engine that the stack runs on, whatever the user's environment says.
CLIENT = {"DOCKER_HOST": SOCKET, "DOCKER_CONTEXT": "", "DOCKER_TLS": "", "DOCKER_TLS_VERIFY": "", "DOCKER_API_VERSION": ""}
ENGINE_DATA = "/var/lib/docker"
ENGINE_CONFIG = "/etc/docker/daemon.json"


def docker_of(module: AnsibleModule) -> Docker:
    """The docker command of a module's host."""
    def docker(*arguments: str) -> str | None:
        if not module.get_bin_path("docker"):
            return None
        status, out, _err = module.run_command(["docker", *arguments], environ_update=CLIENT)
        return str(out) if status == 0 else None
    return docker


def engine_data(docker: Docker, config: str = ENGINE_CONFIG) -> str:
    """Where the Engine keeps images and volumes: what it says; else what it is told to use once it runs."""
    told = (docker("info", "--format", "{{.DockerRootDir}}") or "").strip()
    if told:
        return told
    try:
        with open(config, encoding="utf-8") as handle:
            wanted = json.load(handle)
    except (OSError, ValueError):
        return ENGINE_DATA
    return str(wanted.get("data-root") or wanted.get("graph") or ENGINE_DATA) if isinstance(wanted, dict) else ENGINE_DATA
