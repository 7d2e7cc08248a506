# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters over files of the collection's roles: what goes into an image, as a digest and as a stream."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

from ansible.errors import AnsibleFilterError

ROLES = Path(__file__).resolve().parents[2] / "roles"
IGNORED = {"__pycache__", ".git"}


def _files(paths: list[str], roles: Path, elsewhere: dict[str, str] | None) -> Iterator[tuple[str, Path]]:
    """Yield (name relative to ``roles``, path) of every file below ``paths``, each once, sorted by name.

    elsewhere: path -> directory that stands in its place, where that is not empty; its files go by the names they would have there.
    """
    found = {}
    for path in paths:
        instead = (elsewhere or {}).get(path)
        top = Path(instead) if instead else roles / path
        if instead and not top.is_dir():
            raise AnsibleFilterError(f"tree_digest: {instead!r} is not a directory on the controller")
        if not top.exists():
            raise AnsibleFilterError(f"tree_digest: {path!r} is not below {roles}")
        for file in [top] if top.is_file() else top.rglob("*"):
            inside = file.relative_to(top)
            if file.is_file() and IGNORED.isdisjoint(inside.parts):
                found[(Path(path) / inside).as_posix()] = file
    yield from sorted(found.items())


def tree_digest(paths: list[str], *arguments: str, elsewhere: dict[str, str] | None = None, roles: Path = ROLES) -> str:
    digest = hashlib.sha256()
    for name, file in _files(paths, roles, elsewhere):
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
        for name, file in _files(paths, roles, elsewhere):
            member = archive.gettarinfo(str(file), name)
            member.uid = member.gid = member.mtime = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.mode & 0o100 else 0o644
            with file.open("rb") as content:
                archive.addfile(member, content)
    return base64.b64encode(stream.getvalue()).decode()


class FilterModule:
    def filters(self):
        return {"tree_digest": tree_digest, "tree_tar": tree_tar}
