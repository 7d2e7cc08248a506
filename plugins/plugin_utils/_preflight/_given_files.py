# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that a team brings: .env, environments of services, and keys of service accounts. No message holds what a file says."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.mlops.stack.plugins.plugin_utils._dotenv import (
    cut_warnings,
    entries,
    name_problems,
    syntax_problems,
    value_problems,
    variable_problems,
)

PEM = "-----BEGIN PRIVATE KEY-----\n"


class Unreadable(Exception):
    """The file cannot be read; the text says why and what to do."""


def text_of(path: str, read: Callable[[str], bytes]) -> str:
    """The file as text. Raises Unreadable.

    read: returns the bytes of a file, decrypted where Ansible Vault encrypted it, and raises AnsibleError where it cannot.
    """
    if not os.path.isfile(path):
        raise Unreadable("%s: is not a file; put a file there, or remove it" % path)
    if not os.access(path, os.R_OK):
        raise Unreadable("%s: this user may not read it; chown it to the user that runs Ansible" % path)
    try:
        content = read(path)
    except AnsibleError:
        raise Unreadable("%s: cannot be decrypted; give the password that Ansible Vault encrypted it with (--ask-vault-pass, "
                         "--vault-password-file)" % path) from None
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Unreadable("%s, line %d: byte %d of the file is not UTF-8; save the file as UTF-8"
                         % (path, content[:error.start].count(b"\n") + 1, error.start + 1)) from None


def mode_problems(path: str) -> Iterator[str]:
    """A file that users other than its owner and group may read or change."""
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o006:
        yield "%s: its mode is %04o, so that every user of the controller can %s it; chmod 600 %s" % (
            path, mode, "change" if mode & 0o002 else "read", path)


def key_problems(path: str, text: str, project: str | None) -> Iterator[str]:
    """What keeps a file from being the key of a service account, or of one in the wanted project."""
    fix = "download the JSON key of the service account again"
    try:
        key = json.loads(text.lstrip("\ufeff"))
    except json.JSONDecodeError as error:
        yield "%s, line %d, column %d: is not JSON from there on; %s" % (path, error.lineno, error.colno, fix)
        return
    if not isinstance(key, dict):
        yield "%s: is a JSON %s where an object is wanted; %s" % (path, type(key).__name__, fix)
        return
    if key.get("type") != "service_account":
        yield "%s: its type is not service_account; %s" % (path, fix)
        return
    for name in ("project_id", "private_key", "client_email"):
        if not isinstance(key.get(name), str) or not key[name]:
            yield "%s: %s is missing; %s" % (path, name, fix)
    private, email, found = key.get("private_key"), key.get("client_email"), key.get("project_id")
    if isinstance(private, str) and private:
        if "\\n" in private:
            yield "%s: private_key has \\n as two characters where line breaks are wanted, as after quoting it twice; %s" % (path, fix)
        elif not private.startswith(PEM) or "-----END PRIVATE KEY-----" not in private:
            yield "%s: private_key is not a whole PEM block (-----BEGIN PRIVATE KEY----- to -----END PRIVATE KEY-----); %s" % (path, fix)
    if isinstance(email, str) and email and "@" not in email:
        yield "%s: client_email is not an e-mail address; %s" % (path, fix)
    if project and isinstance(found, str) and found and found != project:
        yield ("%s: its project_id is %s and MLFLOW_INSTANCE_CONNECTION is in the project %s; use a key of that project, "
               "or correct MLFLOW_INSTANCE_CONNECTION" % (path, found, project))


def folder_problems(former: str, now: str, named: list[Mapping[str, str]]) -> Iterator[str]:
    """What keeps the folder of secrets from being moved from where former versions had it. named: rows of a variable's name and its path."""
    if not os.path.isdir(former):
        return
    if os.path.lexists(now):
        yield ("%s and %s are both there, and former versions had the secrets in the first; move what is wanted from it into the second, and remove it"
               % (former, now))
        return
    for row in named:
        inside = os.path.relpath(row["path"], former)
        if not inside.startswith(os.pardir):
            yield "%s names %s, and a run moves that folder to %s; have the variable name %s" % (row["name"], row["path"], now, os.path.join(now, inside))


def place_warnings(name: str, path: str, inventory: str) -> Iterator[str]:
    """What Ansible may take for a part of the inventory: which names it leaves out is configured, but for these and a leading dot."""
    inside = os.path.relpath(path, inventory).split(os.sep)
    if inside[0] not in ("group_vars", "host_vars") and not any(part.startswith(".") and part != os.curdir for part in inside):
        yield ("%s is %s, among the inventory's files: Ansible may take what lies there for inventories and show it as names of hosts; "
               "move it to a folder whose name begins with a dot" % (name, path))


def wanted_problems(wanted: Mapping[str, str], given: Mapping[str, Any]) -> Iterator[str]:
    """Names that another one makes necessary and that are not given."""
    for name, other in wanted.items():
        if other in given and name not in given:
            yield "%s is given and %s is not; give it too, in .env or as a variable" % (other, name)


def unread_warnings(files: Mapping[str, Any], read: Callable[[str], bytes]) -> Iterator[str]:
    """Environment files in a checkout's or the current directory, where teams look for them, that hold names of this stack and are not read."""
    paths = {os.path.realpath(path): path for path in files.get("unread") or []}
    paths.pop(os.path.realpath(files["dotenv"]), None)
    for path in paths.values():
        if not os.path.isfile(path):
            continue
        try:
            names = [entry.name for entry in entries(text_of(path, read)) if entry.name in files["names"] and entry.value]
        except Unreadable:
            continue
        if names:
            yield "%s is not read, and gives %s; its place is %s (install -m 0600 %s %s)" % (
                os.path.abspath(path), ", ".join(dict.fromkeys(map(str, names))), files["dotenv"], path, files["dotenv"])


def artifact_problems(given: Mapping[str, Any]) -> Iterator[str]:
    """What of s3:// artifacts is given without what belongs to it."""
    pair = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    s3 = str(given.get("MLFLOW_ARTIFACTS_DESTINATION", {}).get("value", "")).startswith("s3://")
    # Without a destination there, a team's keys are for something else.
    yield from wanted_problems(dict([pair, pair[::-1]]) if s3 else {}, given)
    yield from wanted_problems({"MLFLOW_ARTIFACTS_DESTINATION": "MLFLOW_S3_ENDPOINT_URL"}, given)


def given_file_problems(files: Mapping[str, Any], read: Callable[[str], bytes]) -> tuple[list[str], list[str]]:
    """(problems, warnings) of the team's files, each of which may be missing.

    files: folders (former, now, used and inventory: paths), named (rows with a variable's name and its path), dotenv (path), unread (paths
    where it is not read), environments and keys (lists of paths), names, unused and taken (the tables of .env), given (what the filter of
    that name returns), wanted (name -> the name that makes it necessary), secret_names and given_secrets (the same as names and given for
    secrets that .env has no name for).
    """
    problems: list[str] = []
    warnings = list(unread_warnings(files, read))

    def texts(paths: list[str]) -> Iterator[tuple[str, str]]:
        for path in paths:
            if not os.path.lexists(path):
                continue
            try:
                text = text_of(path, read)
            except Unreadable as error:
                problems.append(str(error))
                continue
            problems.extend(mode_problems(path))
            yield path, text

    folders = files.get("folders") or {}
    if folders and folders["used"] in (folders["former"], folders["now"]):
        problems += folder_problems(folders["former"], folders["now"], files.get("named") or [])
    places = [("mlops_secrets_dir", folders["used"]), *((row["name"], row["path"]) for row in files.get("named") or [])] if folders else []
    for name, path in places:
        warnings += place_warnings(name, path, folders["inventory"]) if path != folders["former"] else []
    for path, text in texts([files["dotenv"]]):
        found = list(entries(text))
        misspelt, unknown = name_problems(path, found, files["names"], files["unused"], files["given"])
        problems += [*syntax_problems(path, found, files["names"]), *misspelt, *value_problems(path, found, files["names"], files["taken"])]
        warnings += [*unknown, *cut_warnings(path, found, files["names"])]
    both = [path for path in files["environments"] if os.path.lexists(path)]
    if len(both) > 1:
        problems.append("%s: are one and the same service's environment; keep one of them" % " and ".join(both))
    for path, text in texts(files["environments"]):
        problems += syntax_problems(path, list(entries(text)))
    instance = str(files["given"].get("MLFLOW_INSTANCE_CONNECTION", {}).get("value", ""))
    for path, text in texts(files["keys"]):
        problems += key_problems(path, text, instance.rsplit(":", 2)[0] if instance.count(":") > 1 else None)
    problems += wanted_problems(files.get("wanted") or {}, files["given"])
    problems += artifact_problems(files["given"])
    problems += variable_problems(files["given"], files["names"], files["taken"])
    problems += variable_problems(files.get("given_secrets") or {}, files.get("secret_names") or {}, {})
    return problems, warnings
