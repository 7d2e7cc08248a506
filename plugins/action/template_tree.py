# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of template_tree: render the files of all roles, complete the services, pack, hand over in one module call."""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import io
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.mlops.stack.plugins.filter.dotenv import from_dotenv
from ansible_collections.mlops.stack.plugins.module_utils._delivery import ALONE, MANIFEST, SERVICES
from ansible_collections.mlops.stack.plugins.plugin_utils._controller import require_ansible
from ansible_collections.mlops.stack.plugins.plugin_utils._proxies import without_proxy
from ansible_collections.mlops.stack.plugins.plugin_utils._role_variables import variables_of
from ansible_collections.mlops.stack.plugins.plugin_utils._team_folder import team_folder

try:
    from ansible.template import trust_as_template
except ImportError:
    # An older ansible-core, which require_ansible refuses.
    trust_as_template = None

ENVIRONMENT = ".env"
LABEL = "stack.mlops.inputs"
# Texts that are numbers in YAML 1.2, which Compose reads, and none in YAML 1.1, which is written here.
NUMBER = re.compile(r"[-+]?(\.?[0-9][0-9_]*(\.[0-9_]*)?(e[-+]?[0-9]+)?|0[box][0-9a-f_]+)", re.IGNORECASE)
HEADER = "# Delivered by mlops.stack from {role}/templates; a change made here is undone by the next run.\n"


class File:
    """One file to deliver: content, owner and mode, whether it is shown, and whether containers read changes of it by themselves."""

    def __init__(self, content: bytes, mode: int = 0o644, uid: int = 0, secret: bool = False, live: bool = False, hidden: bool = False) -> None:
        self.content = content
        self.mode = mode
        self.uid = uid
        self.secret = secret
        self.live = live
        self.hidden = hidden

    def manifest(self) -> dict[str, Any]:
        entry = {"mode": self.mode, "uid": self.uid, "gid": 0, "secret": self.secret}
        return {**entry, "hidden": True} if self.hidden else entry


def walk(directory: str, exclude: Iterable[str] = ()) -> Iterator[tuple[str, str]]:
    """Pairs of (path, path relative to directory) of all files below it, sorted; editors' and Python's leavings are not taken."""
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if name != "__pycache__" and not _matches(name, exclude))
        for name in sorted(names):
            if not name.endswith((".pyc", "~", ".swp")) and not _matches(name, exclude):
                path = os.path.join(folder, name)
                yield path, os.path.relpath(path, directory)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _below(name: str, directories: Iterable[str]) -> bool:
    return any(name == directory or name.startswith(directory + os.sep) for directory in directories)


def sources(service: Mapping[str, Any], secret_files: Mapping[str, Any]) -> Iterator[str]:
    """Paths, relative to the role's directory, that a Compose service mounts from there."""
    for volume in service.get("volumes", []):
        source = volume.get("source", "") if isinstance(volume, dict) else volume.split(":")[0]
        if source.startswith("./"):
            yield os.path.normpath(source)
    for secret in service.get("secrets", []):
        name = secret["source"] if isinstance(secret, dict) else secret
        yield os.path.normpath(secret_files[name]["file"])


def inputs_digest(service: Mapping[str, Any], secret_files: Mapping[str, Any], files: Mapping[str, File], salt: str) -> str | None:
    """Digest over what a service mounts from the role's directory; None when it mounts nothing that counts."""
    mounted = sorted(set(sources(service, secret_files)))
    read = [name for name in sorted(files) if not files[name].live and _below(name, mounted)]
    if not read:
        return None
    digest = hmac.new(salt.encode(), digestmod=hashlib.sha256)
    for name in read:
        digest.update(b"%s\0%d\0" % (name.encode(), len(files[name].content)))
        digest.update(files[name].content)
    return digest.hexdigest()[:16]


def merged(defaults: Mapping[str, Any], service: Mapping[str, Any]) -> dict[str, Any]:
    """The service, completed by the defaults; dictionaries (labels, healthcheck, logging) key by key."""
    result = dict(service)
    for key, value in defaults.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(value, result[key])
        else:
            result.setdefault(key, value)
    return result


def environment_of(service: Mapping[str, Any]) -> dict[str, Any]:
    """The environment that stands in a service itself; a name without a value has that of Compose's own."""
    given = service.get("environment") or {}
    return given if isinstance(given, dict) else {name: value if sign else None for name, sign, value in (row.partition("=") for row in given)}


def proxy_environment(
    service: Mapping[str, Any], files: Mapping[str, File], given: bool = False, no_proxy: str = "", direct: Iterable[str] = (),
) -> dict[str, str]:
    """What a service that has proxies asks without them; nothing where it has none."""
    env = {}
    for name in service.get("env_file") or []:
        if os.path.normpath(name) in files:
            env.update(from_dotenv(files[os.path.normpath(name)].content.decode()))
    env.update(environment_of(service))
    return without_proxy(env, given, no_proxy, direct)


class PlainDumper(yaml.SafeDumper):
    """Writes repeated values out, so that an operator reads each service by itself, and quotes what Compose would take for a number."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> Any:
        node = super().represent_str(data)
        if NUMBER.fullmatch(data):
            node.style = "'"
        return node


PlainDumper.add_representer(str, PlainDumper.represent_str)


def complete_services(
    text: str, files: Mapping[str, File], defaults: Mapping[str, Any], salt: str, role: str, proxies: Mapping[str, Any] | None = None,
) -> str:
    """The text of services.yaml with the defaults, the inputs label and what passes by proxies in each service."""
    document = yaml.safe_load(text) or {}
    services = document.get("services") or {}
    # Ansible's tagged strings and lazy dictionaries as plain ones, which YAML knows.
    defaults = json.loads(json.dumps(defaults))
    for name, service in services.items():
        service = services[name] = merged(defaults, service)
        direct = proxy_environment(service, files, **json.loads(json.dumps(proxies or {})))
        if direct:
            service["environment"] = {**environment_of(service), **direct}
        digest = inputs_digest(service, document.get("secrets", {}), files, salt)
        if digest:
            service.setdefault("labels", {})[LABEL] = digest
    body = yaml.dump(document, Dumper=PlainDumper, sort_keys=False, width=120, default_flow_style=False)
    return HEADER.format(role=role) + body


def without_others(document: dict[str, Any], present: Collection[str]) -> str:
    """A services.yaml without what its services depend on that is none of those present: services of another role, which may not be there."""
    services = document.get("services") or {}
    for service in services.values():
        wanted = service.get("depends_on") or []
        kept = [name for name in wanted if name in present]
        service["depends_on"] = {name: wanted[name] for name in kept} if isinstance(wanted, dict) else kept
    return yaml.dump(document, Dumper=PlainDumper, sort_keys=False)


def tree_files(directory: str, tree: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Pairs of (path, name) of a tree's files; of a team's folder, what is source."""
    if not tree.get("team"):
        return walk(directory, tree.get("exclude") or ())
    found = team_folder(directory, bool(tree.get("build")))
    if found.problems:
        raise AnsibleActionFail("template_tree: %s: %s" % (directory, "; ".join(found.problems)))
    return [(path, name) for name, path in found.files.items()]


class ActionModule(ActionBase):
    """Options are documented in the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        require_ansible()
        result = super().run(tmp, task_vars)
        result.update(self._execute_module(module_args=self._prepared(dict(self._task.args), task_vars or {}), task_vars=task_vars))
        self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _prepared(self, args: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """What the module takes: an archive of the files of all roles in place of what they are made from."""
        roles = [(role, variables) for role in args.get("roles") or []] + [self._described(path, variables) for path in args.get("from_roles") or []]
        absent = list(args.get("absent") or [])
        if not roles and not absent:
            raise AnsibleActionFail("template_tree: neither roles, from_roles nor absent names a role; one is wanted")
        files = {role["name"]: self._collect(role, args, theirs) for role, theirs in roles}
        checks = [{"name": role["name"], "validate": role.get("validate") or []} for role, _theirs in roles]
        archive = self._hand_over(files) if files else None
        return {"project": args.get("project"), "header": args.get("header"), "roles": checks, "archive": archive, "absent": absent}

    def _described(self, path: str, variables: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a role delivers, as its own variable says it, and the variables that it is evaluated with: never those of another role."""
        name = os.path.basename(path)
        variables = {**variables_of(path, self._loader), **variables}
        variable = "__%s_delivery" % name
        if variable not in variables:
            raise AnsibleActionFail("template_tree: %s has no variable %s; a role that is delivered has one in its vars" % (path, variable))
        described = self._templar.copy_with_new_env(available_variables=variables).template(variables[variable])
        return {"src": os.path.join(path, "templates"), **described, "name": name}, variables

    def _collect(self, role: dict[str, Any], args: dict[str, Any], variables: dict[str, Any]) -> dict[str, File]:
        """All files of a role by their path relative to its directory."""
        files = {}
        for name, secret in (role.get("secrets") or {}).items():
            files["secrets/" + name] = File(str(secret["content"]).encode(), 0o400, int(secret["uid"]), secret=True)
        for name, content in (role.get("files") or {}).items():
            files[os.path.normpath(name)] = File(str(content).encode())
        for tree in role.get("trees") or []:
            directory = os.path.join(os.path.dirname(role["src"]), os.path.expanduser(tree["src"]))
            if not os.path.isdir(directory):
                raise AnsibleActionFail("template_tree: %s is not a directory on the controller" % directory)
            for path, name in tree_files(directory, tree):
                with open(path, "rb") as handle:
                    files[os.path.join(tree["dest"], name)] = File(
                        handle.read(), 0o755 if os.access(path, os.X_OK) else 0o644, live=bool(tree.get("live")))
        for path, name in walk(role["src"], role.get("exclude") or ()):
            with open(path, "rb") as handle:
                content = handle.read()
            if name.endswith(".j2"):
                name = name[:-3]
                content = self._render(content.decode(), path, variables).encode()
            files[name] = File(content)
        for name, file in files.items():
            file.live = file.live or _below(name, role.get("live") or ())
            # Compose reads it, as root; in it is what a team gives, a password perhaps.
            if name.endswith(ENVIRONMENT) and os.sep not in name:
                file.mode, file.hidden = 0o600, True
        for name, uid in (role.get("readers") or {}).items():
            if name in files:
                files[name].mode, files[name].uid, files[name].hidden = 0o400, int(uid), True
        if SERVICES in files:
            files[SERVICES].content = complete_services(
                files[SERVICES].content.decode(), files, args.get("service_defaults") or {}, str(args.get("salt") or ""),
                os.path.basename(os.path.dirname(role["src"])), args.get("proxies")).encode()
        return files

    def _render(self, text: str, path: str, variables: dict[str, Any]) -> str:
        searchpath = [os.path.dirname(path)]
        templar = self._templar.copy_with_new_env(searchpath=searchpath, available_variables=variables)
        rendered = templar.template(trust_as_template(text), escape_backslashes=False,
                                    overrides={"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True})
        return rendered if isinstance(rendered, str) else json.dumps(rendered, indent=2) + "\n"

    def _hand_over(self, roles: dict[str, dict[str, File]]) -> str:
        """Pack the files of all roles and bring the archive to the managed host; returns its path there."""
        documents = {role: yaml.safe_load(files[SERVICES].content) or {} for role, files in roles.items() if SERVICES in files}
        services = {name for document in documents.values() for name in document.get("services") or {}}
        with tempfile.NamedTemporaryFile(prefix="template_tree.", suffix=".tar") as local:
            with tarfile.open(local.name, "w") as tar:
                for role, files in roles.items():
                    packed = {name: file.content for name, file in files.items()}
                    packed[MANIFEST] = json.dumps({name: file.manifest() for name, file in files.items()}).encode()
                    if role in documents:
                        packed[ALONE] = without_others(documents[role], services).encode()
                    for name, content in sorted(packed.items()):
                        info = tarfile.TarInfo("%s/%s" % (role, name))
                        info.size = len(content)
                        tar.addfile(info, io.BytesIO(content))
            remote = self._connection._shell.join_path(self._make_tmp_path(), "files.tar")
            self._transfer_file(local.name, remote)
        self._fixup_perms2((os.path.dirname(remote), remote))
        return remote
