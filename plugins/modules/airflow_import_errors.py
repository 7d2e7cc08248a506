#!/usr/bin/python
# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask Airflow's dag-processor which DAG files cannot be loaded."""

from __future__ import annotations

DOCUMENTATION = r"""
module: airflow_import_errors
short_description: Name the DAG files that Airflow cannot load
version_added: 0.1.0
author: mlops.stack maintainers (@mlops-stack)
description:
  - Runs a small program of the image in the dag-processor's container. With O(parse) it reads the DAG folder as it is at that moment, by Airflow's own
    parser and without writing anything; unless the same folder was found to load before, and nothing else is known of it.
  - Each file that cannot be loaded is a warning, with Airflow's error. Where the controller has the file, in O(directory), what ruff's rules for
    Airflow 3 say of it follows. It never fails for a file.
attributes:
  check_mode: {support: full, description: Only looks.}
  diff_mode: {support: none, description: Changes nothing.}
  platform: {platforms: posix}
extends_documentation_fragment: [ansible.builtin.action_common_attributes]
options:
  container: {description: Container of the dag-processor., type: str, required: true}
  parse: {description: Whether to read the folder now; else only what the dag-processor noted last is told., type: bool, default: true}
  directory: {description: The team's DAGs on the controller. Used there only., type: path, default: ""}
  timeout: {description: "How long reading may take, in seconds.", type: int, default: 600}
"""

EXAMPLES = r"""
- name: DAG files that Airflow cannot load
  mlops.stack.airflow_import_errors:
    container: mlops-airflow-dag-processor-1
    directory: /srv/dags
"""

RETURN = r"""
errors:
  description: Each file that cannot be loaded, as C(bundle), C(file) and C(error), which is a traceback.
  returned: always
  type: list
  elements: dict
  sample: [{bundle: dags-folder, file: report.py, error: "ModuleNotFoundError: No module named 'airflow.operators.dummy_operator'"}]
parsed: {description: Whether the folder was read now., returned: always, type: bool}
"""

import json

from ansible.module_utils.basic import AnsibleModule

PROGRAM = ["/opt/venv/bin/python", "-I", "-m", "mlops_airflow.imports"]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "container": {"type": "str", "required": True},
            "parse": {"type": "bool", "default": True},
            "directory": {"type": "path", "default": ""},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    rc, out, err = module.run_command(
        ["docker", "exec", wanted["container"], "timeout", str(wanted["timeout"]), *PROGRAM, *(["--parse"] if wanted["parse"] else [])])
    try:
        answer = json.loads(out) if rc == 0 else None
    except ValueError:
        answer = None
    if answer is None:
        why = "no answer within %d s" % wanted["timeout"] if rc == 124 else (err.strip().splitlines() or ["exit status %d" % rc])[-1]
        module.warn("DAG files were not looked at in %s: %s" % (wanted["container"], why))
        answer = {"errors": [], "parsed": False}
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
