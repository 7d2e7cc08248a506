#!/usr/bin/python
# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask every Airflow container of a host which secrets its processes read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: airflow_secret_digests
short_description: Ask Airflow's containers which secrets they read, as digests
version_added: 0.1.0
author: mlops.stack maintainers (@mlops-stack)
description:
  - Runs a small program of the image in each running container of the given services, in all of them at once. It reads each secret as
    Airflow does, from the environment or by its C(_CMD), and answers with digests under O(key), which it gets on standard input.
  - Equal digests mean equal secrets; of a URL, user, password and database count, and not the host. Without the key nothing can be learnt from them.
  - To be compared over all hosts with P(mlops.stack.secret_differences#filter).
attributes:
  check_mode: {support: full, description: Only asks.}
  diff_mode: {support: none, description: Changes nothing.}
  platform: {platforms: posix}
extends_documentation_fragment: [ansible.builtin.action_common_attributes]
options:
  project: {description: Name of the Compose project., type: str, required: true}
  services: {description: Services to ask; one that does not run is left out., type: list, elements: str, required: true}
  key: {description: "Random bytes in hexadecimal, made for this run and the same on all hosts.", type: str, required: true}
  timeout: {description: "How long a container may take to answer, in seconds.", type: int, default: 30}
"""

EXAMPLES = r"""
- name: Ask which secrets are read here
  mlops.stack.airflow_secret_digests:
    project: mlops
    services: [airflow-webserver, airflow-worker]
    key: "{{ comparison_key }}"
  register: asked
"""

RETURN = r"""
digests:
  description: By service, the digest of each option; none where its value cannot be read.
  returned: always
  type: dict
  sample: {airflow-worker: {core.fernet_key: 5f1c}}
failures:
  description: By service, why it gave no answer.
  returned: always
  type: dict
  sample: {}
"""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils.basic import AnsibleModule

PROGRAM = ["/opt/venv/bin/python", "-I", "-m", "mlops_airflow.effective"]
NAMES = '{{.Label "com.docker.compose.service"}} {{.ID}}'


def ask(container: str, key: str, timeout: float) -> Any:
    """(digests, None) of one container, or (None, why there are none)."""
    try:
        done = subprocess.run(["docker", "exec", "--interactive", container, *PROGRAM], input=key + "\n", capture_output=True, text=True,
                              timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return None, "no answer within %d s" % timeout
    if done.returncode != 0:
        return None, (done.stderr.strip().splitlines() or ["exit status %d" % done.returncode])[-1]
    try:
        return json.loads(done.stdout), None
    except ValueError:
        return None, "its answer is no JSON"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "services": {"type": "list", "elements": "str", "required": True},
            "key": {"type": "str", "required": True, "no_log": True},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    rc, out, err = module.run_command(
        ["docker", "ps", "--filter", "label=com.docker.compose.project=" + wanted["project"], "--format", NAMES])
    if rc != 0:
        module.fail_json(msg="airflow_secret_digests: docker ps: %s" % err.strip())
    running = dict(line.split() for line in out.splitlines())
    asked = {service: running[service] for service in wanted["services"] if service in running}
    with ThreadPoolExecutor(max(len(asked), 1)) as pool:
        answers = dict(zip(asked, pool.map(lambda container: ask(container, wanted["key"], wanted["timeout"]), asked.values())))
    module.exit_json(
        changed=False,
        digests={service: found for service, (found, _why) in answers.items() if found is not None},
        failures={service: why for service, (_found, why) in answers.items() if why})


if __name__ == "__main__":
    main()
