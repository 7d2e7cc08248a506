# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables that a user sets, against the roles' argument specs: types, choices, shapes, and names that no role has."""

from __future__ import annotations

import glob
import os
import reprlib
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import yaml
from ansible.module_utils.common import validation
from ansible_collections.mlops.stack.plugins.plugin_utils._dotenv import ALIKE, alike
from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._secret_names import is_hidden
from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._shapes import shape_problems

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# What playbooks take beside the roles' variables.
OF_PLAYBOOKS = {"with_monitoring": {"type": "bool"}, "delete_data": {"type": "bool"}, "start_empty": {"type": "bool"},
                "regmodel_serial": {"type": "str"}}
WANTED = {"str": "text", "path": "a path", "int": "a whole number", "float": "a number", "bool": "true or false", "list": "a list",
          "dict": "a dictionary"}
CHECKS = {"int": validation.check_type_int, "float": validation.check_type_float, "bool": validation.check_type_bool}
# How alike the rest of two names is behind the role's name that they share, from which on one may be the other misspelt.
REST_ALIKE = 0.6
# And two whole names, where not even the role's name is right.
WHOLE_ALIKE = 0.9


def options_of(roles: str) -> dict[str, dict[str, Any]]:
    """The public variables of the roles below a directory: name -> its argument spec."""
    found = dict(OF_PLAYBOOKS)
    for path in sorted(glob.glob(os.path.join(roles, "*", "meta", "argument_specs.yml"))):
        with open(path, encoding="utf-8") as handle:
            for entry in yaml.load(handle, LOADER)["argument_specs"].values():
                for name, option in (entry.get("options") or {}).items():
                    found.setdefault(name, option)
    return found


def keys_of(roles: str, names: list[str]) -> dict[str, list[str]]:
    """The keys that dictionaries among the roles' defaults have: variable -> keys."""
    found = {}
    for path in glob.glob(os.path.join(roles, "*", "defaults", "**", "*.yml"), recursive=True):
        with open(path, encoding="utf-8") as handle:
            defaults = yaml.load(handle, LOADER) or {}
        found.update({name: list(defaults[name]) for name in names if isinstance(defaults.get(name), dict)})
    return found


def kind(value: Any) -> str:
    """What a value is, in words."""
    for types, word in ((bool, "true or false"), (int, "a whole number"), (float, "a number"), (str, "text"), (Mapping, "a dictionary"),
                        ((list, tuple), "a list")):
        if isinstance(value, types):
            return word
    return "empty" if value is None else type(value).__name__


def has_type(value: Any, wanted: str) -> bool:
    """Whether roles can use a value as this type. As Ansible's own check, but that nothing becomes a list, a dictionary or text by itself."""
    if wanted in ("str", "path"):
        return isinstance(value, (str, int, float)) and not isinstance(value, bool)
    if wanted in ("list", "dict"):
        return isinstance(value, (list, tuple) if wanted == "list" else Mapping)
    if wanted not in CHECKS:
        return True
    if isinstance(value, bool) and wanted != "bool":
        return False
    try:
        CHECKS[wanted](value)
    except (TypeError, ValueError):
        return False
    return True


def found_words(name: str, value: Any, as_kind: bool = True) -> str:
    """What stands in a variable, without it where it may be a secret. as_kind: say what it is where that does not show."""
    if is_hidden(name, value) or isinstance(value, (Mapping, list, tuple)) or value is None:
        return kind(value)
    shown = reprlib.repr(str(value)) if isinstance(value, str) else str(value).lower()
    return "%s (%s)" % (shown, kind(value)) if as_kind and not isinstance(value, str) else shown


def value_problems(name: str, value: Any, option: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with one variable's value."""
    wanted = option.get("type", "str")
    if not has_type(value, wanted):
        yield "variable %s is %s; wanted is %s%s" % (
            name, found_words(name, value), WANTED.get(wanted, wanted),
            ", in YAML or as -e '{\"%s\": ...}'" % name if wanted in ("list", "dict") and isinstance(value, str) else
            "; put it in quotes" if isinstance(value, bool) and wanted in ("str", "path") else "")
        return
    elements, choices = option.get("elements"), option.get("choices")
    if wanted == "list" and elements:
        for number, item in enumerate(value, 1):
            if not has_type(item, elements):
                yield "variable %s: entry %d is %s; wanted is %s" % (name, number, found_words(name, item), WANTED.get(elements, elements))
    if choices:
        for item in value if wanted == "list" else [value]:
            if item not in choices and has_type(item, elements or wanted):
                near = get_close_matches(str(item), [str(choice) for choice in choices], 1)
                yield "%s %s %s; it can be %s%s" % (
                    name, "holds" if wanted == "list" else "is", repr(str(item)), ", ".join(str(choice) for choice in choices),
                    "; did you mean %s?" % near[0] if near else "")
    for where, found, shape in shape_problems(name, value):
        yield "variable %s %s; wanted is %s" % (
            where, "has not the right shape" if is_hidden(name, found) else "is " + found_words(name, found, as_kind=False), shape)


def key_problems(name: str, value: Mapping[str, Any], keys: list[str]) -> Iterator[str]:
    """A dictionary that takes the place of the default, without keys that roles look up or with keys that none does."""
    missing = [key for key in keys if key not in value]
    for key in value:
        near = None if key in keys else get_close_matches(str(key), keys, 1)
        if near:
            yield "variable %s: %s is not a known key; did you mean %s?" % (name, key, near[0])
    if missing:
        yield ("variable %s lacks %s; it takes the place of the whole default, so give every key, or set the service's own variable instead"
               % (name, ", ".join(missing)))


def known_name(name: str, options: Mapping[str, Any], prefixes: list[str]) -> str | None:
    """The public variable that this name is a misspelling of, or None."""
    prefix = max((prefix for prefix in prefixes if name.startswith(prefix)), key=len, default="")
    best, score = None, 0.0
    for other in options:
        shared = bool(prefix) and other.startswith(prefix)
        likeness = alike(name, other, ALIKE if shared else WHOLE_ALIKE)
        # mlflow_url and mlflow_uid share little but the role's name.
        if likeness > score and (likeness == 1 or not shared or alike(name[len(prefix):], other[len(prefix):]) >= REST_ALIKE):
            best, score = other, likeness
    return best


def variable_problems(given: Mapping[str, Callable[[], Any]], roles: str, removed: Mapping[str, str], whole: list[str]) -> tuple[list[str], list[str]]:
    """(problems, warnings) of the variables that a host's inventory and the command line set.

    given: name -> a call that returns its value, or raises with why there is none; roles: the directory of the roles;
    removed: names of former versions -> what to do instead; whole: dictionaries whose every key is looked up.
    """
    options, keys = options_of(roles), keys_of(roles, whole)
    prefixes = [name + "_" for name in os.listdir(roles) if os.path.isdir(os.path.join(roles, name))]
    problems, unknown = [], []
    for name in sorted(given):
        if name in removed:
            problems.append("variable %s is not read any more; %s" % (name, removed[name]))
        elif name in options:
            try:
                value = given[name]()
            except Exception as error:  # pylint: disable=broad-except
                # A template may raise anything.
                problems.append("variable %s cannot be evaluated: %s; correct it" % (name, " ".join(str(error).split())))
                continue
            found = list(value_problems(name, value, options[name]))
            if not found and name in keys:
                found = list(key_problems(name, value, keys[name]))
            problems += found
        elif not name.startswith(("ansible_", "__")):
            near = known_name(name, options, prefixes)
            if near:
                problems.append("variable %s is not a known name; did you mean %s?" % (name, near))
            elif name.startswith(tuple(prefixes)):
                unknown.append(name)
    warnings = ["no role reads the variable%s %s; the roles' READMEs list those that are read" % ("s" if len(unknown) > 1 else "", ", ".join(unknown))]
    return problems, warnings if unknown else []
