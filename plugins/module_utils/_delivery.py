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
from collections.abc import Callable, Iterable, Mapping, Sequence
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


class Tree:
    """A role's directory: what is wanted there, and what an earlier run delivered."""

    def __init__(self, role: str, dest: str, contents: dict[str, bytes], delivered: dict[str, Any]) -> None:
        self.role = role
        self.dest = dest
        self.wanted: dict[str, Any] = json.loads(contents.pop(MANIFEST))
        self.alone = contents.pop(ALONE, contents.get(SERVICES, b""))
        self.contents = contents
        self.delivered = delivered

    def changed(self) -> set[str]:
        """Files whose content is another on the host, or that go."""
        return {name for name in self.wanted if read(os.path.join(self.dest, name)) != self.contents[name]}.union(
            name for name in self.delivered if name not in self.wanted)


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

    def deliver(self, archive: str | None, checks: Mapping[str, Sequence[dict[str, Any]]], run: Run, header: str, absent: Sequence[str] = ()) -> None:
        """Bring the directories of roles to the archive's content, all of them or, where one is refused, none, and remove those of others.

        archive: a directory a role, with its MANIFEST; checks: role -> the products' own; header: of compose.yaml; absent: roles.
        """
        trees = self._trees(archive) if archive else []
        for tree in trees:
            self._refuse_what_is_in_the_way(tree)
        if not self.check_mode:
            self._validate(trees, checks, run, header, absent)
            # First of all: a run that is cut off in between leaves nothing that no later run knows of.
            for tree in trees:
                if not tree.wanted.keys() <= tree.delivered.keys():
                    self._remember(tree.dest, {**tree.delivered, **tree.wanted})
        for tree in trees:
            self._place(tree)
        for role in absent:
            self._remove(role)
        self._index(header, present=[tree.role for tree in trees], absent=absent)

    def _trees(self, archive: str) -> list[Tree]:
        found: dict[str, dict[str, bytes]] = {}
        with tarfile.open(archive) as tar:
            for member in tar:
                role, _slash, name = member.name.partition("/")
                found.setdefault(role, {})[name] = b"".join(tar.extractfile(member) or ())
        return [Tree(role, os.path.join(self.project, role), contents, self._delivered(os.path.join(self.project, role))) for role, contents in found.items()]

    def _place(self, tree: Tree) -> None:
        """Write what differs of a role, and remove what it does not have any more."""
        wanted, gone = tree.wanted, [name for name in tree.delivered if name not in tree.wanted]
        between = {parent for name in wanted for parent in parents(name)}
        first = [name for name in gone if name in between or not wanted.keys().isdisjoint(parents(name))]
        for name in first:
            self.drop(os.path.join(tree.dest, name), unseen(name, tree.delivered[name]))
        for name, entry in sorted(wanted.items()):
            self.put(os.path.join(tree.dest, name), tree.contents[name], entry["mode"], entry["uid"], entry["gid"], unseen(name, entry))
        for name in gone:
            if name not in first:
                self.drop(os.path.join(tree.dest, name), unseen(name, tree.delivered[name]))
        if wanted != tree.delivered:
            self.changed_files.append(os.path.relpath(os.path.join(tree.dest, MANIFEST), self.project))
        self._remember(tree.dest, wanted)

    def _remember(self, dest: str, names: dict[str, Any]) -> None:
        path, content = os.path.join(dest, MANIFEST), json.dumps(names, indent=1, sort_keys=True).encode() + b"\n"
        if not self.check_mode and differs(path, content, 0o644, 0, 0):
            self._make(dest)
            write(path, content, 0o644, 0, 0)

    @staticmethod
    def _refuse_what_is_in_the_way(tree: Tree) -> None:
        """A directory with files that no run delivered where a file is wanted, or such a file where a directory is."""
        for name in sorted(tree.wanted):
            path = os.path.join(tree.dest, name)
            if os.path.isdir(path) and not os.path.islink(path):
                for folder, _folders, files in os.walk(path):
                    own = [file for file in files if os.path.relpath(os.path.join(folder, file), tree.dest) not in tree.delivered]
                    if own:
                        raise Refused("%s has to become a file and holds %s, which no run delivered; move that away" % (
                            path, os.path.relpath(os.path.join(folder, own[0]), path)))
            for parent in parents(name):
                path = os.path.join(tree.dest, parent)
                if os.path.lexists(path) and not os.path.isdir(path) and parent not in tree.delivered:
                    raise Refused("%s has to become a directory and is a file that no run delivered; move it away" % path)

    def _validate(
        self, trees: Sequence[Tree], checks: Mapping[str, Sequence[dict[str, Any]]], run: Run, header: str, absent: Sequence[str],
    ) -> None:
        """Raises Refused when a check does not take the files, which stand in a directory of their own for it."""
        changed = {tree.role: tree.changed() for tree in trees}
        due = [(role, check) for role, names in changed.items() for check in checks.get(role) or ()
               if any(name.startswith(check["path"] + os.sep) for name in names)]
        composed = any(name == SERVICES or name.endswith(".env") for names in changed.values() for name in names)
        if not due and not composed:
            return
        # Always the same: a run that was cut off leaves it behind.
        staged = Delivery(os.path.join(self.project, ".validate"), False)
        shutil.rmtree(staged.project, ignore_errors=True)
        staged._make(staged.project)
        try:
            for tree in trees:
                for name, entry in tree.wanted.items():
                    if not entry["secret"]:
                        staged.put(os.path.join(staged.project, tree.role, name), tree.contents[name], entry["mode"], entry["uid"], entry["gid"])
            for role, check in due:
                directory = os.path.join(staged.project, role)
                status, out, err = run([part.replace("%s", directory) for part in check["command"]])
                if status != 0:
                    raise Refused("the new files in %s/%s are refused, nothing was changed: %s" % (
                        role, check["path"], said(out, err).replace(directory + "/", "")))
            if composed:
                self._compose(staged, trees, run, header, absent)
        finally:
            shutil.rmtree(staged.project)

    def _compose(self, staged: Delivery, trees: Sequence[Tree], run: Run, header: str, absent: Sequence[str]) -> None:
        """Raises Refused when Docker Compose does not take the project with the new files.

        What an earlier run or a hand left of roles that are not delivered now is no reason: their turn comes.
        """
        others = sorted(set(self._roles()).difference(absent, (tree.role for tree in trees)))
        for name in others:
            for file in os.listdir(os.path.join(self.project, name)):
                if file == SERVICES or file.endswith(".env"):
                    staged.put(os.path.join(staged.project, name, file), read(os.path.join(self.project, name, file)) or b"", 0o600)
        command = ["docker", "compose", "--project-directory", staged.project, "--file", os.path.join(staged.project, "compose.yaml"), "config", "--quiet"]
        for without in (False, True) if others else (False,):
            if without:
                for name in others:
                    shutil.rmtree(os.path.join(staged.project, name))
                for tree in trees:
                    if SERVICES in tree.wanted:
                        staged.put(os.path.join(staged.project, tree.role, SERVICES), tree.alone)
            staged._index(header)
            status, out, err = run(command)
            if status == 0 or run(["docker", "compose", "version"])[0] != 0:
                return
        raise Refused("the new files are refused by Docker Compose, nothing was changed: %s" % said(out, err).replace(staged.project + "/", ""))

    def _remove(self, role: str) -> None:
        """Remove what was delivered of a role, and its directory when nothing else is in it."""
        dest = os.path.join(self.project, role)
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

    def _index(self, header: str, present: Iterable[str] = (), absent: Iterable[str] = ()) -> None:
        """Write the project's compose.yaml over the services.yaml files that are there, those of the roles in present and without absent."""
        # In check mode the directory tree is still the old one.
        roles = sorted({*self._roles(), *present}.difference(absent))
        path = os.path.join(self.project, "compose.yaml")
        if not roles:
            self.drop(path)
            return
        lines = ["include:"] + ["  - %s/services.yaml" % name for name in roles]
        self.put(path, (header.rstrip("\n") + "\n" + "\n".join(lines) + "\n").encode())
