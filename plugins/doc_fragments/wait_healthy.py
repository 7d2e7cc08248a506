# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of wait_healthy's options; those of a check are declared in module_utils/_wait/_spec.py."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  checks:
    description: What must hold. Together with O(checks_from) there must be between 1 and 200 checks.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - Name of the check in messages and in the result, unique.
          - Defaults to the type and the target, as in V(tcp:127.0.0.1:5432).
        type: str
      type: {description: What is probed., type: str, required: true, choices: [http, tcp, postgres, redis, docker]}
      timeout:
        description: Seconds from the start of the module after which this check has failed. Defaults to O(timeout), which also bounds it.
        type: float
      attempt_timeout: {description: Bound in seconds of one attempt of this check. Defaults to O(attempt_timeout)., type: float}
      stable_for: {description: Seconds for which this check must hold without a break. Defaults to O(stable_for)., type: float}
      state:
        description:
          - What is waited for. V(ready) (the default) and V(absent) are for all types but V(docker). A target is absent when connections
            are refused or its host is unreachable; a failed name lookup or a timeout proves nothing.
          - For V(docker), V(healthy) wants a passed healthcheck, V(running) a running container, V(auto) (the default) V(healthy) where
            there is a healthcheck and V(running) elsewhere, V(exited) an end with one of O(checks[].exit_codes), V(absent) no container.
        type: str
        choices: [ready, absent, healthy, running, auto, exited]
      container:
        description:
          - For V(docker), name or id of the container.
          - For other types, the container behind the target. Its start, health and death wake the check at once, and when it
            can never run again the check has failed.
        type: str
      needs:
        description:
          - Names of checks without which this one cannot hold. When it fails, the end of their containers' logs is told after that of
            its own. A name that no check has is passed over.
        type: list
        elements: str
      optional: {description: "The check is waited for like the others, but its failure is a warning only.", type: bool, default: false}
      url: {description: "For V(http), what to ask for. It holds no user and no password. Proxies from the environment are not used.", type: str}
      method: {description: "For V(http), the method. Defaults to V(POST) with a O(checks[].body) and to V(GET) without.", type: str}
      headers: {description: "For V(http), further request headers.", type: dict}
      body: {description: "For V(http), the request body.", type: str}
      status: {description: "For V(http), the accepted statuses, numbers or ranges. Defaults to V([200-299]).", type: list, elements: raw}
      json:
        description:
          - For V(http), what the JSON body must say. All must hold; the first that does not is told.
          - A path that is missing holds for V(exists) with V(false) only. A C(null) is not missing.
        type: list
        elements: dict
        suboptions:
          path:
            description:
              - Where in the document, as keys and list indices joined by dots, or as a list of them where a key itself holds dots.
                An empty string is the whole document.
            type: raw
            required: true
          op:
            description:
              - How the found value is compared with O(checks[].json[].value).
              - V(in) wants a list, V(regex) searches in a string, V(len) is the length of a string, list or object, V(exists)
                takes V(true) (the default) or V(false).
            type: str
            choices: [eq, ne, in, regex, exists, lt, gt, len]
            default: eq
          value: {description: "What is wanted. V(eq) without a value wants C(null).", type: raw}
      body_regex: {description: "For V(http), a regular expression that must be found in the body.", type: str}
      max_body:
        description:
          - For V(http), the bytes of the body that are read. A longer one cannot be judged by O(checks[].json) and O(checks[].body_regex).
            Defaults to V(262144).
        type: int
      follow_redirects:
        description: For V(http), follow up to five redirects to the same scheme, host and port. Defaults to V(none).
        type: str
        choices: [none, same_origin]
      validate_certs:
        description: For V(http), and for V(redis) with O(checks[].tls), whether the server's certificate must be valid. Defaults to V(true).
        type: bool
      ca_path:
        description:
          - For V(http), and for V(redis) with O(checks[].tls), file or directory of the certificate authorities to trust in place of the
            system's.
        type: path
      client_cert: {description: "For V(http), file of the client certificate, and of its key if O(checks[].client_key) is not given.", type: path}
      client_key: {description: "For V(http), file of the client certificate's key.", type: path}
      username: {description: "For V(http), the user for basic authentication; for V(redis), the ACL user.", type: str}
      password: {description: "Password for V(http), V(postgres) and V(redis). Prefer O(checks[].password_file).", type: str}
      password_file: {description: File on the managed node that holds the password; one newline at its end is ignored., type: path}
      host:
        description:
          - For V(tcp), V(postgres) and V(redis), name or address of the host.
          - With a leading slash, the path of a unix socket; for V(postgres) the directory that holds it.
        type: str
      port: {description: "For V(tcp), V(postgres) and V(redis), the port. Defaults to V(5432) for V(postgres) and V(6379) for V(redis).", type: int}
      expect_regex: {description: "For V(tcp), a regular expression that must be found in the first 4 KiB that the server sends.", type: str}
      hold:
        description:
          - For V(tcp), seconds for which the connection must stay open. A forwarder such as Docker's accepts connections for which
            nobody listens, and closes them at once. Defaults to V(0.1).
        type: float
      user: {description: "For V(postgres), the role. Defaults to V(postgres).", type: str}
      database: {description: "For V(postgres), the database. The server's default is the role's name.", type: str}
      level:
        description:
          - For V(postgres), V(accepting) (the default) wants a server that takes logins, V(ready) logs in.
        type: str
        choices: [accepting, ready]
      tls: {description: "For V(redis), speak TLS from the first byte. Defaults to V(false).", type: bool}
      sslmode:
        description: For V(postgres), whether to use TLS. As in libpq, none of them verifies the certificate. Defaults to V(prefer).
        type: str
        choices: [disable, prefer, require]
      project: {description: "For V(docker), a Compose project in place of O(checks[].container). All of its containers must be as wanted.", type: str}
      service: {description: "For V(docker), only the containers of this service of O(checks[].project).", type: str}
      exit_codes: {description: "For V(docker) with O(checks[].state=exited), the accepted exit codes. Defaults to V([0]).", type: list, elements: int}
      unhealthy_grace:
        description:
          - For V(docker), seconds for which a container may be unhealthy before that is a failure. V(auto) (the default) is one interval and
            one timeout of its healthcheck, at least 5.
        type: str
      missing_grace: {description: "For V(docker), seconds for which the container may be missing. Defaults to V(0).", type: float}
      started_after: {description: "For V(docker), accept only a container that was started after this time (RFC 3339, or seconds since 1970).", type: str}
  checks_from:
    description:
      - A directory on the managed node. Its C(checks.json) and every C(*/checks.json) below it are added to O(checks). Each file is
        a JSON list with the options of O(checks).
      - Files that cannot be read and checks that are wrong are all named in one message, before anything is probed. In check mode
        the directory may be missing.
    type: path
  timeout: {description: "Seconds from the start of the module after which the wait has failed, for all checks together.", type: float, default: 300}
  attempt_timeout: {description: "Bound in seconds of one attempt, from the name lookup to the last byte.", type: float, default: 5}
  interval:
    description:
      - The pause after an attempt is O(interval.ratio) times the time since the check last changed, not less than O(interval.min), not more than
        O(interval.max), and at least ten times the CPU time of the attempt, or four times for each check that is open if that is more.
        The three milliseconds that waking up and the result take are part of it.
    type: dict
    default: {}
    suboptions:
      min: {description: Shortest pause in seconds., type: float, default: 0.02}
      max: {description: Longest pause in seconds., type: float, default: 0.5}
      ratio: {description: Part of the time waited., type: float, default: 0.02}
  stable_for: {description: Seconds for which all checks must keep holding., type: float, default: 0}
  fail_fast: {description: Stop at the first permanent failure; V(false) collects all of them., type: bool, default: true}
  suspect_after:
    description:
      - Some failures are probably permanent, such as a wrong certificate or a name that does not resolve. Seconds for which one of them must last
        unchanged, over at least three attempts, before it counts as permanent.
    type: float
    default: 15
  max_restarts: {description: Restarts since the start of the module after which a container counts as looping., type: int, default: 3}
  docker_host:
    description:
      - Where the Docker Engine listens, V(unix:///path) or V(tcp://host:port), the latter without TLS.
      - Defaults to E(DOCKER_HOST) where that is set on the managed node. It is asked only where a check names a container or a project.
    type: str
    default: unix:///var/run/docker.sock
  log_lines: {description: Lines of each failed container's log in the result., type: int, default: 40}
  diagnostics_timeout: {description: Bound in seconds on collecting logs after a failure; V(0) collects none., type: float, default: 3}
  redact:
    description: Regular expressions of what to hide in messages and logs, in addition to what looks like a password, a token or a key.
      Where one has a group named C(secret), only that group is hidden.
    type: list
    elements: str
    default: []
  _slice:
    description:
      - Set by the action plugin. Seconds after which the module hands its state on although checks are still open; RV(ignore:finished) tells
        whether that is so.
    type: float
  _state: {description: Set by the action plugin. What the slice before handed on., type: dict}
"""
