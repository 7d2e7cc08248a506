# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment files: their entries by python-dotenv's rules with references by Compose's, and what is wrong with them. No message holds a value."""

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
# And two words of names: PASSWORT yes, AIRFLOW and MLFLOW no.
SAME_WORD = 0.7


NAMED = r"[A-Za-z_][A-Za-z0-9_]*"
REFERENCE = re.compile(rf"(?P<name>{NAMED})(?:(?P<operator>:?[-+?])(?P<rest>.*))?\Z", re.DOTALL)
ESCAPED = re.compile(r"\\([abfnrtv$\"\\])")
ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "$": "$$", '"': '"', "\\": "\\"}


class Entry(NamedTuple):
    """One assignment; name is None where the line cannot be read, value where there is no "="."""

    line: int
    name: str | None
    value: str | None
    lines: int
    # Whether a comment ends a value without quotes.
    cut: bool
    # Why what it refers to has no value, or None.
    wrong: str | None = None


def closing(text: str, start: int) -> int:
    """Where the brace ends that opened before start, or -1."""
    depth = 1
    for position in range(start, len(text)):
        if text.startswith("${", position):
            depth += 1
        elif text[position] == "}":
            depth -= 1
            if not depth:
                return position
    return -1


def referred(text: str, known: Mapping[str, str]) -> tuple[str, str | None]:
    """(What ${...} with this text between the braces stands for, why it stands for nothing), by Compose's rules."""
    match = REFERENCE.match(text)
    if not match:
        return "", BAD_REFERENCE
    name, operator, rest = match["name"], match["operator"] or "", match["rest"] or ""
    there = name in known and not (operator.startswith(":") and not known[name])
    if operator.endswith("+"):
        return interpolated(rest, known) if there else ("", None)
    if there:
        return known[name], None
    if operator.endswith("-"):
        return interpolated(rest, known)
    return "", ("refers to %s, which %s; give that a value on a line before, write the value itself, or put it in single quotes if the $ belongs to it"
                % (name, "is empty there" if name in known else "no line before gives"))


BAD_REFERENCE = "has a $ that begins no reference; put the value in single quotes if the $ belongs to it, or write $$ for it"


def interpolated(text: str, known: Mapping[str, str]) -> tuple[str, str | None]:
    """(Text with its references replaced, the first thing that is wrong with one), by Compose's rules: $NAME, ${NAME} and its forms
    with :- - :+ + :? ?, and $$ (docs.docker.com, "Interpolation"). known: what stands before."""
    done, wrong, position = "", None, 0
    while position < len(text):
        dollar = text.find("$", position)
        if dollar < 0:
            break
        done += text[position:dollar]
        after = text[dollar + 1:]
        plain = re.match(NAMED, after)
        if after.startswith("$"):
            found, why, position = "$", None, dollar + 2
        elif after.startswith("{") and closing(text, dollar + 2) > 0:
            end = closing(text, dollar + 2)
            found, why = referred(text[dollar + 2:end], known)
            position = end + 1
        elif plain:
            found, why = referred(plain.group(), known)
            position = dollar + 1 + plain.end()
        else:
            found, why, position = "$", BAD_REFERENCE if after.startswith("{") else None, dollar + 1
        done, wrong = done + found, wrong or why
    return done + text[position:], wrong


def meant(original: str, value: str, known: Mapping[str, str]) -> tuple[str, str | None]:
    """(An entry's value as Compose means it, what is wrong with it). original: its lines; value: without references replaced."""
    raw = original.partition("=")[2].lstrip()
    if "$" not in value or raw.startswith("'"):
        return value, None
    if raw.startswith('"'):
        # Escapes first: \\$ is a $ that begins nothing.
        value = ESCAPED.sub(lambda match: ESCAPES[match.group(1)], raw[1:raw.rindex('"')])
    return interpolated(value, known)


def entries(text: str) -> Iterator[Entry]:
    """Assignments of an environment file in their order. A byte order mark and CRLF line ends are accepted."""
    if DOTENV_MISSING:
        raise AnsibleFilterError(
            "environment files need the Python package python-dotenv on the controller (%s); install it beside ansible-core" % DOTENV_MISSING)
    known: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text.lstrip("\ufeff").replace("\r\n", "\n"))):
        if binding.key is None and not binding.error:
            continue
        # python-dotenv counts blank lines before an entry to it.
        body = binding.original.string.lstrip()
        line = binding.original.line + binding.original.string[:len(binding.original.string) - len(body)].count("\n")
        value, wrong = (binding.value, None) if binding.value is None else meant(body, binding.value, known)
        if binding.key is not None and value is not None:
            known[binding.key] = value
        yield Entry(line, binding.key, value, body.rstrip("\n").count("\n") + 1, bool(CUT.match(body)), wrong)


def syntax_problems(path: str, found: list[Entry], names: Iterable[str] | None = None) -> Iterator[str]:
    """Lines that cannot be read, that have no value, and names that stand twice. names: those that count, None for all; what is wrong
    with others harms nobody here."""
    first: dict[str, int] = {}
    for entry in found:
        if names is not None and entry.name is not None and NAME.match(entry.name) and entry.name not in names:
            continue
        where = "%s, line %d" % (path, entry.line)
        if entry.name is None:
            yield "%s: cannot be read; a line is NAME=value, with a value in quotes closed on the same line" % where
        elif not NAME.match(entry.name):
            yield "%s: what stands before = is not a name; a name is letters, digits and _, and does not start with a digit" % where
        elif entry.value is None:
            yield "%s: %s has no =; write %s=value, or remove the line" % (where, entry.name, entry.name)
        elif entry.lines > 1:
            yield "%s: the value of %s goes on to line %d; close its quote on the same line" % (where, entry.name, entry.line + entry.lines - 1)
        if entry.wrong:
            yield "%s: the value of %s %s" % (where, entry.name, entry.wrong)
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


def shortened(word: str, whole: str) -> bool:
    """Whether a word is a part of another, or that with letters left out, as DB is of DATABASE."""
    letters = iter(whole)
    return word in whole or (word[0] == whole[0] and all(letter in letters for letter in word))


def other_words(name: str, other: str) -> bool:
    """Whether a name differs from one that is alike in a whole word, as AIRFLOW_DB_USER from MLFLOW_DB_USER, or has a word more, as
    MLFLOW_DB_USER_RO, so that it is not the other misspelt."""
    one, two = (re.findall(r"[A-Z0-9]+", each.upper()) for each in (name, other))
    if len(one) > len(two):
        left = iter(one)
        return all(word in left for word in two)
    return len(one) == len(two) and not all(shortened(*sorted((first, second), key=len)) or alike(first, second, SAME_WORD)
                                            for first, second in zip(one, two, strict=True))


def name_problems(path: str, found: list[Entry], names: Mapping[str, Any], unused: list[str],
                  given: Iterable[str] = ()) -> tuple[list[str], list[str]]:
    """Names that are not known: (problems: misspelt ones, warnings: the rest). given: names that have a value in any place."""
    problems, warnings = [], []
    there = {entry.name for entry in found if entry.value}.union(given)
    for entry in found:
        if entry.name is None or not NAME.match(entry.name) or entry.name in names:
            continue
        where = "%s, line %d: %s" % (path, entry.line, entry.name)
        near = None if entry.name in unused else nearest(entry.name, [*names, *unused])
        near = None if near in unused else near
        if near and near not in there and not other_words(entry.name, near):
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
            if not entry.wrong:
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
