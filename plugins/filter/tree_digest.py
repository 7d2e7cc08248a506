# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters over files of the collection's roles: what goes into an image, as a digest and as a stream."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.mlops.stack.plugins.plugin_utils._team_folder import team_folder

ROLES = Path(__file__).resolve().parents[2] / "roles"
IGNORED = {"__pycache__", ".git"}


def _files(paths: list[str], roles: Path, elsewhere: dict[str, str] | None, strict: bool) -> Iterator[tuple[str, Path]]:
    """Yield (name relative to ``roles``, path) of every file below ``paths``, each once, sorted by name.

    elsewhere: path -> the team's directory that stands in its place, where that is not empty; what of it is source goes by the names it would have
    there. strict: what cannot be taken of it is an error.
    """
    found = {}
    for path in paths:
        instead = (elsewhere or {}).get(path)
        top = Path(instead) if instead else roles / path
        if instead and not top.is_dir():
            raise AnsibleFilterError(f"tree_digest: {instead!r} is not a directory on the controller")
        if not top.exists():
            raise AnsibleFilterError(f"tree_digest: {path!r} is not below {roles}")
        if instead:
            team = team_folder(instead, build=True)
            if team.problems and strict:
                raise AnsibleFilterError(f"tree_tar: {instead}: {'; '.join(team.problems)}")
            found.update({(Path(path) / name).as_posix(): Path(file) for name, file in team.files.items()})
            continue
        for file in [top] if top.is_file() else top.rglob("*"):
            inside = file.relative_to(top)
            if file.is_file() and IGNORED.isdisjoint(inside.parts):
                found[(Path(path) / inside).as_posix()] = file
    yield from sorted(found.items())


def tree_digest(paths: list[str], *arguments: str, elsewhere: dict[str, str] | None = None, roles: Path = ROLES) -> str:
    digest = hashlib.sha256()
    # Preflight reports what cannot be taken.
    for name, file in _files(paths, roles, elsewhere, strict=False):
        content = file.read_bytes()
        executable = bool(file.stat().st_mode & 0o100)
        digest.update(f"{name}\0{executable}\0{len(content)}\0".encode() + content)
    for argument in arguments:
        digest.update(f"{argument}\0".encode())
    return digest.hexdigest()[:12]


def tree_tar(paths: list[str], elsewhere: dict[str, str] | None = None, roles: Path = ROLES) -> str:
    """Return the files below ``paths`` as a compressed tar archive in base64."""
    stream = io.BytesIO()
    # A link goes as what it leads to, which the digest is made of too.
    with tarfile.open(fileobj=stream, mode="w:gz", dereference=True) as archive:
        for name, file in _files(paths, roles, elsewhere, strict=True):
            member = archive.gettarinfo(str(file), name)
            member.uid = member.gid = member.mtime = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.mode & 0o100 else 0o644
            with file.open("rb") as content:
                archive.addfile(member, content)
    return base64.b64encode(stream.getvalue()).decode()


def team_files(folder: str) -> list[str]:
    """Names of what is source in a team's folder."""
    return list(team_folder(os.path.expanduser(folder)).files)


class FilterModule:
    """mlops.stack.tree_digest, mlops.stack.tree_tar and mlops.stack.team_files."""

    def filters(self) -> dict[str, Any]:
        return {"tree_digest": tree_digest, "tree_tar": tree_tar, "team_files": team_files}
