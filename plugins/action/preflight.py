# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of preflight: variables, named files, and the comparison with what the host remembers."""

from __future__ import annotations

import hashlib
import os
import secrets as random
import time
from difflib import get_close_matches

from ansible.plugins.action import ActionBase
from ansible_collections.mlops.stack.plugins.plugin_utils._airflow_given import airflow_problems, login_problems
from ansible_collections.mlops.stack.plugins.plugin_utils._given_files import given_file_problems

# Products of which one version (for PostgreSQL, a major) cannot read the data of another (postgresql.org, "Upgrading a Cluster").
UNREADABLE = ("postgres",)
ON_HOST = ("project", "state_path", "ports", "min_free_mib", "min_memory_mib", "min_engine")
# Seconds that clocks may differ. Airflow's tokens for reading a task's log live 30 s.
MOST_SKEW = 30


def variable_problems(choices):
    """Variables whose value is none of its choices."""
    for row in choices:
        if row["value"] not in row["choices"]:
            near = get_close_matches(str(row["value"]), row["choices"], 1)
            yield "%s is %r; it can be %s%s" % (
                row["name"], row["value"], ", ".join(row["choices"]), "; did you mean %s?" % near[0] if near else "")


def file_problems(files):
    """Files and directories that a variable names and that cannot be read."""
    for row in files:
        if not os.path.exists(row["path"]):
            yield "%s names %s, which is not there on the controller; put it there or correct the variable" % (row["name"], row["path"])
        elif not os.access(row["path"], os.R_OK):
            yield "%s names %s, which this user may not read" % (row["name"], row["path"])


def group_problems(groups):
    """Inventory groups with too few or too many hosts."""
    for row in groups:
        if row["hosts"]:
            yield "group %(name)s holds %(hosts)s; its parts run once: keep at most %(at_most)d host in it" % dict(row, hosts=", ".join(row["hosts"]))
        else:
            yield "group %(name)s is empty; add the host that its parts shall run on to it" % row


def removed_problems(removed):
    """Variables that are set and that nothing reads any more, with what to do instead."""
    for name, instead in removed.items():
        yield "variable %s is not read any more; %s" % (name, instead)


def clock_problem(before, now, after):
    """Why the host's clock will not do, or None. now: the host's, told between before and after by the controller's; all in seconds."""
    skew = now - after if now > after else now - before if now < before else 0
    if abs(skew) <= MOST_SKEW:
        return None
    return ("its clock is %d s %s the controller's and may be at most %d s off, or Airflow refuses logs and tokens; "
            "run a time service (chrony, systemd-timesyncd) on both" % (abs(skew), "ahead of" if skew > 0 else "behind", MOST_SKEW))


def shared_ports(ports):
    """Ports that two variables claim on one host."""
    seen: dict[tuple[str, int], str] = {}
    for row in ports:
        key = (row["address"], int(row["port"]))
        if key in seen:
            yield "%s and %s are both %s on %s; give one of them another port" % (seen[key], row["name"], row["port"], row["address"])
        seen.setdefault(key, row["name"])


def digests(secrets, salt):
    """Salted digests of secrets, by name. scrypt, so that the file does not give a weak password away."""
    return {name: hashlib.scrypt(str(value).encode(), salt=salt.encode(), n=1024, r=8, p=1, dklen=16).hex()
            for name, value in sorted(secrets.items())}


def data_problems(remembered, wanted_secrets, wanted_versions, allow_migration):
    """Secrets and versions that do not fit the data on the host."""
    had = remembered.get("secrets", {})
    changed = [name for name, digest in digests(wanted_secrets, remembered.get("salt", "")).items() if name in had and had[name] != digest]
    if changed:
        yield ("the data on this host was made with another %s; point mlops_secrets_dir to the folder that this host was set up with, "
               "restore that folder, or delete the data (playbooks/down.yml -e delete_data=true)" % " and ".join(changed))
    for name, version in sorted(wanted_versions.items()):
        have = remembered.get("versions", {}).get(name)
        if not have or have == version:
            continue
        if name in UNREADABLE:
            yield ("%s %s holds data here and %s is wanted, which cannot read it: dump the databases with %s, delete the data, "
                   "and restore the dump with %s; or keep %s" % (name, have, version, have, version, have))
        elif not allow_migration:
            yield ("%s %s holds data here and %s is wanted: that migrates its schema, and there is no way back; back up the databases "
                   "and run again with -e mlops_allow_migration=true, or keep %s" % (name, have, version, have))


class ActionModule(ActionBase):
    """Options are documented in the module of the same name."""

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        args = self._task.args
        before = time.time()
        result.update(self._execute_module(module_args={name: args[name] for name in ON_HOST if name in args}, task_vars=task_vars))
        if result.get("failed"):
            return result
        clock = clock_problem(before, result["now"], time.time())
        result["problems"] += [clock] if clock else []
        remembered = result.pop("remembered")
        wanted_secrets, versions = args.get("secrets") or {}, args.get("versions") or {}
        result["problems"] += variable_problems(args.get("choices") or [])
        result["problems"] += group_problems(args.get("groups") or [])
        result["problems"] += shared_ports(args.get("ports") or [])
        result["problems"] += login_problems(args.get("logins") or [], args.get("bind"))
        result["controller_problems"] = [*file_problems(args.get("files") or []), *removed_problems(args.get("removed") or {})]
        result["controller_problems"] += airflow_problems(args.get("airflow") or {})
        if args.get("given_files"):
            problems, warnings = given_file_problems(args["given_files"], self._read)
            result["controller_problems"] += problems
            for warning in warnings:  # the same of every host is shown once
                self._display.warning(warning)
        if result["data"]:
            result["problems"] += data_problems(remembered, wanted_secrets, versions, args.get("allow_migration"))
        # A host without data starts afresh; one with data keeps what other runs remembered of parts that this one leaves out.
        base = remembered if result["data"] else {}
        salt = remembered.get("salt") or random.token_hex(16)
        result["state"] = {
            "salt": salt,
            "secrets": {**base.get("secrets", {}), **digests(wanted_secrets, salt)},
            "versions": {**base.get("versions", {}), **versions},
        }
        return result

    def _read(self, path):
        """A file's bytes, decrypted where Ansible Vault encrypted it."""
        return bytes(self._loader._get_file_contents(path)[0])
