# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the module's parameters to its result."""

from __future__ import annotations

import glob
import json
import os
import signal
import time
from datetime import datetime, timezone
from typing import Any, Callable, NamedTuple

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.mlops.stack.plugins.module_utils._docker._api import parse_host
from ansible_collections.mlops.stack.plugins.module_utils._wait._check import Interval
from ansible_collections.mlops.stack.plugins.module_utils._wait._engine import Engine, Settings
from ansible_collections.mlops.stack.plugins.module_utils._wait._redact import HIDDEN, Redactor, is_secret_name
from ansible_collections.mlops.stack.plugins.module_utils._wait._report import report
from ansible_collections.mlops.stack.plugins.module_utils._wait._spec import (
    CHECK_SPEC,
    BadChecks,
    Defaults,
    parse,
    secrets_of,
)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
BOOT_ID = "/proc/sys/kernel/random/boot_id"

Entry = tuple[str, dict[str, Any]]


class Ended(NamedTuple):
    failed: bool
    result: dict[str, Any]


def wait(params: dict[str, Any], check_mode: bool = False, began: float | None = None) -> Ended:
    """Run the wait that the parameters describe. Raises BadChecks when they alone show that it cannot work."""
    problems = _bad_numbers(params)
    entries = [(f"checks[{i}]", entry) for i, entry in enumerate(params.get("checks") or [])]
    if params.get("checks_from"):
        entries += load(params["checks_from"], problems.append, missing_ok=check_mode)
    if check_mode and not entries and not problems:
        return Ended(False, _nothing(params))
    settings = Settings(
        timeout=params["timeout"],
        attempt_timeout=params["attempt_timeout"],
        interval=Interval(**{k: v for k, v in (params.get("interval") or {}).items() if v is not None}),
        fail_fast=params["fail_fast"],
        suspect_after=params["suspect_after"],
        docker_host=params["docker_host"],
        once=check_mode,
        slice=params.get("_slice"),
    )
    checks = []
    defaults = Defaults(settings.timeout, settings.attempt_timeout, params["stable_for"], params["max_restarts"])
    redact: Callable[[str], str] = str
    try:
        checks = parse(entries, defaults)
        redact = Redactor(params.get("redact") or [], [s for check in checks for s in check.secrets])
        if any(check.want for check in checks):
            parse_host(settings.docker_host)
    except BadChecks as exc:
        problems += exc.problems
    except ValueError as exc:
        problems.append(str(exc))
    if problems:
        raise BadChecks(problems)
    return _run(Engine(checks, settings, redact), params, redact, time.monotonic() if began is None else began)


def _run(engine: Engine, params: dict[str, Any], redact: Callable[[str], str], began: float) -> Ended:
    saved = params.get("_state") or {}
    engine.began = _resume(saved, began)
    wall = saved.get("wall") or _wall_clock(engine.now())
    engine.restore(saved.get("wait") or {})
    before = {number: signal.signal(number, _on_signal(engine)) for number in SIGNALS}
    try:
        reason = engine.run()
        bound = 0.0 if reason == "interrupted" else params["diagnostics_timeout"]
        result = {"began": wall, **report(engine, reason, redact, params["log_lines"], bound)}
        if engine.settings.slice is not None:
            result["finished"] = reason != "open"
            if reason == "open":
                result["_state"] = {**_clock_mark(engine), "wall": wall, "wait": engine.dump()}
    finally:
        engine.stop()
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
    return Ended(reason in ("timeout", "permanent", "interrupted"), result)


def _on_signal(engine: Engine) -> Callable[[int, Any], None]:
    def handle(number: int, _frame: Any) -> None:
        engine.interrupt(signal.Signals(number).name)

    return handle


def _clock_mark(engine: Engine) -> dict[str, Any]:
    return {"boot": _boot_id(), "began": engine.began, "elapsed": engine.now()}


def _resume(saved: dict[str, Any], began: float) -> float:
    """When the wait began, on this process's monotonic clock. All processes share that clock until the next boot."""
    if not saved:
        return began
    if saved.get("boot") and saved.get("boot") == _boot_id():
        return float(saved["began"])
    return began - float(saved.get("elapsed") or 0.0)


def _wall_clock(ago: float = 0.0) -> str:
    """This node's time of day ``ago`` seconds ago, as RFC 3339 in UTC."""
    return datetime.fromtimestamp(time.time() - ago, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _boot_id() -> str:
    try:
        with open(BOOT_ID, encoding="ascii") as handle:
            return handle.read().strip()
    except OSError:
        return ""


def load(directory: str, problem: Callable[[str], None], missing_ok: bool = False) -> list[Entry]:
    """The checks of the directory's ``checks.json`` and of every ``*/checks.json`` below it, each with where it stands."""
    if not os.path.isdir(directory):
        if not missing_ok:
            problem(f"checks_from {directory} is not a directory")
        return []
    entries: list[Entry] = []
    below = glob.escape(directory)
    for path in sorted(glob.glob(os.path.join(below, "checks.json")) + glob.glob(os.path.join(below, "*", "checks.json"))):
        try:
            with open(path, encoding="utf-8") as handle:
                items = json.load(handle)
        except (OSError, ValueError, RecursionError) as exc:
            problem(f"{path} cannot be read: {exc}")
            continue
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            problem(f"{path} is not a JSON list of checks")
            continue
        for index, item in enumerate(items):
            checked = ArgumentSpecValidator(CHECK_SPEC).validate(item)
            if checked.error_messages:
                problem(f"{path}[{index}]: {'; '.join(checked.error_messages)}")
            else:
                entries.append((f"{path}[{index}]", checked.validated_parameters))
    return entries


def _bad_numbers(params: dict[str, Any]) -> list[str]:
    problems = []
    interval = params.get("interval") or {}
    for name in ("timeout", "attempt_timeout", "suspect_after", "stable_for", "diagnostics_timeout"):
        low = 0.0 if name in ("suspect_after", "stable_for", "diagnostics_timeout") else 0.001
        if not low <= params[name] < float("inf"):
            problems.append(f"{name} is {params[name]}, wanted a finite number of seconds" + (" above 0" if low else ", 0 or more"))
    for name in ("log_lines", "max_restarts"):
        if params[name] < 0:
            problems.append(f"{name} is {params[name]}, wanted 0 or more")
    low, high, ratio = (interval.get(name, default) for name, default in zip(Interval._fields, Interval()))
    if not (0.001 <= low <= high < float("inf") and 0 <= ratio <= 1):
        problems.append(f"interval is min={low} max={high} ratio={ratio}, wanted 0.001 <= min <= max and ratio between 0 and 1")
    return problems


def _nothing(params: dict[str, Any]) -> dict[str, Any]:
    text = f"there is nothing to check yet in {params.get('checks_from')}"
    return {"began": _wall_clock(), "elapsed": 0.0, "reason": "pending", "failed_checks": [], "msg": text, "checks": {}, "warnings": []}


def without_secrets(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters as the invocation may show them."""
    shown = dict(params)
    shown["checks"] = [_without_secrets(check, params.get("redact") or []) for check in params.get("checks") or []]
    shown.pop("_state", None)
    return shown


def _without_secrets(check: dict[str, Any], patterns: list[str]) -> dict[str, Any]:
    """One check as it was given; what the other types could have been given would make a result three times as long."""
    secrets = secrets_of(check)
    try:
        redact = Redactor(patterns, secrets)
    except ValueError:  # which the wait itself reports
        redact = Redactor(secrets=secrets)
    given: dict[str, Any] = {name: redact(value) if name in ("url", "body") else value for name, value in check.items() if value is not None}
    if "password" in given:
        given["password"] = HIDDEN
    if "headers" in given:
        given["headers"] = {name: HIDDEN if is_secret_name(name) else redact(str(value)) for name, value in given["headers"].items()}
    return given
