# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a person reads when a wait has failed: for every failed check the cause, what was last seen, how its container
fared, and the command to go on with."""

from __future__ import annotations

import shlex
from typing import Any

from ansible_collections.mlops.stack.plugins.module_utils._net._outcome import READY
from ansible_collections.mlops.stack.plugins.module_utils._wait._check import CheckState
from ansible_collections.mlops.stack.plugins.module_utils._wait._diagnose import is_fine

LOG_LINES = 10
EXITS = 5
# So many groups of checks, and so many containers of one group, are told in full; the result has all.
MAX_SHOWN = 5

Shown = dict[str, Any]


def cause(state: CheckState) -> str:
    """Why one check did not hold, and what was last seen of it."""
    last = state.last
    seen = f"{last['code']}: {last['detail']}".rstrip(": ") if last else "no answer to the first attempt yet"
    if state.failure:
        known = last and (last["code"] == state.failure.code or state.failure.detail.startswith(last["detail"] or "\n"))
        return state.failure.detail or state.failure.code if known else f"{state.failure.detail}; last: {seen}"
    if last and last["class"] == READY:
        return f"holds, but not yet for stable_for={state.check.stable_for:g} s" if state.check.stable_for else "holds"
    return f"last: {seen}" if last else seen


def next_command(state: CheckState, containers: list[Shown]) -> str:
    """The command that shows more, to be run on the same host."""
    check = state.check
    sick = [shown for shown in containers if not is_fine(shown)]
    code = state.failure.code if state.failure else (state.last or {}).get("code") or ""
    if code.startswith("docker_"):
        return "docker info"
    if sick and sick[0]["status"] == "running":
        return f"docker inspect --format '{{{{json .State.Health}}}}' {sick[0]['name']}"
    if sick or (containers and check.kind == "docker"):
        return f"docker logs --tail 100 {(sick or containers)[0]['name']}"
    if check.target and not containers:
        wanted = [f"name=^/?{check.container}$"] if check.container else [f"label=com.docker.compose.project={check.project}"]
        wanted += [f"label=com.docker.compose.service={check.service}"] if check.service else []
        return "docker ps --all " + " ".join(f"--filter {shlex.quote(text)}" for text in wanted)
    return _probe_command(check.kind, check.prepared)


def _probe_command(kind: str, prepared: dict[str, Any]) -> str:
    if kind == "http":
        # Without the query, which may hold a token.
        url = prepared["url"]._replace(query="", fragment="").geturl()
        host = "".join(f"--header {shlex.quote('Host: ' + value)} " for name, value in prepared["headers"].items() if name.lower() == "host")
        method = f"--request {prepared['method']} " if prepared["method"] != "GET" else ""
        return f"curl --verbose --max-time 5 {method}{host}{shlex.quote(url)}"
    host, port = shlex.quote(prepared["host"]), prepared["port"]
    if kind == "postgres":
        return f"pg_isready --host {host} --port {port}"
    if kind == "redis":
        return f"redis-cli -h {host} -p {port} ping"
    return f"nc -vz {host} {port}"


def dossier(failed: list[CheckState], containers: dict[str, list[Shown]]) -> list[str]:
    """Lines for every failed check; those of one container, which mostly fail for one reason, are told together."""
    groups: dict[str, list[CheckState]] = {}
    for state in failed:
        groups.setdefault(state.check.target or f"check {state.check.name}", []).append(state)
    lines = []
    for target, states in list(groups.items())[:MAX_SHOWN]:
        shown = sorted(containers.get(target, []), key=is_fine)
        for state in states:
            if len(failed) > 1:
                lines.append(f"{state.check.name}: {cause(state)}")
            if state.last:
                lines += _line("attempts", f"{state.attempts}, the last after {state.last['at']:.1f} s")
        for container in shown[:MAX_SHOWN]:
            lines += _container(container)
        for command in dict.fromkeys(next_command(state, shown) for state in states):
            lines += _line("next", command)
    left_out = [state.check.name for states in list(groups.values())[MAX_SHOWN:] for state in states]
    if left_out:
        lines.append(f"the causes of {len(left_out)} more are in the result: {', '.join(left_out)}")
    return lines


def behind(needed: list[CheckState], containers: dict[str, list[Shown]]) -> list[str]:
    """Lines for the containers that failed checks cannot do without, which may look well and still have said why."""
    targets = dict.fromkeys(state.check.target for state in needed)
    return [line for target in targets for container in containers.get(target, [])[:MAX_SHOWN] for line in _container(container)]


def _container(shown: Shown) -> list[str]:
    facts = [f"{shown['name']} ({shown['image']}) {shown['status']}"]
    if shown["health"]:
        facts.append(shown["health"])
    if shown["status"] != "running":
        facts.append(f"exit code {shown['exit_code']}")
    if shown["oom"] or any(entry.get("oom") for entry in shown["exits"]):
        facts.append("killed for lack of memory (OOM)")
    if shown["restarts_seen"]:
        facts.append(f"{shown['restarts_seen']} restarts since the wait began")
    if shown["error"]:
        facts.append(shown["error"])
    lines = _line("container", ", ".join(facts))
    # One death is told by its exit code; what happened before is what a restart loop hides.
    if len(shown["exits"]) > 1:
        told = [f"{entry['code']} at {entry['at']:.1f} s" for entry in shown["exits"][-EXITS:]]
        lines += _line("exits", ", ".join(told))
    failed = [entry for entry in shown["health_log"] if entry["exit_code"] and "before" not in entry]
    if failed:
        lines += _line("health", f"exit code {failed[-1]['exit_code']}: {failed[-1]['output'] or 'no output'}")
    return lines + _line("log", "\n".join(shown.get("log_tail", [])[-LOG_LINES:]) or shown.get("log_error") or "empty")


def _line(label: str, text: str) -> list[str]:
    """A labelled text, whose further lines are indented under the first."""
    first, *rest = text.splitlines() or [""]
    return [f"  {label:<10}{first}"] + [f"  {'':<10}{line}" for line in rest]
