# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a check, and everything about them that can be known before the first probe.

All problems are reported at once: a list of checks that is wrong in three places is wrong in one message.
"""

from __future__ import annotations

import base64
import os
from typing import Any, Callable, NamedTuple

from ansible_collections.mlops.stack.plugins.module_utils._net._outcome import Outcome
from ansible_collections.mlops.stack.plugins.module_utils._probe import _docker, _http, _postgres, _redis, _tcp
from ansible_collections.mlops.stack.plugins.module_utils._wait._redact import Redactor, is_secret_name, secrets_in

MAX_CHECKS = 200
MAX_SECRET = 65536

Probe = Callable[[dict[str, Any], Any, float], Outcome]


class Kind(NamedTuple):
    """One type of check: its own options, those it cannot do without, and its two functions."""

    options: tuple[str, ...]
    required: tuple[str, ...]
    prepare: Callable[..., dict[str, Any]]
    probe: Probe | None


COMMON = ("name", "type", "timeout", "attempt_timeout", "stable_for", "state", "container", "optional", "needs")
KINDS = {
    "http": Kind(
        ("url", "method", "headers", "body", "status", "json", "body_regex", "max_body", "follow_redirects",
         "validate_certs", "ca_path", "client_cert", "client_key", "username", "password", "password_file"),
        ("url",), _http.prepare, _http.probe,
    ),
    "tcp": Kind(("host", "port", "expect_regex", "hold"), ("host",), _tcp.prepare, _tcp.probe),
    "postgres": Kind(
        ("host", "port", "user", "database", "level", "password", "password_file", "sslmode"),
        ("host",), _postgres.prepare, _postgres.probe,
    ),
    "redis": Kind(
        ("host", "port", "username", "password", "password_file", "tls", "validate_certs", "ca_path"),
        ("host",), _redis.prepare, _redis.probe,
    ),
    "docker": Kind(
        ("project", "service", "exit_codes", "unhealthy_grace", "missing_grace", "started_after"),
        (), _docker.prepare, None,
    ),
}  # fmt: skip

# The same table validates the task's checks and those that come from files.
CHECK_SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str"},
    "type": {"type": "str", "required": True, "choices": list(KINDS)},
    "timeout": {"type": "float"},
    "attempt_timeout": {"type": "float"},
    "stable_for": {"type": "float"},
    "state": {"type": "str", "choices": ["ready", "absent", "healthy", "running", "auto", "exited"]},
    "container": {"type": "str"},
    "optional": {"type": "bool", "default": False},
    "needs": {"type": "list", "elements": "str"},
    "url": {"type": "str"},
    "method": {"type": "str"},
    "headers": {"type": "dict"},
    "body": {"type": "str"},
    "status": {"type": "list", "elements": "raw"},
    "json": {
        "type": "list",
        "elements": "dict",
        "options": {
            "path": {"type": "raw", "required": True},
            "op": {"type": "str", "choices": ["eq", "ne", "in", "regex", "exists", "lt", "gt", "len"], "default": "eq"},
            "value": {"type": "raw"},
        },
    },
    "body_regex": {"type": "str"},
    "max_body": {"type": "int"},
    "follow_redirects": {"type": "str", "choices": ["none", "same_origin"]},
    "validate_certs": {"type": "bool"},
    "ca_path": {"type": "path"},
    "client_cert": {"type": "path"},
    "client_key": {"type": "path"},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "password_file": {"type": "path"},
    "host": {"type": "str"},
    "port": {"type": "int"},
    "expect_regex": {"type": "str"},
    "hold": {"type": "float"},
    "user": {"type": "str"},
    "database": {"type": "str"},
    "level": {"type": "str", "choices": ["accepting", "ready"]},
    "tls": {"type": "bool"},
    "sslmode": {"type": "str", "choices": ["disable", "prefer", "require"]},
    "project": {"type": "str"},
    "service": {"type": "str"},
    "exit_codes": {"type": "list", "elements": "int"},
    "unhealthy_grace": {"type": "str"},
    "missing_grace": {"type": "float"},
    "started_after": {"type": "str"},
}


class Defaults(NamedTuple):
    """What a check takes from the task when it does not say otherwise."""

    timeout: float = 300.0
    attempt_timeout: float = 5.0
    stable_for: float = 0.0
    max_restarts: int = 3


class Check(NamedTuple):
    """A check that can be run."""

    name: str
    kind: str
    timeout: float
    attempt_timeout: float
    stable_for: float
    absent: bool
    optional: bool
    container: str | None
    project: str | None
    service: str | None
    want: _docker.Want | None
    prepared: dict[str, Any]
    secrets: tuple[str, ...]
    needs: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        """The containers that it has to do with, by name; empty without any."""
        return "/".join(part for part in (self.container, self.project, self.service) if part)


class BadChecks(ValueError):
    """The arguments alone show that the wait cannot work; ``problems`` names every reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def parse(entries: list[tuple[str, dict[str, Any]]], defaults: Defaults) -> list[Check]:
    """Checks of (where they stand, options). Raises BadChecks."""
    problems: list[str] = []
    if not 1 <= len(entries) <= MAX_CHECKS:
        problems.append(
            f"there are {len(entries)} checks, wanted 1 to {MAX_CHECKS}: give checks, or checks_from with a directory of */checks.json"
        )
    checks: list[Check] = []
    seen: dict[str, str] = {}
    for where, raw in entries:
        given = {key: value for key, value in raw.items() if value is not None}
        redact = Redactor(secrets=secrets_of(given))
        label = given.get("name") or redact(default_name(given))
        found: list[str] = []
        check = _parse_one(label, given, defaults, found.append)
        if label in seen:
            found.append(f"the name stands twice, here and in {seen[label]}")
        seen.setdefault(label, where)
        problems += [f"{where}: check {label}: {redact(text)}" for text in found]
        if check:
            checks.append(check)
    if problems:
        raise BadChecks(problems)
    return checks


def default_name(given: dict[str, Any]) -> str:
    kind = given.get("type")
    if kind == "http":
        target = str(given.get("url"))
    elif kind == "docker":
        target = "/".join(str(given[key]) for key in ("container", "project", "service") if given.get(key))
    else:
        target = ":".join(str(given[key]) for key in ("host", "port") if given.get(key) is not None)
    return f"{kind}:{target}"


def _parse_one(label: str, given: dict[str, Any], defaults: Defaults, problem: Callable[[str], None]) -> Check | None:
    kind = KINDS.get(given.get("type") or "")
    if not kind:
        problem(f"type {given.get('type')!r} is not one of {', '.join(KINDS)}")
        return None
    strange = sorted(set(given) - set(COMMON) - set(kind.options))
    if strange:
        problem(f"type {given['type']} has no option {', '.join(strange)}")
    missing = [key for key in kind.required if given.get(key) in (None, "")]
    if missing:
        problem(f"type {given['type']} needs {', '.join(missing)}")
        return None
    _check_target(given, problem)
    timeouts = [_seconds(given, name, getattr(defaults, name), problem) for name in ("timeout", "attempt_timeout", "stable_for")]
    is_docker = given["type"] == "docker"
    if not is_docker and given.get("state") not in (None, "ready", "absent"):
        problem(f"state {given['state']!r} is for docker checks; wanted ready or absent")
    given = dict(given)
    if given.get("password_file"):
        if given.get("password") is not None:
            problem("password and password_file exclude each other")
        given["password"] = _read_secret(given["password_file"], problem)
    prepared = kind.prepare(given, problem)
    want = prepared["want"] if is_docker else _docker.Want() if given.get("container") else None
    return Check(
        name=label,
        kind=given["type"],
        timeout=timeouts[0],
        attempt_timeout=timeouts[1],
        stable_for=timeouts[2],
        absent=given.get("state") == "absent",
        optional=bool(given.get("optional")),
        container=given.get("container"),
        project=given.get("project"),
        service=given.get("service"),
        want=want._replace(max_restarts=defaults.max_restarts) if want else None,
        prepared=prepared,
        secrets=tuple(secrets_of(given)),
        needs=tuple(given.get("needs") or ()),
    )


def _check_target(given: dict[str, Any], problem: Callable[[str], None]) -> None:
    host, port = given.get("host") or "", given.get("port")
    if port is not None and not 1 <= port <= 65535:
        problem(f"port {port} is not between 1 and 65535")
    if given["type"] == "tcp" and port is None and not host.startswith("/"):
        problem("type tcp needs port")
    if host.startswith("/") and len(host.encode()) > 90:
        problem(f"host {host!r}: a unix socket's path has at most 107 bytes")
    if any(c.isspace() or c == "\0" for c in host):
        problem(f"host {host!r} holds a blank")


def _seconds(given: dict[str, Any], name: str, default: float, problem: Callable[[str], None]) -> float:
    value = given.get(name, default)
    low = 0.0 if name == "stable_for" else 0.001
    if not low <= value < float("inf"):
        problem(f"{name} is {value}, wanted a finite number of seconds" + (" above 0" if low else ""))
    return float(value)


def _read_secret(path: str, problem: Callable[[str], None]) -> str | None:
    """The file's text without its last newline."""
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as handle:
            text = handle.read(MAX_SECRET)
    except (OSError, UnicodeDecodeError) as exc:
        problem(f"password_file {path} cannot be read: {exc}")
        return None
    text = text[:-1] if text.endswith("\n") else text
    if not text:
        problem(f"password_file {path} is empty")
    return text


def secrets_of(given: dict[str, Any]) -> list[str]:
    """Values of this check that must not show in a result."""
    found = [given.get("password") or ""]
    if given.get("username") is not None:
        found.append(base64.b64encode(f"{given['username']}:{given.get('password') or ''}".encode()).decode())
    for name, value in (given.get("headers") or {}).items():
        if is_secret_name(str(name)):
            # A server may repeat the token without the scheme before it.
            found += [str(value), *str(value).split()[-1:]]
    for name in ("url", "body"):
        found += secrets_in(str(given.get(name) or ""))
    return [value for value in found if value]
