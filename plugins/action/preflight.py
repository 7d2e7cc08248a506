# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of preflight: variables, named files, and the comparison with what the host remembers."""

from __future__ import annotations

import hashlib
import os
import re
import secrets as random
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.mlops.stack.plugins.module_utils._preflight._versions import unknown_problems, version_problems
from ansible_collections.mlops.stack.plugins.modules.preflight import ARGUMENTS
from ansible_collections.mlops.stack.plugins.plugin_utils._controller import require_ansible
from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._airflow_given import airflow_problems, login_problems
from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._dag_files import dag_warnings
from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._given_files import given_file_problems
from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._inventory import inventory_problems
from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._shapes import is_image, is_port
from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._targets import targets
from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._variables import variable_problems
from ansible_collections.mlops.stack.plugins.plugin_utils._team_folder import team_folder_problems

ON_HOST = ("project", "state_path", "runs_parts", "bridge", "start_empty", "given_images", "ports", "reach", "bind", "address", "min_free_mib",
           "min_memory_mib", "min_engine", "min_compose", "distributions")
# Products that keep data on the host that has them, and nowhere else.
KEPT = ("mlflow", "postgres")
# Seconds that clocks may differ. Airflow's tokens for reading a task's log live 30 s.
MOST_SKEW = 30


def file_problems(files: Iterable[Mapping[str, str]]) -> Iterator[str]:
    """Files and directories that a variable names and that cannot be read."""
    for row in files:
        if not os.path.exists(row["path"]):
            yield "%s names %s, which is not there on the controller; put it there or correct the variable" % (row["name"], row["path"])
        elif not os.access(row["path"], os.R_OK):
            yield "%s names %s, which this user may not read" % (row["name"], row["path"])


def clock_problem(before: float, now: float, after: float) -> str | None:
    """Why the host's clock will not do, or None. now: the host's, told between before and after by the controller's; all in seconds."""
    skew = now - after if now > after else now - before if now < before else 0
    if abs(skew) <= MOST_SKEW:
        return None
    return ("its clock is %d s %s the controller's and may be at most %d s off, or Airflow refuses logs and tokens; "
            "run a time service (chrony, systemd-timesyncd) on both" % (abs(skew), "ahead of" if skew > 0 else "behind", MOST_SKEW))


def look_problem(found: Mapping[str, Any]) -> str:
    """Why the module did not run on the host, from its result."""
    said = " ".join(("%s %s" % (found.get("module_stderr") or "", found.get("msg") or "")).split())
    if "incorrect" in said.lower() and "password" in said.lower():
        return "sudo does not take the password that is given (--ask-become-pass, ansible_become_password); correct it (%s)" % said[:200]
    if "password" in said.lower():
        return ("sudo asks for a password here; give it (--ask-become-pass, ansible_become_password), let the login user use sudo without one "
                "(NOPASSWD), or log in as root (%s)" % said[:200])
    if re.search(r"sudo|become", said):
        return "the login user may not become root here; allow it in sudoers, or log in as root (%s)" % said[:200]
    return "preflight cannot run there; is it up, and is Python 3.9 or later at ansible_python_interpreter? (%s)" % said[:300]


def shared_ports(ports: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Ports that two variables claim on one host."""
    seen: dict[tuple[str, int], str] = {}
    for row in ports:
        key = (row["address"], int(row["port"]))
        if key in seen:
            yield "%s and %s are both %s on %s; give one of them another port" % (seen[key], row["name"], row["port"], row["address"])
        seen.setdefault(key, row["name"])


def digests(secrets: Mapping[str, str], salt: str) -> dict[str, str]:
    """Salted digests of secrets, by name. scrypt, so that the file does not give a weak password away."""
    return {name: hashlib.scrypt(str(value).encode(), salt=salt.encode(), n=1024, r=8, p=1, dklen=16).hex()
            for name, value in sorted(secrets.items())}


def data_problems(
    remembered: Mapping[str, Any], wanted_secrets: Mapping[str, str], wanted_versions: Mapping[str, str], allow_migration: bool,
) -> Iterator[str]:
    """Secrets and versions that do not fit the data on the host, and data of what is to leave it. A version that nobody knows yet is None."""
    had = remembered.get("secrets", {})
    changed = [name for name, digest in digests(wanted_secrets, remembered.get("salt", "")).items() if name in had and had[name] != digest]
    if changed:
        yield ("the data on this host was made with another %s; point mlops_secrets_dir to the folder that this host was set up with, "
               "restore that folder, or delete the data (playbooks/down.yml -e delete_data=true)" % " and ".join(changed))
    yield from version_problems(remembered, {name: version for name, version in wanted_versions.items() if version}, allow_migration)
    for name in [] if allow_migration else sorted(set(KEPT).intersection(remembered.get("versions", {})).difference(wanted_versions)):
        yield ("%s %s holds data here and is not to run here any more, so elsewhere it would begin without: put the host back into its group; "
               "or move the data and run again with -e mlops_allow_migration=true, which leaves what is here in its volumes"
               % (name, remembered["versions"][name]))


def artifacts_problem(kept: str | None, wanted: str | None, allow_migration: bool) -> str | None:
    """Why MLflow may not look for artifacts elsewhere, or None: it looks for those of every run where it keeps new ones."""
    if not kept or not wanted or kept.rstrip("/") == wanted.rstrip("/") or allow_migration:
        return None
    return ("MLflow keeps artifacts in %s and is to keep them in %s, where it would not find those of former runs and models: copy what is in the one "
            "to the other, with the same names (docs/configuration.md), and run again with -e mlops_allow_migration=true; or keep "
            "mlflow_artifacts_destination (MLFLOW_ARTIFACTS_DESTINATION) as it is" % (kept, wanted))


def plain(value: Any) -> Any:
    """A value with all that it holds evaluated; ansible-core evaluates what a container holds when it is asked for."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


class ActionModule(ActionBase):
    """Options are documented in the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        require_ansible()
        result = super().run(tmp, task_vars)
        result.update(changed=False, problems=[], controller_problems=[], unreached=[], images=[], data=False, settled=False, given_versions={})
        self._vars: dict[str, Any] = task_vars or {}
        self._seen: dict[str, Mapping[str, Any]] = {}
        args, unclear = self._options()
        problems = self._controllers(args, result["controller_problems"])
        remembered = self._hosts(args, result)
        # A variable that is wrong is most often why an option has no value.
        result["sound"] = not problems and not unclear and "now" in result
        problems += unclear if not problems and not result["controller_problems"] else []
        result["problems"] = list(dict.fromkeys(problems + result["problems"]))
        given, asked = args.get("given_images") or {}, result["given_versions"]
        # A given image that is not on the host yet is asked once it is there (module record).
        secrets, versions = args.get("secrets") or {}, {**(args.get("versions") or {}), **dict.fromkeys(given, None), **asked}
        versions = {name: version for name, version in versions.items() if name in (args.get("versions") or {})}
        if result["data"]:
            allowed = bool(args.get("allow_migration"))
            result["problems"] += data_problems(remembered, secrets, versions, allowed)
            result["problems"] += unknown_problems(asked, given, remembered, allowed)
            elsewhere = artifacts_problem(result.get("kept"), args.get("artifacts"), allowed)
            result["problems"] += [elsewhere] if elsewhere else []
        # A host without data starts afresh; one with data keeps what other runs remembered of parts that this one leaves out.
        base = remembered if result["data"] else {}
        salt = remembered.get("salt") or random.token_hex(16)
        result["state"] = {
            "salt": salt,
            "secrets": {**base.get("secrets", {}), **digests(secrets, salt)},
            "versions": {**{name: version for name, version in base.get("versions", {}).items() if name not in KEPT or name in versions},
                         **{name: version for name, version in versions.items() if version}},
        }
        return result

    def _options(self) -> tuple[dict[str, Any], list[str]]:
        """(options that have a usable value, problems of the others)."""
        found, problems = {name: value for name, value in self._task.args.items() if name != "from_variables"}, []
        for option, variable in (self._task.args.get("from_variables") or {}).items():
            try:
                found[option] = plain(self._templar.template(self._vars[variable]))
            except Exception as error:  # pylint: disable=broad-except
                # A template may raise anything.
                problems.append("%s cannot be evaluated for preflight: %s" % (variable, " ".join(str(error).split())))
        # One bad port keeps none of the others from being looked at; the variable that it is from is told by itself.
        found["ports"] = [row for row in found.get("ports") or [] if is_port(row["port"])]
        found["given_images"] = {name: image for name, image in (found.get("given_images") or {}).items() if is_image(image)}
        for option in [name for name in found if name in ON_HOST]:
            wrong = ArgumentSpecValidator({option: ARGUMENTS[option]}).validate({option: found[option]}).error_messages
            if wrong:
                problems.append("preflight: %s" % "; ".join(wrong))
                del found[option]
        return found, problems

    def _look(self, host: str, name: str) -> Any:
        """A variable as a host's inventory or the command line sets it, or None."""
        if host not in self._seen:
            self._seen[host] = self._vars["hostvars"][host]  # each look gathers all of the host's variables
        try:
            return self._seen[host].get(name)
        except Exception:  # pylint: disable=broad-except
            # What cannot be evaluated is told for the host whose it is.
            return None

    def _controllers(self, args: dict[str, Any], shared: list[str]) -> list[str]:
        """What can be told without the host: problems of this one, and shared ones, which are added."""
        here, groups = self._vars["inventory_hostname"], self._vars["groups"]
        problems: list[str] = []
        if args.get("variables"):
            given = {name: partial(self._given, name) for name in self._vars["hostvars"][here]}
            problems, warnings = variable_problems(given, **args["variables"])
            self._warn(warnings)
        if args.get("inventory") and here == self._vars["ansible_play_hosts_all"][0]:
            # What .env gives stands for the variable of the same, on every host.
            dotenv = {row["variable"]: args["given"][name]["value"] for name, row in (args.get("given_files") or {}).get("names", {}).items()
                      if name in (args.get("given") or {})}
            found, warnings = inventory_problems(args["inventory"], groups, lambda host, name: self._look(host, name) or dotenv.get(name))
            shared += found
            self._warn(warnings)
        problems += shared_ports(args.get("ports") or [])
        problems += login_problems(args.get("logins") or [], args.get("bind") or "")
        shared += airflow_problems(args.get("airflow") or {})
        shared += file_problems(args.get("files") or [])
        self._warn(dag_warnings(**args["dags"]) if args.get("dags") else [])
        if args.get("folders"):
            found, warnings = team_folder_problems(**args["folders"])
            shared += found
            self._warn(warnings)
        if args.get("given_files"):
            found, warnings = given_file_problems(
                {"given": {}, "taken": {}, "named": args.get("files"), **{name: args[name] for name in ("given", "taken", "given_secrets") if name in args},
                 **args["given_files"]}, self._read)
            shared += found
            self._warn(warnings)
        return problems

    def _given(self, name: str) -> Any:
        return plain(self._templar.template(self._vars[name]))

    def _hosts(self, args: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
        """Adds the host's own half to the result; returns what the host remembers."""
        module_args = {name: args[name] for name in ON_HOST if name in args}
        if args.get("parts"):
            try:
                module_args["reach"] = list(targets(args["parts"], self._vars["inventory_hostname"], self._vars["groups"], self._look))
            except (ValueError, KeyError, TypeError):
                self._display.vvv("preflight: what is wrong with a port or an address keeps the network from being looked at")
        try:
            before = time.time()
            found = self._execute_module(module_args=module_args, task_vars=self._vars)
        except AnsibleConnectionFailure as error:
            # Not Ansible's own "unreachable": one of these may be left out, and what the controller finds counts all the same.
            result["no_answer"] = " ".join(str(error).split())
            return {}
        except AnsibleError as error:
            found = {"failed": True, "msg": str(error)}
        if found.get("failed"):
            result["problems"].append(look_problem(found))
            return {}
        clock = clock_problem(before, found["now"], time.time())
        for warning in found["doubts"]:
            self._warn(["%s: %s" % (self._vars["inventory_hostname"], warning)])
        remembered = found.pop("remembered")
        result.update(found, settled=bool(remembered))
        result["problems"] += [clock] if clock else []
        return remembered

    def _warn(self, warnings: Iterable[str]) -> None:
        for warning in warnings:  # the same of every host is shown once
            self._display.warning(warning)

    def _read(self, path: str) -> bytes:
        """A file's bytes, decrypted where Ansible Vault encrypted it."""
        return bytes(self._loader._get_file_contents(path)[0])
