# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The result: what a person reads first, and the evidence under it, within a bound."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.mlops.stack.plugins.module_utils._wait._check import CheckState
from ansible_collections.mlops.stack.plugins.module_utils._wait._diagnose import Redact, collect, describe
from ansible_collections.mlops.stack.plugins.module_utils._wait._dossier import behind, cause, dossier, next_command
from ansible_collections.mlops.stack.plugins.module_utils._wait._engine import Engine

MAX_RESULT = 256 * 1024


def report(engine: Engine, reason: str, redact: Redact, log_lines: int, diagnostics_timeout: float) -> dict[str, Any]:
    """The module's result, without ``changed`` and ``failed``."""
    elapsed = engine.now()
    good = reason in ("ready", "open", "pending")
    failed = [] if good else [s for s in engine.states if not s.check.optional and not _held(s, reason)]
    containers = _containers(engine, [] if good else failed + _needed(engine, failed), redact, log_lines, diagnostics_timeout)
    result: dict[str, Any] = {
        "elapsed": round(elapsed, 3),
        "reason": reason,
        "failed_checks": [state.check.name for state in failed],
        "msg": _message(engine, reason, failed, containers, elapsed),
        "checks": {state.check.name: _check(state, state in failed, containers) for state in engine.states},
        "warnings": engine.warnings + _broken_links(engine) + _optional_failures(engine, reason),
    }
    if engine.watch:
        version = engine.watch.hello.version if engine.watch.hello else None
        events = "live" if engine.watch.live else "polling"
        result["docker"] = {"api": version, "events": events, "gaps": engine.watch.gaps}
    return cap(result)


def _held(state: CheckState, reason: str) -> bool:
    """Whether a check is none of those that the wait failed for."""
    return not state.settled() and (reason != "interrupted" or state.ready_since is not None)


def _needed(engine: Engine, failed: list[CheckState]) -> list[CheckState]:
    """What the failed checks cannot hold without, where it is not among them."""
    names = {name for state in failed for name in state.check.needs}
    return [state for state in engine.states if state.check.name in names and state not in failed]


def _containers(engine: Engine, failed: list[CheckState], redact: Redact, log_lines: int, bound: float) -> dict[str, list[dict[str, Any]]]:
    shown = {str(key): describe(target, redact) for key, target in engine.targets.items()}
    targets = {str(t.key): t for t in (engine.target_of(state.check) for state in failed) if t}
    if engine.watch and targets:
        shown.update(collect(engine.watch, list(targets.values()), redact, log_lines, bound))
    return shown


def _check(state: CheckState, told: bool, containers: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "state": _state(state),
        "attempts": state.attempts,
        "ready_after": round(state.ready_since, 3) if state.ready_since is not None else None,
        "last": state.last,
        "timeline": state.timeline,
    }
    if state.dropped:
        shown["timeline_dropped"] = state.dropped
    if state.failure:
        shown["failure"] = {"code": state.failure.code, "detail": state.failure.detail}
    found = containers.get(state.check.target) or []
    if told:
        shown["cause"] = cause(state)
        shown["next"] = next_command(state, found)
    if state.check.target:
        shown["container"] = found[0] if len(found) == 1 else None
        if len(found) > 1:
            shown["containers"] = found
    return shown


def _state(state: CheckState) -> str:
    if state.settled():
        return "failed"
    return "ready" if state.ready_since is not None and state.link_known else "pending"


def _message(engine: Engine, reason: str, failed: list[CheckState], containers: dict[str, list[dict[str, Any]]], elapsed: float) -> str:
    total = len(engine.states)
    if reason == "ready":
        return f"all {total} checks hold after {elapsed:.1f} s" if total > 1 else f"the check holds after {elapsed:.1f} s"
    if reason in ("open", "pending"):
        open_states = [state for state in engine.states if state.ready_since is None]
        return f"{len(open_states)} of {total} checks do not hold yet: " + "; ".join(
            f"{state.check.name}: {cause(state)}" for state in open_states
        )
    what = {"timeout": "not ready", "permanent": "failed", "interrupted": f"open when {engine.interrupted} ended the wait"}
    head = f"{len(failed)} of {total} checks {what[reason]} after {elapsed:.1f} s: "
    told = [*dossier(failed, containers), *behind(_needed(engine, failed), containers)]
    if len(failed) == 1:
        return "\n".join([f"{head}{failed[0].check.name}: {cause(failed[0])}", *told])
    return "\n".join([head + ", ".join(state.check.name for state in failed), *told])


def _broken_links(engine: Engine) -> list[str]:
    """Checks that were judged without their container, for Docker could not be asked."""
    pairs = [(state.check, engine.target_of(state.check)) for state in engine.states if state.check.kind != "docker"]
    return [f"{check.name}: container {check.target} was not looked at: {t.error.detail}" for check, t in pairs if t and t.error]


def _optional_failures(engine: Engine, reason: str) -> list[str]:
    if reason in ("open", "pending"):
        return []
    failed = [s for s in engine.states if s.check.optional and (s.settled() or s.ready_since is None)]
    return [f"optional check {state.check.name} did not hold: {cause(state)}" for state in failed]


def cap(result: dict[str, Any], limit: int = MAX_RESULT) -> dict[str, Any]:
    """Shrink a result that is too large: the oldest timeline entries first, then log lines and health outputs."""
    if _size(result) <= limit:
        return result
    checks = list(result["checks"].values())
    shown = [c for check in checks for c in [check.get("container"), *check.get("containers", [])] if c]
    for keep in (10, 4, 1):
        for check in checks:
            del check["timeline"][:-keep]
        if _size(result) <= limit:
            break
    else:
        for keep in (10, 3, 0):
            for container in shown:
                container["log_tail"] = container.get("log_tail", [])[-keep:] if keep else []
                container["health_log"] = container.get("health_log", [])[:1] if keep else []
            if _size(result) <= limit:
                break
    result["warnings"] = result["warnings"] + [f"the result was larger than {limit} bytes; old entries were left out"]
    return result


def _size(result: dict[str, Any]) -> int:
    return len(json.dumps(result, default=str))
