#!/usr/bin/python
# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The managed host's half of template_tree: compare, write atomically, remove what is no longer wanted."""

from __future__ import annotations

DOCUMENTATION = r"""
module: template_tree
short_description: Deliver a role's whole directory in one call
version_added: 0.1.0
author: mlops.stack maintainers (@mlops-stack)
description:
  - Renders every template of a role on the controller, hands the result over as one archive, and writes what differs.
  - Each file is written beside its place and renamed, so that no reader ever sees half of it.
  - Files that an earlier run delivered into O(dest) and this one does not are removed; others are left alone.
  - Every service in a rendered C(services.yaml) gets O(service_defaults), and a label with the digest of the mounted
    files and secrets that Docker Compose does not compare itself, so that a changed secret recreates its container.
  - Keeps the project's C(compose.yaml) equal to the C(services.yaml) files that are present below O(project).
attributes:
  check_mode: {support: full, description: Says what would change and writes nothing.}
  diff_mode: {support: full, description: "Shows changed files, secrets and binary files excepted."}
  platform: {platforms: posix}
extends_documentation_fragment: [ansible.builtin.action_common_attributes]
options:
  project:
    description: Directory of the Compose project on the managed host.
    type: path
    required: true
  header:
    description: First part of the project's C(compose.yaml), above its C(include) list.
    type: str
    required: true
  dest:
    description: Directory below O(project) to bring to what is wanted. Wanted with O(state=present).
    type: path
  src:
    description:
      - Directory of templates on the controller. Files ending in C(.j2) are rendered and lose that ending, others are copied.
    type: path
  exclude: {description: Names and globs of files and directories in O(src) that are left out., type: list, elements: str, default: []}
  trees:
    description: Further directories on the controller that are copied as they are.
    type: list
    elements: dict
    default: []
    suboptions:
      src: {description: Directory on the controller; a relative one lies beside O(src)., type: path, required: true}
      dest: {description: Directory below O(dest)., type: str, required: true}
      live:
        description: The containers read changes by themselves, so a change recreates none of them.
        type: bool
        default: false
      exclude: {description: File names and globs that are not copied., type: list, elements: str, default: []}
  files:
    description: Further files by their path below O(dest), with their content. Nothing in a content is rendered.
    type: dict
    default: {}
  live:
    description: Directories below O(dest) whose changes the containers take up without being recreated.
    type: list
    elements: str
    default: []
  validate:
    description:
      - Checks of new files by the product that reads them, run before any file is put in its place. When one fails,
        nothing is changed. Check mode runs none.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Directory below O(dest); the command runs when a file in it changes., type: str, required: true}
      command:
        description: Command and arguments. C(%s) stands for a directory with everything that O(dest) is to hold, secrets excepted.
        type: list
        elements: str
        required: true
  secrets:
    description:
      - Secret files, written to C(secrets/) below O(dest) with mode C(0400), as a dictionary of file name to
        C(content) and the C(uid) of the user that reads it.
      - Given on the controller only, they never appear among the module's arguments.
    type: dict
    default: {}
  salt:
    description: Key of the digests in labels, so that a label does not tell a weak secret. Used on the controller only.
    type: str
    default: ""
  service_defaults:
    description: Compose keys that each service gets unless it sets them itself.
    type: dict
    default: {}
  proxies:
    description:
      - Proxies of the services' environments. C(given) says whether Docker's client gives some to every container, which C(no_proxy) lets pass by
        those; C(direct) lists names and addresses that no service asks through a proxy. A service that has proxies, of either, gets
        C(NO_PROXY) and C(no_proxy) with its own list, or C(no_proxy), and C(direct). Used on the controller.
    type: dict
    default: {}
  archive:
    description: Archive with the rendered files; set by the action plugin.
    type: path
  absent:
    description: Directories below O(project) to remove, with O(state=absent). Only delivered files are removed.
    type: list
    elements: path
    default: []
  state:
    description: Whether O(dest) is delivered or the directories in O(absent) are removed.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Deliver MLflow's files
  mlops.stack.template_tree:
    project: /opt/mlops
    header: "name: mlops\n"
    src: "{{ role_path }}/templates"
    dest: /opt/mlops/mlflow
    secrets:
      mlflow_pgpass: {content: "db:5432:mlflow:mlflow:{{ password }}", uid: 50001}
"""

RETURN = r"""
changed_files:
  description: Paths that were written or removed, relative to O(project).
  returned: always
  type: list
  elements: str
  sample: [mlflow/services.yaml, compose.yaml]
"""

import json
import os
import shutil
import tarfile

from ansible.module_utils.basic import AnsibleModule

MANIFEST = ".delivered.json"
TEXT_DIFF_LIMIT = 104448  # bytes, as ansible.builtin.copy shows no larger file


def read(path):
    """Content of a file, or None where there is none."""
    try:
        with open(path, "rb") as handle:
            return handle.read()
    except FileNotFoundError:
        return None


def differs(path, content, mode, uid, gid):
    """Whether a file lacks the wanted content, mode (octal int) or owner (ids)."""
    if read(path) != content:
        return True
    have = os.stat(path)
    return (have.st_mode & 0o7777, have.st_uid, have.st_gid) != (mode, uid, gid)


def write(path, content, mode, uid, gid):
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


class Refused(Exception):
    """A product's own checker does not take the new files."""


class Delivery:
    """Collects what changes below one project directory, and does it unless in check mode."""

    def __init__(self, project, check_mode):
        self.project = project
        self.check_mode = check_mode
        self.changed_files = []
        self.diff = []

    def put(self, path, content, mode=0o644, uid=0, gid=0, secret=False):
        if not differs(path, content, mode, uid, gid):
            return
        self._note(path, read(path), content, secret)
        if not self.check_mode:
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            if os.path.basename(os.path.dirname(path)) == "secrets":
                os.chmod(os.path.dirname(path), 0o700)
            write(path, content, mode, uid, gid)

    def drop(self, path, secret=False):
        content = read(path)
        if content is None:
            return
        self._note(path, content, None, secret)
        if not self.check_mode:
            os.unlink(path)
            self._prune_empty(os.path.dirname(path))

    def _prune_empty(self, directory):
        while directory != self.project and not os.listdir(directory):
            os.rmdir(directory)
            directory = os.path.dirname(directory)

    def _note(self, path, before, after, secret):
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

    def deliver(self, dest, archive, checks=(), run=None):
        """Bring the directory dest to the archive's content. run takes a command and returns (status, stdout, stderr)."""
        with tarfile.open(archive) as tar:
            contents = {member.name: b"".join(tar.extractfile(member) or ()) for member in tar}
        wanted = json.loads(contents.pop(MANIFEST))
        due = [] if self.check_mode else [check for check in checks if self._differs_below(check["path"], dest, wanted, contents)]
        if due:
            self._validate(due, wanted, contents, run)
        for name, entry in sorted(wanted.items()):
            self.put(os.path.join(dest, name), contents[name], entry["mode"], entry["uid"], entry["gid"], entry["secret"])
        for name, entry in self._delivered(dest).items():
            if name not in wanted:
                self.drop(os.path.join(dest, name), entry["secret"])
        self.put(os.path.join(dest, MANIFEST), json.dumps(wanted, indent=1, sort_keys=True).encode() + b"\n")

    def _differs_below(self, path, dest, wanted, contents):
        top = path + os.sep
        gone = any(name.startswith(top) and name not in wanted for name in self._delivered(dest))
        return gone or any(name.startswith(top) and read(os.path.join(dest, name)) != contents[name] for name in wanted)

    def _validate(self, checks, wanted, contents, run):
        """Raises Refused when a check does not take the files, which stand in a directory of their own for it."""
        # Always the same: a run that was cut off leaves it behind.
        staged = os.path.join(self.project, ".validate")
        shutil.rmtree(staged, ignore_errors=True)
        try:
            os.makedirs(staged, mode=0o755)
            for name, entry in wanted.items():
                if not entry["secret"]:
                    path = os.path.join(staged, name)
                    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
                    write(path, contents[name], entry["mode"], entry["uid"], entry["gid"])
            for check in checks:
                status, out, err = run([part.replace("%s", staged) for part in check["command"]])
                if status != 0:
                    raise Refused("the new files in %s are refused, nothing was changed: %s" % (
                        check["path"], "\n".join(text.strip() for text in (out, err) if text.strip()).replace(staged + "/", "")))
        finally:
            shutil.rmtree(staged)

    def remove(self, dest):
        """Remove what was delivered into dest, and dest itself when nothing else is in it."""
        for name, entry in self._delivered(dest).items():
            self.drop(os.path.join(dest, name), entry["secret"])
        self.drop(os.path.join(dest, MANIFEST))

    @staticmethod
    def _delivered(dest):
        return json.loads(read(os.path.join(dest, MANIFEST)) or b"{}")

    def index(self, header, dest=None, absent=()):
        """Write the project's compose.yaml over the services.yaml files that are present."""
        present = set()
        if os.path.isdir(self.project):
            present = {name for name in os.listdir(self.project)
                       if os.path.exists(os.path.join(self.project, name, "services.yaml"))}
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


def main():
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "path", "required": True},
            "header": {"type": "str", "required": True},
            "dest": {"type": "path"},
            "src": {"type": "path"},
            "exclude": {"type": "list", "elements": "str", "default": []},
            "trees": {"type": "list", "elements": "dict", "default": [], "options": {
                "src": {"type": "path", "required": True},
                "dest": {"type": "str", "required": True},
                "live": {"type": "bool", "default": False},
                "exclude": {"type": "list", "elements": "str", "default": []},
            }},
            "files": {"type": "dict", "default": {}},
            "live": {"type": "list", "elements": "str", "default": []},
            "validate": {"type": "list", "elements": "dict", "default": [], "options": {
                "path": {"type": "str", "required": True},
                "command": {"type": "list", "elements": "str", "required": True},
            }},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "salt": {"type": "str", "default": "", "no_log": True},
            "service_defaults": {"type": "dict", "default": {}},
            "proxies": {"type": "dict", "default": {}},
            "archive": {"type": "path"},
            "absent": {"type": "list", "elements": "path", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("dest", "archive"))],
        supports_check_mode=True,
    )
    wanted = module.params
    delivery = Delivery(wanted["project"], module.check_mode)
    try:
        if wanted["state"] == "present":
            delivery.deliver(wanted["dest"], wanted["archive"], wanted["validate"], module.run_command)
            delivery.index(wanted["header"], dest=wanted["dest"])
        else:
            for path in wanted["absent"]:
                delivery.remove(path)
            delivery.index(wanted["header"], absent=wanted["absent"])
    except Refused as error:
        module.fail_json(msg="template_tree: %s" % error)
    except OSError as error:
        module.fail_json(msg="template_tree: cannot write below %s: %s" % (wanted["project"], error))
    module.exit_json(changed=bool(delivery.changed_files), changed_files=delivery.changed_files, diff=delivery.diff)


if __name__ == "__main__":
    main()
