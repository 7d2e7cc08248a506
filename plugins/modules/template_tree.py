#!/usr/bin/python
# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The managed host's half of template_tree."""

from __future__ import annotations

DOCUMENTATION = r"""
module: template_tree
short_description: Deliver the directories of roles in one call
version_added: 0.1.0
author: mlops.stack maintainers (@mlops-stack)
description:
  - Renders every template of the roles on the controller, hands the result over as one archive, and writes what differs.
  - Each file is written beside its place and renamed, so that no reader ever sees half of it.
  - Modes are the product's own, whatever the umask, and those of directories that hold delivered files are mended.
    Environment files (C(*.env)) are for root alone, as Docker Compose reads them, and are not shown in diffs.
  - Before any file of any role is put in its place, the products check their own files, and Docker Compose, where it is installed, the project
    that comes of all. Where Compose does not take it, and takes it without what earlier runs left of roles that are not delivered now, that
    is no reason not to deliver.
  - Files that an earlier run delivered into a role's directory and this one does not are removed; others are left alone.
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
  from_roles:
    description:
      - Directories of roles on the controller. What a role delivers is said by its variable C(__<role>_delivery), a dictionary with the keys of
        O(roles) but C(name); its templates are in C(templates). Its defaults and vars are evaluated beneath the variables of the task, so that
        no play has to load the role.
    type: list
    elements: path
    default: []
  roles:
    description: Further directories to deliver, each described here. One in O(roles), O(from_roles) or O(absent) is wanted.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Directory below O(project) to bring to what is wanted., type: str, required: true}
      src:
        description:
          - Directory of templates on the controller. Files ending in C(.j2) are rendered and lose that ending, others are copied.
        type: path
      exclude: {description: Names and globs of files and directories in C(src) that are left out., type: list, elements: str, default: []}
      trees:
        description: Further directories on the controller that are copied as they are.
        type: list
        elements: dict
        default: []
        suboptions:
          src: {description: Directory on the controller; a relative one lies beside C(src) of the role., type: path, required: true}
          dest: {description: Directory below the role's., type: str, required: true}
          live:
            description: The containers read changes by themselves, so a change recreates none of them.
            type: bool
            default: false
          exclude: {description: File names and globs that are not copied., type: list, elements: str, default: []}
          team:
            description:
              - It is a team's own, of which the source is copied; what version control, environments, caches and editors keep, secrets by name or
                content, and what C(.gitignore) files in it name is not. Links lead to something in it, or fail.
            type: bool
            default: false
          build: {description: "An image is built from it, so that its C(.dockerignore) counts too.", type: bool, default: false}
      files:
        description: Further files by their path below the role's directory, with their content. Nothing in a content is rendered.
        type: dict
        default: {}
      live:
        description: Directories below the role's whose changes the containers take up without being recreated.
        type: list
        elements: str
        default: []
      readers:
        description: Files by their path that one user alone may read, with the uid of that user; they are not shown in diffs.
        type: dict
        default: {}
      validate:
        description:
          - Checks of new files by the product that reads them, run before any file is put in its place. When one fails,
            nothing is changed. Check mode runs none.
        type: list
        elements: dict
        default: []
        suboptions:
          path: {description: Directory below the role's; the command runs when a file in it changes., type: str, required: true}
          command:
            description: Command and arguments. C(%s) stands for a directory with everything that the role's is to hold, secrets excepted.
            type: list
            elements: str
            required: true
      secrets:
        description:
          - Secret files, written to C(secrets/) below the role's directory with mode C(0400), as a dictionary of file name to
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
    description: Roles whose directories below O(project) are removed. Only delivered files are.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Deliver the files of MLflow and of RegModel
  mlops.stack.template_tree:
    project: /opt/mlops
    header: "name: mlops\n"
    from_roles:
      - "{{ playbook_dir }}/roles/mlflow"
      - "{{ playbook_dir }}/roles/regmodel"

- name: Deliver a directory that is no role's
  mlops.stack.template_tree:
    project: /opt/mlops
    header: "name: mlops\n"
    roles:
      - name: store
        src: "{{ playbook_dir }}/templates"
        secrets:
          store_key: {content: "{{ key }}", uid: 50001}
"""

RETURN = r"""
changed_files:
  description: Paths that were written or removed, relative to O(project).
  returned: always
  type: list
  elements: str
  sample: [mlflow/services.yaml, compose.yaml]
"""

import os
from functools import partial

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlops.stack.plugins.module_utils._delivery import Delivery, Refused


def run(module: AnsibleModule, command: list[str]) -> tuple[int, str, str]:
    """(status, stdout, stderr) of a command; one that is not there is a status too."""
    if module.get_bin_path(command[0]) is None:
        return 127, "", "%s is not there" % command[0]
    return module.run_command(command)


def main() -> None:
    trees = {
        "src": {"type": "path", "required": True},
        "dest": {"type": "str", "required": True},
        "live": {"type": "bool", "default": False},
        "exclude": {"type": "list", "elements": "str", "default": []},
        "team": {"type": "bool", "default": False},
        "build": {"type": "bool", "default": False},
    }
    validate = {"path": {"type": "str", "required": True}, "command": {"type": "list", "elements": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "path", "required": True},
            "header": {"type": "str", "required": True},
            "from_roles": {"type": "list", "elements": "path", "default": []},
            "roles": {"type": "list", "elements": "dict", "default": [], "options": {
                "name": {"type": "str", "required": True},
                "src": {"type": "path"},
                "exclude": {"type": "list", "elements": "str", "default": []},
                "trees": {"type": "list", "elements": "dict", "default": [], "options": trees},
                "files": {"type": "dict", "default": {}},
                "live": {"type": "list", "elements": "str", "default": []},
                "readers": {"type": "dict", "default": {}},
                "validate": {"type": "list", "elements": "dict", "default": [], "options": validate},
                "secrets": {"type": "dict", "default": {}, "no_log": True},
            }},
            "salt": {"type": "str", "default": "", "no_log": True},
            "service_defaults": {"type": "dict", "default": {}},
            "proxies": {"type": "dict", "default": {}},
            "archive": {"type": "path"},
            "absent": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    delivery = Delivery(wanted["project"], module.check_mode)
    # Of what lies above the project, too, which this makes where it is not there.
    os.umask(0o022)
    try:
        checks = {role["name"]: role["validate"] for role in wanted["roles"]}
        delivery.deliver(wanted["archive"], checks, partial(run, module), wanted["header"], wanted["absent"])
    except Refused as error:
        module.fail_json(msg="template_tree: %s" % error)
    except OSError as error:
        module.fail_json(msg="template_tree: cannot write below %s: %s" % (wanted["project"], error))
    module.exit_json(changed=bool(delivery.changed_files), changed_files=delivery.changed_files, diff=delivery.diff)


if __name__ == "__main__":
    main()
