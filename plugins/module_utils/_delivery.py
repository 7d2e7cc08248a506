# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What template_tree does on a managed host: compare, have checked, write atomically, remove what is no longer wanted."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

# Runs a command and returns (status, stdout, stderr).
Run = Callable[[list[str]], tuple[int, str, str]]

MANIFEST = ".delivered.json"
SERVICES = "services.yaml"
ALONE = ".services.alone.yaml"  # the same without what depends on services of other roles
DIRECTORY = 0o755
SECRETS = 0o700  # of the directory with that name
TEXT_DIFF_LIMIT = 104448  # bytes, as ansible.builtin.copy shows no larger file


def read(path: str) -> bytes | None:
    """Content of a file, or None where there is none."""
    try:
        with open(path, "rb") as handle:
            return handle.read()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def parents(name: str) -> list[str]:
    """The directories that a relative path goes through, the outermost first."""
    parts = name.split(os.sep)[:-1]
    return [os.sep.join(parts[:count]) for count in range(1, len(parts) + 1)]


def names_in(text: bytes) -> dict[str, Any]:
    """What a manifest says was delivered; one that was cut off still says most of it."""
    try:
        found = json.loads(text)
        return found if isinstance(found, dict) else {}
    except ValueError:
        # As they are written below. What was secret is not known any more.
        return {json.loads(name): {"secret": True} for name in re.findall(rb'^ ("(?:[^"\\]|\\.)*"): \{', text, re.MULTILINE)}


def differs(path: str, content: bytes, mode: int, uid: int, gid: int) -> bool:
    """Whether a file lacks the wanted content, mode (octal int) or owner (ids)."""
    if read(path) != content:
        return True
    have = os.stat(path)
    return (have.st_mode & 0o7777, have.st_uid, have.st_gid) != (mode, uid, gid)


def write(path: str, content: bytes, mode: int, uid: int, gid: int) -> None:
    """Replace a file in one step; it has its final owner and mode before it has its name."""
    temporary = path + ".mlops-new"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(handle, view):]
        os.fchown(handle, uid, gid)
        os.fchmod(handle, mode)
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(temporary, path)


def said(out: str, err: str) -> str:
    return "\n".join(text.strip() for text in (out, err) if text.strip())


class Refused(Exception):
    """A product's own checker does not take the new files, or something is in their way."""


def unseen(name: str, entry: Mapping[str, Any]) -> bool:
    """Whether a diff keeps to itself what a delivered file held. Manifests of former versions do not say it of environments."""
    return bool(entry.get("secret", True) or entry.get("hidden")) or name.endswith(".env")


class Delivery:
    """Collects what changes below one project directory, and does it unless in check mode."""

    def __init__(self, project: str, check_mode: bool) -> None:
        self.project = project
        self.check_mode = check_mode
        self.changed_files: list[str] = []
        self.diff: list[dict[str, str]] = []
        self._made: set[str] = set()

    def put(self, path: str, content: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0, secret: bool = False) -> None:
        self._make(os.path.dirname(path))
        if not differs(path, content, mode, uid, gid):
            return
        self._note(path, read(path), content, secret)
        if not self.check_mode:
            # What is left of a directory that files were delivered into.
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            write(path, content, mode, uid, gid)

    def _make(self, path: str) -> None:
        """Make a directory of the project, and bring back its mode."""
        if path in self._made:
            return
        self._made.add(path)
        if path != self.project:
            self._make(os.path.dirname(path))
        mode = SECRETS if os.path.basename(path) == "secrets" else DIRECTORY
        if os.path.isdir(path):
            if os.stat(path).st_mode & 0o777 == mode:
                return
            self.changed_files.append(os.path.relpath(path, self.project) + os.sep)
        if not self.check_mode:
            os.makedirs(path, exist_ok=True)
            os.chmod(path, mode)

    def drop(self, path: str, secret: bool = False) -> None:
        content = read(path)
        if content is None:
            return
        self._note(path, content, None, secret)
        if not self.check_mode:
            os.unlink(path)
            self._prune_empty(os.path.dirname(path))

    def _prune_empty(self, directory: str) -> None:
        while directory != self.project and not os.listdir(directory):
            os.rmdir(directory)
            directory = os.path.dirname(directory)

    def _note(self, path: str, before: bytes | None, after: bytes | None, secret: bool) -> None:
        name = os.path.relpath(path, self.project)
        self.changed_files.append(name)
        shown = {"before_header": path, "after_header": path}
        for side, content in (("before", before), ("after", after)):
            content = content or b""
            if secret:
                shown[side] = "(secret)\n" if content else ""
            elif b"\0" in content or len(content) > TEXT_DIFF_LIMIT:
                shown[side] = "(%d bytes)\n" % len(content)
            else:
                shown[side] = content.decode("utf-8", "replace")
        self.diff.append(shown)

    def deliver(self, dest: str, archive: str, checks: Sequence[dict[str, Any]], run: Run, header: str, fresh: Collection[str] = ()) -> None:
        """Bring the directory dest to the archive's content."""
        with tarfile.open(archive) as tar:
            contents = {member.name: b"".join(tar.extractfile(member) or ()) for member in tar}
        wanted: dict[str, Any] = json.loads(contents.pop(MANIFEST))
        alone = contents.pop(ALONE, contents.get(SERVICES, b""))
        delivered = self._delivered(dest)
        gone = [name for name in delivered if name not in wanted]
        self._refuse_what_is_in_the_way(dest, wanted, delivered)
        if not self.check_mode:
            changed = {name for name in wanted if read(os.path.join(dest, name)) != contents[name]}.union(gone)
            due = [check for check in checks if any(name.startswith(check["path"] + os.sep) for name in changed)]
            composed = any(name == SERVICES or name.endswith(".env") for name in changed)
            if due or composed:
                self._validate(dest, due, wanted, contents, run, (header, alone, fresh) if composed and SERVICES in wanted else None)
            # First of all: a run that is cut off in between leaves nothing that no later run knows of.
            if not wanted.keys() <= delivered.keys():
                self._remember(dest, {**delivered, **wanted})
        between = {parent for name in wanted for parent in parents(name)}
        first = [name for name in gone if name in between or not wanted.keys().isdisjoint(parents(name))]
        for name in first:
            self.drop(os.path.join(dest, name), unseen(name, delivered[name]))
        for name, entry in sorted(wanted.items()):
            self.put(os.path.join(dest, name), contents[name], entry["mode"], entry["uid"], entry["gid"], unseen(name, entry))
        for name in gone:
            if name not in first:
                self.drop(os.path.join(dest, name), unseen(name, delivered[name]))
        if wanted != delivered:
            self.changed_files.append(os.path.relpath(os.path.join(dest, MANIFEST), self.project))
        self._remember(dest, wanted)

    def _remember(self, dest: str, names: dict[str, Any]) -> None:
        path, content = os.path.join(dest, MANIFEST), json.dumps(names, indent=1, sort_keys=True).encode() + b"\n"
        if not self.check_mode and differs(path, content, 0o644, 0, 0):
            self._make(dest)
            write(path, content, 0o644, 0, 0)

    def _refuse_what_is_in_the_way(self, dest: str, wanted: Collection[str], delivered: Collection[str]) -> None:
        """A directory with files that no run delivered where a file is wanted, or such a file where a directory is."""
        for name in sorted(wanted):
            path = os.path.join(dest, name)
            if os.path.isdir(path) and not os.path.islink(path):
                for folder, _folders, files in os.walk(path):
                    own = [file for file in files if os.path.relpath(os.path.join(folder, file), dest) not in delivered]
                    if own:
                        raise Refused("%s has to become a file and holds %s, which no run delivered; move that away" % (
                            path, os.path.relpath(os.path.join(folder, own[0]), path)))
            for parent in parents(name):
                path = os.path.join(dest, parent)
                if os.path.lexists(path) and not os.path.isdir(path) and parent not in delivered:
                    raise Refused("%s has to become a directory and is a file that no run delivered; move it away" % path)

    def _validate(self, dest: str, checks: Sequence[dict[str, Any]], wanted: dict[str, Any], contents: dict[str, bytes], run: Run,
                  composed: tuple[str, bytes, Collection[str]] | None) -> None:
        """Raises Refused when a check does not take the files, which stand in a directory of their own for it."""
        # Always the same: a run that was cut off leaves it behind.
        staged = Delivery(os.path.join(self.project, ".validate"), False)
        shutil.rmtree(staged.project, ignore_errors=True)
        role = os.path.basename(dest)
        staged._make(staged.project)
        try:
            for name, entry in wanted.items():
                if not entry["secret"]:
                    staged.put(os.path.join(staged.project, role, name), contents[name], entry["mode"], entry["uid"], entry["gid"])
            for check in checks:
                status, out, err = run([part.replace("%s", os.path.join(staged.project, role)) for part in check["command"]])
                if status != 0:
                    raise Refused("the new files in %s are refused, nothing was changed: %s" % (
                        check["path"], said(out, err).replace(os.path.join(staged.project, role) + "/", "")))
            if composed:
                self._compose(staged, role, run, *composed)
        finally:
            shutil.rmtree(staged.project)

    def _compose(self, staged: Delivery, role: str, run: Run, header: str, alone: bytes, fresh: Collection[str]) -> None:
        """Raises Refused when Docker Compose does not take the project with the role's new files.

        What an earlier run or a hand left of other roles is no reason: their turn comes.
        """
        others = [name for name in self._roles() if name != role]
        for name in others:
            for file in os.listdir(os.path.join(self.project, name)):
                if file == SERVICES or file.endswith(".env"):
                    staged.put(os.path.join(staged.project, name, file), read(os.path.join(self.project, name, file)) or b"", 0o600)
        command = ["docker", "compose", "--project-directory", staged.project, "--file", os.path.join(staged.project, "compose.yaml"), "config", "--quiet"]
        stale = [name for name in others if name not in fresh]
        for leave_out in ([], stale) if stale else ([],):
            for name in leave_out:
                shutil.rmtree(os.path.join(staged.project, name))
                staged.put(os.path.join(staged.project, role, SERVICES), alone)
            staged.index(header)
            status, out, err = run(command)
            if status == 0 or run(["docker", "compose", "version"])[0] != 0:
                return
        raise Refused("the new files are refused by Docker Compose, nothing was changed: %s" % said(out, err).replace(staged.project + "/", ""))

    def remove(self, dest: str) -> None:
        """Remove what was delivered into dest, and dest itself when nothing else is in it."""
        for name, entry in self._delivered(dest).items():
            self.drop(os.path.join(dest, name), unseen(name, entry))
        self.drop(os.path.join(dest, MANIFEST))

    @staticmethod
    def _delivered(dest: str) -> dict[str, Any]:
        return names_in(read(os.path.join(dest, MANIFEST)) or b"{}")

    def _roles(self) -> list[str]:
        """The directories of the project that have services."""
        names = os.listdir(self.project) if os.path.isdir(self.project) else []
        return sorted(name for name in names if os.path.exists(os.path.join(self.project, name, SERVICES)) and not name.startswith("."))

    def index(self, header: str, dest: str | None = None, absent: Iterable[str] = ()) -> None:
        """Write the project's compose.yaml over the services.yaml files that are present."""
        present = set(self._roles())
        # In check mode the directory tree is still the old one.
        if dest:
            present.add(os.path.basename(dest))
        present -= {os.path.basename(path) for path in absent}
        path = os.path.join(self.project, "compose.yaml")
        if not present:
            self.drop(path)
            return
        lines = ["include:"] + ["  - %s/services.yaml" % name for name in sorted(present)]
        self.put(path, (header.rstrip("\n") + "\n" + "\n".join(lines) + "\n").encode())
