#!/usr/bin/python
# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until all checks of a host hold at the same time, or say at once why they never will."""

from __future__ import annotations

DOCUMENTATION = r"""
module: wait_healthy
short_description: Wait until everything on a host is healthy, or say why it is not
version_added: 0.1.0
author: mlops.stack maintainers (@mlops-stack)
description:
  - Probes a list of HTTP, TCP, PostgreSQL, Redis and Docker checks at the same time and returns the moment all of them hold.
  - Fails at once when one can never hold, for instance because its container exited and nothing restarts it.
  - A failure says why. Its message tells for every failed check the cause, how the container fared, the end of its log and the command to
    run next; the result has the same as data, with what was seen over time.
  - With the variable C(mlops_report_dir), a directory on the controller, message and data of a failure are also written there, as
    C(dossier-<host>.txt) and C(dossier-<host>.json).
  - Containers are followed by the Docker Engine's event stream, so that a change is seen within milliseconds. Other targets are
    probed at short intervals that grow slowly with the time waited.
  - Nothing on the host is changed.
notes:
  - Runs on the managed node and needs nothing there but Python 3.9 or newer. Neither the Docker SDK nor C(requests) is used.
  - Needs no other part of this collection. What is waited for can be anything that answers, in a container or not.
  - Every attempt ends in one of four classes. V(ready) holds. V(transient) is asked again until the timeout. V(suspect) counts as
    permanent once it has stayed the same for O(suspect_after). V(permanent) ends the wait at once, unless O(fail_fast=false).
  - While it waits, a line every ten seconds names the checks that are still open and the code that each was last answered with.
  - One run of the module retries on the node itself, so a short loss of the connection costs nothing that was waited for.
  - With O(checks[].state=healthy) Docker's own healthcheck interval is the floor. Where it is long, check the service itself
    and use O(checks[].state=running) for its container.
  - Ansible hides a password given as O(checks[].password) wherever the same letters occur in the result, also within other words.
    O(checks[].password_file) avoids that.
  - A regular expression that backtracks without end cannot be interrupted; keep them simple.
attributes:
  check_mode: {support: full, description: Probes every check once and reports what it found without failing.}
  diff_mode: {support: N/A, description: Nothing is changed.}
  platform: {platforms: posix}
  action_group:
    support: full
    description: Defaults for all waits of a play can be set with C(group/mlops.stack.stack) in C(module_defaults).
    membership: [mlops.stack.stack]
extends_documentation_fragment: [ansible.builtin.action_common_attributes, mlops.stack.wait_healthy]
"""

EXAMPLES = r"""
- name: Wait for everything that the roles on this host declared
  mlops.stack.wait_healthy:
    checks_from: /opt/mlops

- name: Wait for a database, a web service and its container
  mlops.stack.wait_healthy:
    timeout: 120
    checks:
      - type: postgres
        host: 127.0.0.1
        user: airflow
        database: airflow
        level: ready
        password_file: /opt/mlops/infra/secrets/airflow
      - name: web
        type: http
        url: http://127.0.0.1:8080/health
        container: web

# The endpoint always answers 200. A status is null until the component has reported for the first time, and "unhealthy" when its
# last report is old; only "healthy" holds. A check for each component says which of them it was, and with its container it fails
# at once when that has exited.
- name: Wait for every component of Airflow
  mlops.stack.wait_healthy:
    checks:
      - name: airflow-scheduler
        type: http
        url: http://127.0.0.1:8080/api/v2/monitor/health
        container: airflow-scheduler
        json:
          - {path: metadatabase.status, value: healthy}
          - {path: scheduler.status, value: healthy}
      - name: airflow-dag-processor
        type: http
        url: http://127.0.0.1:8080/api/v2/monitor/health
        container: airflow-dag-processor
        json:
          - {path: dag_processor.status, value: healthy}
      # Where no triggerer has to run: one that never started (null) is accepted, one that stopped (unhealthy) is not.
      - name: airflow-triggerer
        type: http
        url: http://127.0.0.1:8080/api/v2/monitor/health
        json:
          - {path: triggerer.status, op: in, value: [healthy, null]}

- name: Wait until a worker listens on its queue
  mlops.stack.wait_healthy:
    checks:
      - type: http
        url: http://127.0.0.1:5555/api/workers
        json:
          - path: [celery@worker-1, active_queues, 0, name]
            value: default

- name: Wait for the end of a one-shot container
  mlops.stack.wait_healthy:
    checks:
      - {type: docker, container: migrate, state: exited}

- name: Wait until nothing listens any more
  mlops.stack.wait_healthy:
    checks:
      - {type: tcp, host: 127.0.0.1, port: 5432, state: absent}

# The message of a failure holds the reason and the end of the logs, for instance
#   1 of 2 checks failed after 3.2 s: web: container web exited (3), restart policy 'no'; last: refused: connect to 127.0.0.1:8080: Connection refused
#   last 2 log lines of web:
#     reading /etc/web.conf
#     /etc/web.conf: no such file
- name: Wait, and on failure show how each check that failed got there
  block:
    - name: Wait
      mlops.stack.wait_healthy:
        checks_from: /opt/mlops
        fail_fast: false
      register: healthy
  rescue:
    - name: Show the timelines
      ansible.builtin.fail:
        msg: "{{ healthy.failed_checks | map('extract', healthy.checks, 'timeline') | list }}"

- name: Give all waits of a play the same patience
  hosts: all
  module_defaults:
    group/mlops.stack.stack:
      timeout: 600
      stable_for: 5
  tasks:
    - name: Wait
      mlops.stack.wait_healthy:
        checks_from: /opt/mlops
"""

RETURN = r"""
began:
  description: When the wait began by the managed node's own clock, RFC 3339 in UTC. All other times of the result count from it.
  returned: always
  type: str
  sample: "2025-01-31T12:00:00.417Z"
elapsed:
  description: Seconds from the start of the module.
  returned: always
  type: float
  sample: 12.417
reason:
  description:
    - Why the wait ended, one of V(ready), V(timeout), V(permanent), V(interrupted).
    - In check mode, V(pending) when something does not hold.
  returned: always
  type: str
  sample: permanent
failed_checks:
  description: Names of the checks for which the wait failed.
  returned: always
  type: list
  elements: str
  sample: [web]
msg:
  description: What happened, and why.
  returned: always
  type: str
  sample: "1 of 5 checks failed after 3.2 s: web: container web exited (3), restart policy 'no'; last: refused: connect to 127.0.0.1:8080: Connection refused"
checks:
  description: Every check by name, each with what follows.
  returned: always
  type: dict
  contains:
    state: {description: "V(ready), V(pending) or V(failed).", type: str, returned: always}
    attempts: {description: How often the target was asked., type: int, returned: always}
    ready_after: {description: Seconds after which the check held and has held since; null where it does not hold., type: float, returned: always}
    last:
      description: The last attempt; null before the first has ended.
      returned: always
      type: dict
      contains:
        at: {description: Seconds since the start of the wait., type: float, returned: always}
        class: {description: "V(ready), V(transient), V(suspect) or V(permanent).", type: str, returned: always}
        code:
          description:
            - What was found, as a word that does not change from release to release.
            - V(ok), and V(healthy), V(running), V(exited) or V(absent) where such a state is waited for.
            - Connections, transient. V(refused), V(reset), V(closed), V(timeout), V(unreachable), V(no_socket), V(backlog_full),
              V(out_of_files), V(os_error), V(stopped), V(dns_timeout), V(dns_error), V(tls_closed), V(tls_error).
            - Connections, suspect. V(denied), V(dns_unknown), V(not_tls), V(tls_certificate), V(tls_client_certificate), V(tls_handshake).
            - V(http), transient. V(http_status), V(bad_reply), V(bad_status_line), V(body_truncated), V(body_too_large), V(body_mismatch),
              V(unsupported_encoding), V(json_invalid), V(json_mismatch).
            - V(http), suspect. V(redirect), V(redirect_refused), V(redirect_loop), and V(http_status) for 401, 403 and 405.
            - V(tcp), transient. V(no_match).
            - V(postgres). V(pg_) and the SQLSTATE, such as V(pg_57P03) while the server starts, or V(pg_error) without one; transient, but
              suspect for a refused login (V(pg_28000), V(pg_28P01)). Suspect are V(pg_scram), V(tls_refused) and V(not_postgres), permanent
              V(pg_password_missing) and V(pg_auth_method).
            - V(redis). V(redis_) and the first word of the error, such as V(redis_loading); transient, but permanent for V(redis_noauth),
              V(redis_wrongpass) and V(redis_denied), and suspect for other refusals of a login or a command. V(not_redis) is suspect.
            - V(docker), transient. V(created), V(starting), V(restarting), V(restarted) by its policy less than 10 s ago, V(paused), V(stale),
              V(present), V(running) where an end is waited for, V(unhealthy) and V(missing) within their grace, V(docker_timeout), V(unknown).
            - V(docker), suspect. V(docker_unreachable), V(docker_error).
            - V(docker), permanent. V(exited), V(exit_code), V(start_failed), V(restart_loop), V(unhealthy), V(no_healthcheck), V(missing),
              V(docker_denied). These also fail the other types through their O(checks[].container).
            - With O(checks[].state=absent), V(present) is transient.
          returned: always
          type: str
        detail: {description: "The same for people, with what the target said.", type: str, returned: always}
        took_ms: {description: Milliseconds from the start of the attempt to its end., type: float, returned: always}
    timeline:
      description:
        - One entry for each change of class or code, in order, with RV(ignore:at), RV(ignore:class), RV(ignore:code),
          RV(ignore:detail) and RV(ignore:count), the number of attempts that found the same. Events of the container stand between them with
          the class V(event).
      returned: always
      type: list
      elements: dict
    timeline_dropped: {description: Entries left out of the middle of a long timeline., type: int, returned: when there are any}
    failure:
      description: RV(ignore:code) and RV(ignore:detail) of why the check can never hold.
      returned: when it failed for another reason than the timeout
      type: dict
    cause: {description: Why the wait failed for this check and what was last seen of it. In one line., type: str, returned: when the wait failed for it}
    next: {description: The command to go on with on the host., type: str, returned: when the wait failed for it}
    container:
      description:
        - The container as last looked at, with RV(ignore:id), RV(ignore:name), RV(ignore:image), RV(ignore:status), RV(ignore:health),
          RV(ignore:exit_code), RV(ignore:oom), RV(ignore:error), RV(ignore:restarts_seen), RV(ignore:started_at), RV(ignore:exits) and
          RV(ignore:health_log); after a failure also RV(ignore:log_tail) and RV(ignore:log_error).
        - Null where there is none, or more than one.
      returned: when the check has to do with a container
      type: dict
    containers: {description: "The same for each container, where there is more than one.", type: list, elements: dict, returned: when so}
  sample:
    web:
      state: failed
      attempts: 31
      ready_after: null
      last: {at: 3.1, class: transient, code: refused, detail: "connect to 127.0.0.1:8080: Connection refused", took_ms: 0.2}
      timeline:
        - {at: 0.0, class: transient, code: refused, detail: "connect to 127.0.0.1:8080: Connection refused", count: 31}
        - {at: 3.2, class: event, code: die, detail: exit code 3, count: 1}
      cause: "container web exited (3), restart policy 'no'; last: refused: connect to 127.0.0.1:8080: Connection refused"
      next: docker logs --tail 100 web
      failure: {code: exited, detail: "container web exited (3), restart policy 'no'"}
      container: {id: 0f2c7a1be3d4, name: web, image: "web:1", status: exited, health: null, exit_code: 3, oom: false, error: "", restarts_seen: 0,
                  started_at: "2026-01-01T00:00:00.1Z", exits: [{at: 3.2, code: 3, oom: false}], health_log: [], log_error: null,
                  log_tail: ["reading /etc/web.conf", "/etc/web.conf: no such file"]}
warnings:
  description:
    - What did not keep the wait from ending well but should be known. Optional checks that did not hold, containers that Docker could not
      be asked about or that are paused, healthchecks whose interval makes Docker late, and evidence left out of a result above 256 KiB.
  returned: when there are any
  type: list
  elements: str
  sample: ["optional check docs did not hold: last: refused: connect to 127.0.0.1:8090: Connection refused"]
docker:
  description: The API version spoken, whether events came (V(live)) or containers were polled, and how often the stream broke.
  returned: when a check has to do with a container
  type: dict
  sample: {api: "1.41", events: live, gaps: 0}
"""

import time

# Taken before the imports that follow, so that the deadline counts from the module's start.
BEGAN = time.monotonic()

from ansible.module_utils.basic import AnsibleModule, env_fallback
from ansible_collections.mlops.stack.plugins.module_utils._wait._run import wait, without_secrets
from ansible_collections.mlops.stack.plugins.module_utils._wait._spec import CHECK_SPEC, BadChecks

INTERVAL_SPEC = {
    "min": {"type": "float", "default": 0.02},
    "max": {"type": "float", "default": 0.5},
    "ratio": {"type": "float", "default": 0.02},
}


class Module(AnsibleModule):
    def _log_invocation(self) -> None:
        """Nothing: the node's system log would get every URL and body as it was given, and the state of each slice."""


def main() -> None:
    module = Module(
        argument_spec={
            "checks": {"type": "list", "elements": "dict", "options": CHECK_SPEC, "default": []},
            "checks_from": {"type": "path"},
            "timeout": {"type": "float", "default": 300},
            "attempt_timeout": {"type": "float", "default": 5},
            "interval": {"type": "dict", "options": INTERVAL_SPEC, "default": {}},
            "stable_for": {"type": "float", "default": 0},
            "fail_fast": {"type": "bool", "default": True},
            "suspect_after": {"type": "float", "default": 15},
            "max_restarts": {"type": "int", "default": 3},
            "docker_host": {
                "type": "str",
                "default": "unix:///var/run/docker.sock",
                "fallback": (env_fallback, ["DOCKER_HOST"]),
            },
            "log_lines": {"type": "int", "default": 40},
            "diagnostics_timeout": {"type": "float", "default": 3},
            "redact": {"type": "list", "elements": "str", "default": [], "no_log": False},
            # The action plugin runs a long wait in slices and hands the state from one to the next.
            "_slice": {"type": "float"},
            "_state": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    shown = {"module_args": without_secrets(module.params)}
    try:
        ended = wait(module.params, module.check_mode, BEGAN)
    except BadChecks as exc:
        module.fail_json(msg="; ".join(exc.problems), invocation=shown)
    for text in ended.result.pop("warnings"):
        module.warn(text)
    finish = module.fail_json if ended.failed else module.exit_json
    finish(changed=False, invocation=shown, **ended.result)


if __name__ == "__main__":
    main()
