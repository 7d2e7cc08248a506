# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment files: their entries by python-dotenv's rules, and what is wrong with them. No message holds a value."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from ansible.errors import AnsibleFilterError

try:
    from dotenv.parser import parse_stream
except ImportError as error:
    DOTENV_MISSING: ImportError | None = error
else:
    DOTENV_MISSING = None

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
CUT = re.compile(r"[^=]*=\s*[^\s'\"].*?\s#")
# How alike two names are (0 to 1) from which on one is taken for the other misspelt: MLFLOW_DB_PASS yes, MLFLOW_DB no.
ALIKE = 0.82


class Entry(NamedTuple):
    """One assignment; name is None where the line cannot be read, value where there is no "="."""

    line: int
    name: str | None
    value: str | None
    lines: int
    # Whether a comment ends a value without quotes.
    cut: bool


def entries(text: str) -> Iterator[Entry]:
    """Assignments of an environment file in their order, nothing interpolated. A byte order mark and CRLF line ends are accepted."""
    if DOTENV_MISSING:
        raise AnsibleFilterError(
            "environment files need the Python package python-dotenv on the controller (%s); install it beside ansible-core" % DOTENV_MISSING)
    for binding in parse_stream(io.StringIO(text.lstrip("\ufeff").replace("\r\n", "\n"))):
        if binding.key is None and not binding.error:
            continue
        # python-dotenv counts blank lines before an entry to it.
        body = binding.original.string.lstrip()
        line = binding.original.line + binding.original.string[:len(binding.original.string) - len(body)].count("\n")
        yield Entry(line, binding.key, binding.value, body.rstrip("\n").count("\n") + 1, bool(CUT.match(body)))


def syntax_problems(path: str, found: list[Entry]) -> Iterator[str]:
    """Lines that cannot be read, that have no value, and names that stand twice."""
    first: dict[str, int] = {}
    for entry in found:
        where = "%s, line %d" % (path, entry.line)
        if entry.name is None:
            yield "%s: cannot be read; a line is NAME=value, with a value in quotes closed on the same line" % where
        elif not NAME.match(entry.name):
            yield "%s: what stands before = is not a name; a name is letters, digits and _, and does not start with a digit" % where
        elif entry.value is None:
            yield "%s: %s has no =; write %s=value, or remove the line" % (where, entry.name, entry.name)
        elif entry.lines > 1:
            yield "%s: the value of %s goes on to line %d; close its quote on the same line" % (where, entry.name, entry.line + entry.lines - 1)
        if entry.name in first:
            yield "%s: %s stands on line %d too; keep one of the two" % (where, entry.name, first[entry.name])
        elif entry.name:
            first[entry.name] = entry.line


def alike(name: str, other: str, least: float = 0.0) -> float:
    """How alike two names are, 0 to 1, and 0 below the least. Case and underscores count for little."""
    one, two = name.upper(), other.upper()
    if one.replace("_", "") == two.replace("_", ""):
        return 1.0
    match = SequenceMatcher(None, one, two)
    # Upper bounds that cost little come first.
    if match.real_quick_ratio() < least or match.quick_ratio() < least:
        return 0.0
    ratio = match.ratio()
    return ratio if ratio >= least else 0.0


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that this one is a misspelling of, or None."""
    best = max(known, key=lambda other: alike(name, other, ALIKE), default=None)
    return best if best is not None and alike(name, best, ALIKE) else None


def name_problems(path: str, found: list[Entry], names: Mapping[str, Any], unused: list[str]) -> tuple[list[str], list[str]]:
    """Names that are not known: (problems: misspelt ones, warnings: the rest)."""
    problems, warnings = [], []
    for entry in found:
        if entry.name is None or not NAME.match(entry.name) or entry.name in names:
            continue
        where = "%s, line %d: %s" % (path, entry.line, entry.name)
        near = None if entry.name in unused else nearest(entry.name, names)
        if near:
            problems.append("%s is not a known name; did you mean %s?" % (where, near))
        else:
            warnings.append("%s is not used by this stack; docs/configuration.md lists the names that are" % where)
    return problems, warnings


def shape_problem(value: Any, row: Mapping[str, Any], taken: list[str]) -> str | None:
    """Why a value cannot be what its row of the table wants, without the value; or None."""
    if not re.fullmatch(row["pattern"], str(value)):
        return "has not the right shape; wanted is %s" % row["wanted"]
    if str(value) in taken:
        return "is a name that the stack's own PostgreSQL has for something else; choose another than %s" % ", ".join(taken)
    return None


def value_problems(path: str, found: list[Entry], names: Mapping[str, Any], taken: Mapping[str, list[str]]) -> Iterator[str]:
    """Values of known names that are empty or of a wrong shape."""
    for entry in found:
        if entry.name is None or entry.name not in names or entry.value is None or entry.lines > 1:
            continue
        if not entry.value:
            yield "%s, line %d: %s is empty; give it a value, or remove the line" % (path, entry.line, entry.name)
            continue
        why = shape_problem(entry.value, names[entry.name], taken.get(entry.name, []))
        if why:
            yield "%s, line %d: %s %s" % (path, entry.line, entry.name, why)


def cut_warnings(path: str, found: list[Entry], names: Mapping[str, Any]) -> Iterator[str]:
    """Secrets that a comment cuts off, which may be a part of them."""
    for entry in found:
        if entry.cut and names.get(entry.name or "", {}).get("secret"):
            yield "%s, line %d: the value of %s ends before #, where a comment begins; if that is a part of it, put the value in single quotes" % (
                path, entry.line, entry.name)


def variable_problems(given: Mapping[str, Any], names: Mapping[str, Any], taken: Mapping[str, list[str]]) -> Iterator[str]:
    """Ansible variables that say what .env may say, with a value of a wrong shape."""
    for name, what in given.items():
        why = shape_problem(what["value"], names[name], taken.get(name, [])) if what["source"] == "variable" else None
        if why:
            yield "variable %s %s" % (names[name]["variable"], why)
