# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Versions that own a schema: what the images that a user gives hold, and whether the data on a host fits them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.mlops.stack.plugins.module_utils._docker._api import DockerApi
from ansible_collections.mlops.stack.plugins.module_utils._docker._cli import Docker
from ansible_collections.mlops.stack.plugins.module_utils._docker._host import SOCKET, has_login
from ansible_collections.mlops.stack.plugins.module_utils._net._connection import Net
from ansible_collections.mlops.stack.plugins.module_utils._net._outcome import NotReady

# Products of which one version (for PostgreSQL, a major) cannot read the data of another (postgresql.org, "Upgrading a Cluster").
UNREADABLE = ("postgres",)
# Seconds that a registry may take to say whether it has an image.
REGISTRY = 20
PYTHON = "import importlib.metadata as m; print(m.version('%s'))"
# How a product's image says its version: the program, its arguments, and where its answer has what counts.
ASKED = {
    "postgres": (["postgres", "--version"], r"\(PostgreSQL\) (\d+)"),
    "mlflow": (["python", "-c", PYTHON % "mlflow"], r"^(\d[0-9.]*)"),
    "airflow": (["python", "-c", PYTHON % "apache-airflow"], r"^(\d[0-9.]*)"),
}


def image_version(docker: Docker, product: str, image: str) -> str | None:
    """The version of a product in an image that the host has, from the program that will run; None where it does not say."""
    (program, *arguments), pattern = ASKED[product]
    said = docker("run", "--rm", "--pull", "never", "--network", "none", "--entrypoint", program, image, *arguments) or ""
    found = re.search(pattern, said.strip())
    return found.group(1) if found else None


def offered(docker: Docker, image: str) -> bool:
    """Whether a registry gives the image: to the Engine, or to the docker command, which knows the logins."""
    try:
        there = DockerApi(SOCKET, Net()).offered(image, time.monotonic() + REGISTRY)
    except NotReady:
        there = False
    return there or docker("manifest", "inspect", image) is not None


def given_problems(docker: Docker, images: Mapping[str, str], config: Mapping[str, Any]) -> Iterator[str]:
    """Given images that are neither on the host nor to be had, as far as an Engine can say. config: of Docker's client.

    Where the client has a login at the registry, the pull will say: the Engine, which knows the way there, asks without it.
    """
    if not images or docker("version") is None:
        return
    for name, image in sorted(images.items()):
        if docker("image", "inspect", image) is None and not has_login(config, image) and not offered(docker, image):
            yield (f"the image {image}, given for {name}, is not on this host and no registry gives it; correct its name, log in to its registry "
                   "(docker login), or load it on this host (docker load)")


def image_versions(docker: Docker, images: Mapping[str, str]) -> dict[str, str | None]:
    """Versions of the products in the given images that own a schema, as far as the host has those."""
    return {product: image_version(docker, product, image) for product, image in sorted(images.items())
            if product in ASKED and docker("image", "inspect", image) is not None}


def unknown_problems(versions: Mapping[str, str | None], images: Mapping[str, str], remembered: Mapping[str, Any], allow_migration: bool) -> Iterator[str]:
    """Images that do not say their version, over data that was made with one."""
    for name in sorted(product for product, version in versions.items() if version is None):
        have = remembered.get("versions", {}).get(name)
        if have and not (allow_migration and name not in UNREADABLE):
            yield (f"{name} {have} holds data here and the image {images[name]} does not say its version "
                   f"(docker run --entrypoint {' '.join(ASKED[name][0][:1])} {images[name]}); give an image of {name} {have}, "
                   "or leave the variable out that names this one")


def version_problems(remembered: Mapping[str, Any], wanted: Mapping[str, str], allow_migration: bool) -> Iterator[str]:
    """Versions that the data on a host was not made with."""
    for name, version in sorted(wanted.items()):
        have = remembered.get("versions", {}).get(name)
        if not have or have == version:
            continue
        if name in UNREADABLE:
            yield (f"{name} {have} holds data here and {version} is wanted, which cannot read it: dump the databases with {have}, delete the data, "
                   f"and restore the dump with {version}; or keep {have}")
        elif not allow_migration:
            yield (f"{name} {have} holds data here and {version} is wanted: that migrates its schema, and there is no way back; back up the databases "
                   f"and run again with -e mlops_allow_migration=true, or keep {have}")
