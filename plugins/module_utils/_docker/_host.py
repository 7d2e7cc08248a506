# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How Docker's client is set up on a host: which Engine it means, and which proxies it gives to containers."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

SOCKET = "unix:///var/run/docker.sock"
# The same by the name of today.
OURS = ("", SOCKET, "unix:///run/docker.sock")
PROXIES = ("httpProxy", "httpsProxy", "allProxy", "ftpProxy")


def config_path(environ: Mapping[str, str]) -> str:
    """Where the client's configuration lies."""
    return os.path.join(environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"), "config.json")


def client_config(path: str) -> dict[str, Any]:
    """The client's configuration; {} where there is none that the client could read."""
    try:
        with open(path, encoding="utf-8") as handle:
            found = json.load(handle)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def other_engine_problem(environ: Mapping[str, str], config: Mapping[str, Any], path: str) -> str | None:
    """Why the user's own Docker commands would reach another Engine than the stack, or None. The client heeds the first that is set."""
    rows = [("DOCKER_HOST in the environment", environ.get("DOCKER_HOST", ""), OURS, "unset it (env -u DOCKER_HOST)"),
            ("DOCKER_CONTEXT in the environment", environ.get("DOCKER_CONTEXT", ""), ("", "default"), "unset it (env -u DOCKER_CONTEXT)"),
            ("the current context in " + path, str(config.get("currentContext") or ""), ("", "default"), "docker context use default")]
    what, value, ours, fix = next((row for row in rows if row[1]), rows[0])
    if value in ours:
        return None
    return ("%s is %s, so Docker's commands here mean another Engine than the host's own (%s), which the stack runs on; %s, "
            "or let the inventory name the host on which that Engine runs" % (what, value, SOCKET, fix))


def proxies(config: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the client gives proxies to every container (given), and what it lets pass by them (no_proxy)."""
    every = config.get("proxies")
    found = (every.get(SOCKET) or every.get("default")) if isinstance(every, dict) else None
    if not isinstance(found, dict):
        return {"given": False, "no_proxy": ""}
    return {"given": any(found.get(name) for name in PROXIES), "no_proxy": str(found.get("noProxy") or "")}


def mapped_problem(options: str) -> str | None:
    """Why an Engine whose containers have other users than the host cannot run the stack, or None. options: `docker info`'s security options."""
    found = next((name for name in ("userns", "rootless") if f"name={name}" in options), None)
    if not found:
        return None
    fix = ("take userns-remap out of /etc/docker/daemon.json and restart the Engine" if found == "userns" else
           "run the Engine as root (apt-get install docker.io; systemctl --user disable --now docker)")
    how = "userns-remap" if found == "userns" else "a user of its own (rootless)"
    return (f"Docker Engine runs with {how}, so containers are refused the host's network and cannot read secrets that belong to their users; {fix}, "
            "or use another host")


def has_login(config: Mapping[str, Any], image: str) -> bool:
    """Whether the client has, or may have in a helper, a login at the registry of an image (github.com/distribution/reference)."""
    first, slash, _rest = image.partition("/")
    registry = first if slash and (first == "localhost" or set(first) & set(".:")) else "https://index.docker.io/v1/"
    return bool(config.get("credsStore")) or any(registry in (config.get(key) or {}) for key in ("auths", "credHelpers"))
