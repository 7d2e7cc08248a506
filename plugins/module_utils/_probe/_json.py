# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Expectations on a JSON document: a path, an operator, a value."""

from __future__ import annotations

import json
import re
from typing import Any, Callable, NamedTuple, Union

from ansible_collections.mlops.stack.plugins.module_utils._net._outcome import (
    Outcome,
    ready,
    shorten,
    transient,
)

OPERATORS = ("eq", "ne", "in", "regex", "exists", "lt", "gt", "len")

Key = Union[str, int]


class Expectation(NamedTuple):
    path: tuple[Key, ...]
    op: str
    value: Any

    def __str__(self) -> str:
        shown = ".".join(map(str, self.path)) if all("." not in str(k) for k in self.path) else json.dumps(list(self.path))
        return shown or "(document)"


def prepare_json(items: list[dict[str, Any]] | None, problem: Callable[[str], None]) -> list[Expectation]:
    """``path`` is a dotted string, or a list where keys hold dots; '' and [] mean the whole document."""
    expectations = []
    for item in items or []:
        raw, op, value = item.get("path"), item.get("op") or "eq", item.get("value")
        if isinstance(raw, str):
            path: tuple[Key, ...] = tuple(raw.split(".")) if raw else ()
        elif isinstance(raw, (list, tuple)) and all(isinstance(k, (str, int)) for k in raw):
            path = tuple(raw)
        else:
            problem(f"json path {raw!r} is neither a dotted string nor a list of keys and indices")
            continue
        wrong = _wrong_value(op, value)
        if wrong:
            problem(f"json {raw!r} {op}: {wrong}")
            continue
        expectations.append(Expectation(path, op, True if op == "exists" and value is None else value))
    return expectations


def _wrong_value(op: str, value: Any) -> str:
    if op not in OPERATORS:
        return f"op must be one of {', '.join(OPERATORS)}"
    if op == "in" and not isinstance(value, (list, tuple)):
        return "value must be a list"
    if op in ("lt", "gt") and not _is_number(value):
        return "value must be a number"
    if op == "len" and not (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return "value must be a whole number, 0 or more"
    if op == "exists" and not (value is None or isinstance(value, bool)):
        return "value must be true or false"
    if op == "regex":
        try:
            re.compile(value)
        except (re.error, TypeError, RecursionError, OverflowError) as exc:
            return f"value {value!r} is not a regular expression: {exc}"
    return ""


def check_json(expectations: list[Expectation], body: bytes) -> Outcome:
    try:
        document = json.loads(body)
    except RecursionError:
        return transient("json_invalid", "the document is nested too deeply")
    except ValueError as exc:
        return transient("json_invalid", f"{exc}; the body begins with: {shorten(body[:200].decode('utf-8', 'replace'))}")
    for wanted in expectations:
        found, exists = _walk(document, wanted.path)
        if wanted.op == "exists":
            if exists is not wanted.value:
                state = "is missing" if wanted.value else "exists"
                return transient("json_mismatch", f"{wanted} {state}")
        elif not exists:
            return transient("json_mismatch", f"{wanted} is missing, wanted {wanted.op} {json.dumps(wanted.value, default=str)}")
        elif not _holds(wanted.op, found, wanted.value):
            shown = shorten(json.dumps(found, default=str), 100)
            return transient("json_mismatch", f"{wanted} is {shown}, wanted {wanted.op} {json.dumps(wanted.value, default=str)}")
    return ready("ok")


def _walk(node: Any, path: tuple[Key, ...]) -> tuple[Any, bool]:
    for key in path:
        if isinstance(node, dict):
            # JSON keys are strings; YAML may have made a number of one.
            name = key if key in node else str(key)
            if name not in node:
                return None, False
            node = node[name]
        elif isinstance(node, list):
            try:
                node = node[int(key)]
            except (ValueError, IndexError):
                return None, False
        else:
            return None, False
    return node, True


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _same(found: Any, wanted: Any) -> bool:
    """Equal, with true and 1 kept apart as JSON does."""
    if isinstance(found, bool) != isinstance(wanted, bool):
        return False
    return bool(found == wanted)


def _holds(op: str, found: Any, wanted: Any) -> bool:
    if op == "eq":
        return _same(found, wanted)
    if op == "ne":
        return not _same(found, wanted)
    if op == "in":
        return any(_same(found, one) for one in wanted)
    if op == "regex":
        return isinstance(found, str) and re.search(wanted, found) is not None
    if op == "len":
        return isinstance(found, (str, list, dict)) and len(found) == wanted
    if op == "lt":
        return _is_number(found) and found < wanted
    return _is_number(found) and found > wanted
