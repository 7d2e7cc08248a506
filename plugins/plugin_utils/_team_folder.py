# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a team's folder is delivered: its source, and nothing that only lies beside it. Lists are in the syntax of gitignore(5)."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ansible.errors import AnsibleError

try:
    from pathspec import GitIgnoreSpec
except ImportError:
    HAS_PATHSPEC = False
else:
    HAS_PATHSPEC = True

# No source wherever it lies: what version control, environments, caches and editors keep.
NO_SOURCE = [
    ".git", ".hg/", ".svn/", ".bzr/", ".venv/", "venv/", ".tox/", ".nox/", ".direnv/", "node_modules/", "__pycache__/", "*.py[co]", ".*_cache/",
    ".ipynb_checkpoints/", ".DS_Store", ".idea/", ".vscode/", "*~", "*.sw[a-p]", ".#*", "\\#*#"]
# Secrets by their names, in small letters: where programs look for logins by default. Those whose content tells are in looks_secret.
SECRETS = [
    ".env", ".env.*", "*.env", "!.env.example", ".envrc", ".secrets/", ".netrc", "_netrc", ".pypirc", ".pgpass", ".my.cnf", ".mylogin.cnf",
    ".git-credentials", ".npmrc", ".aws/", ".ssh/", ".kube/", ".docker/", ".azure/", ".config/gcloud/", ".s3cfg", ".boto",
    ".databrickscfg", ".htpasswd", ".vault_pass*", ".vault-pass*", ".terraform/", "*.tfstate", "*.tfstate.*", ".streamlit/secrets.toml",
    "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_*_sk", "*.key", "*.ppk", "*.p12", "*.pfx", "*.jks", "*.kdbx"]
# Private keys in PEM, of PuTTY and of age; and, in JSON, keys of service accounts, of applications and of their users (Google).
PRIVATE = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----\r?\n|^PuTTY-User-Key-File-|^AGE-SECRET-KEY-1[0-9A-Z]{20}", re.MULTILINE)
JSON_KEY = re.compile(rb"\"(private_key|refresh_token|client_secret)\"\s*:\s*\"[^\"]")
# Whatever their names, files are read for keys, which are small. Code is not: it speaks of keys, and without it nothing runs.
READ_FOR_KEYS = 65536
CODE = (".py", ".sh", ".sql", ".md", ".rst", ".html", ".js", ".ts", ".ipynb")
# By these a directory is an environment of Python's or Conda's, whatever its name.
ENVIRONMENTS = ("pyvenv.cfg", "conda-meta")
# Of a folder that an image is built from, these are read by the build itself.
BUILD = ("Dockerfile", ".dockerignore")


@dataclass
class TeamFolder:
    """Files by name (relative, sorted) with their paths; problems, in words; names of what was left out as a secret."""

    files: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)


def read_lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as handle:
            return handle.read().splitlines()
    except OSError:
        return []


def docker_lines(path: str) -> list[str]:
    """A .dockerignore in git's syntax: there each pattern begins at the top, and a slash at its end means nothing."""
    found = []
    for line in read_lines(path):
        pattern = line.strip()
        if pattern and not pattern.startswith("#"):
            sign, pattern = ("!", pattern[1:].strip()) if pattern.startswith("!") else ("", pattern)
            found.append(f"{sign}/{os.path.normpath(pattern).lstrip('/')}")
    return found


def looks_secret(path: str) -> bool:
    if path.lower().endswith(CODE):
        return False
    with open(path, "rb") as handle:
        content = handle.read(READ_FOR_KEYS)
    return bool(PRIVATE.search(content) or path.lower().endswith(".json") and JSON_KEY.search(content))


class Ignore(NamedTuple):
    """An ignore file: what it says of a name below the folder is asked for before + name[cut:]."""

    cut: int
    before: str
    spec: Any

    def says(self, name: str) -> bool | None:
        return self.spec.check_file(self.before + name[self.cut:]).include


def above(top: str) -> list[Ignore]:
    """The ignore files of the repository that a folder lies in, from its root down to the folder, whose own is not among them."""
    ways = [top]
    while not os.path.exists(os.path.join(ways[-1], ".git")):
        if os.path.dirname(ways[-1]) == ways[-1]:
            return []
        ways.append(os.path.dirname(ways[-1]))
    found = []
    for where in reversed(ways[1:]):
        lines = read_lines(os.path.join(where, ".gitignore"))
        if where == ways[-1]:
            lines = [*read_lines(os.path.join(where, ".git/info/exclude")), *lines]
        found.append(Ignore(0, os.path.relpath(top, where) + "/", GitIgnoreSpec.from_lines(lines)))
    # A folder that its repository ignores as a whole is a clone of its own, or made there: its files are meant.
    return [] if any(file.says("") for file in found) else found


class Walk:
    """One walk over a folder. Links are followed where they lead to something in it."""

    def __init__(self, top: str, build: bool) -> None:
        if not HAS_PATHSPEC:
            raise AnsibleError("the Python package pathspec is missing on the controller; install what requirements.txt of the collection names")
        self.found = TeamFolder()
        self.top = os.path.realpath(top)
        self.build = build
        self.no_source = GitIgnoreSpec.from_lines(NO_SOURCE)
        self.secret = GitIgnoreSpec.from_lines(SECRETS)
        self.docker = GitIgnoreSpec.from_lines(docker_lines(os.path.join(self.top, ".dockerignore")) if build else [])
        self.folder("", self.top, above(self.top), [self.top])
        self.found.files = dict(sorted(self.found.files.items()))
        self.found.secrets = sorted(set(self.found.secrets))

    def folder(self, name: str, path: str, specs: list[Ignore], way: list[str]) -> None:
        """Take a directory. specs: the ignore files above; way: real paths of the directories above."""
        specs = [*specs, Ignore(len(name) + 1 if name else 0, "", GitIgnoreSpec.from_lines(read_lines(os.path.join(path, ".gitignore"))))]
        try:
            entries = sorted(os.listdir(path))
        except OSError as error:
            self.problem(name or ".", f"cannot be read ({error.strerror}); let the user that runs Ansible read it")
            return
        for entry in entries:
            self.entry(f"{name}/{entry}" if name else entry, os.path.join(path, entry), specs, way)

    def entry(self, name: str, path: str, specs: list[Ignore], way: list[str]) -> None:
        real = os.path.realpath(path)
        inside = os.path.relpath(real, self.top)
        directory = os.path.isdir(path)
        if self.left_out(name, directory, specs):
            return
        if os.path.islink(path):
            if not os.path.exists(path):
                self.problem(name, f"is a link to {os.readlink(path)}, where nothing is; correct or remove it")
                return
            if inside.startswith(os.pardir):
                self.problem(name, f"is a link to {os.readlink(path)}, outside of the folder; put a copy in its place")
                return
            if directory and real in way:
                self.problem(name, f"is a link to {os.readlink(path)}, a directory that it lies in; remove it")
                return
            # Another name makes no source of what is none.
            if self.left_out(inside, directory, []):
                return
        if directory:
            if not any(os.path.lexists(os.path.join(path, mark)) for mark in ENVIRONMENTS):
                self.folder(name, path, specs, [*way, real])
        elif not stat.S_ISREG(os.stat(path).st_mode):
            self.problem(name, "is neither a file nor a directory; remove it")
        elif not os.access(path, os.R_OK):
            self.problem(name, "may not be read; let the user that runs Ansible read it")
        elif looks_secret(path):
            self.found.secrets.append(name)
        else:
            self.found.files[name] = path

    def left_out(self, name: str, directory: bool, specs: list[Ignore]) -> bool:
        asked = name + "/" if directory else name
        if self.no_source.match_file(asked):
            return True
        if self.secret.match_file(asked.lower()):
            self.found.secrets.append(name)
            return True
        if self.build and name in BUILD:
            return False
        # The nearest file that says something decides, as in git.
        for file in reversed(specs):
            said = file.says(asked)
            if said is not None:
                if said:
                    return True
                break
        # Docker takes back in what lies in a directory that it leaves out, so only files are asked for.
        return not directory and bool(self.docker.match_file(name))

    def problem(self, name: str, what: str) -> None:
        self.found.problems.append(f"{name} {what}")


def team_folder(top: str, build: bool = False) -> TeamFolder:
    """What of a team's folder is source. build: an image is built from it, and its .dockerignore counts too."""
    return Walk(top, build).found


def team_folder_problems(rows: list[dict[str, str]], build: list[str]) -> tuple[list[str], list[str]]:
    """(problems, warnings) of the team's folders. rows: name of a variable and its path; build: variables of what an image is built from."""
    problems, warnings = [], []
    for row in rows:
        if os.path.isdir(row["path"]):
            found = team_folder(row["path"], row["name"] in build)
            problems += [f"{row['name']} {row['path']}: {problem}" for problem in found.problems]
            if found.secrets:
                warnings.append(f"{row['name']} {row['path']}: not delivered, because every user of a host could read it there: {', '.join(found.secrets)}")
    return problems, warnings
