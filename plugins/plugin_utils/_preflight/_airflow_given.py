# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of what a team gives Airflow as data, and logins that everybody knows. No message holds a value that may be secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

try:
    from packaging.requirements import InvalidRequirement, Requirement
except ImportError as error:  # ansible-core brings it; a check of imports alone has none
    PACKAGING_MISSING: ImportError | None = error
else:
    PACKAGING_MISSING = None

# Airflow's own rule for connections (airflow/models/connection.py); keys of variables and pools are as long.
NAME = re.compile(r"[\w#!()\-.:/\\]{1,250}")
TEXTS = ("conn_type", "description", "host", "login", "password", "schema")
CONNECTION = (*TEXTS, "port", "extra", "uri")
POOL = ("slots", "description", "include_deferred")


def _unknown(where: str, value: Mapping[str, Any], known: Iterable[str]) -> Iterator[str]:
    for key in sorted(set(map(str, value)) - set(known)):
        yield "%s has %s, which nothing reads; it can have %s" % (where, key, ", ".join(known))


def _whole(value: Any) -> bool:
    """Whether it is a whole number, not true or false."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_object(value: Any) -> bool:
    """Whether it is a dictionary, or JSON of one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return False
    return isinstance(value, Mapping)


def _is_uri(value: Any) -> bool:
    try:
        return bool(re.match(r"[A-Za-z][A-Za-z0-9+._-]*://", str(value))) and urlsplit(str(value)).port != 0
    except ValueError:
        return False


def _connection(where: str, value: Mapping[str, Any]) -> Iterator[str]:
    yield from _unknown(where, value, CONNECTION)
    if value.get("uri"):
        if rest := sorted(set(value) - {"uri", "description"}):
            yield "%s has uri and %s too; give either the uri or the parts" % (where, ", ".join(rest))
        if not _is_uri(value["uri"]):
            yield "%s has a uri that cannot be read; wanted is type://user:password@host:port/schema, with %%XX for special characters" % where
    elif not value.get("conn_type"):
        yield "%s has neither conn_type nor uri; give it one of them" % where
    for key in TEXTS:
        if key in value and not isinstance(value[key], str):
            yield "%s has a %s that is no text; put it in quotes" % (where, key)
    if "port" in value and not (_whole(value["port"]) and 0 < value["port"] < 65536):
        yield "%s has a port that is no number from 1 to 65535" % where
    if "extra" in value and not _is_object(value["extra"]):
        yield "%s has an extra that is no dictionary and no JSON of one" % where


def _variable(where: str, value: Any) -> Iterator[str]:
    if value is None:
        yield "%s has no value; give it one, or remove it" % where


def _pool(where: str, value: Mapping[str, Any]) -> Iterator[str]:
    yield from _unknown(where, value, POOL)
    if not _whole(value.get("slots")) or value["slots"] < -1:
        yield "%s has no number of slots; give it slots, such as 4, or -1 for no limit" % where
    if "description" in value and not isinstance(value["description"], str):
        yield "%s has a description that is no text; put it in quotes" % where
    if "include_deferred" in value and not isinstance(value["include_deferred"], bool):
        yield "%s has an include_deferred that is neither true nor false" % where


def _objects(variable: str, values: Any) -> Iterator[str]:
    if not isinstance(values, Mapping):
        yield "%s is no dictionary; write it as name: value" % variable
        return
    for name, value in values.items():
        where = "%s: %s" % (variable, name)
        if not isinstance(name, str) or not NAME.fullmatch(name):
            yield "%s is no name; it can have 1 to 250 letters, digits and #!()-_.:/\\" % where
        elif variable == "airflow_variables":
            yield from _variable(where, value)
        elif not isinstance(value, Mapping):
            yield "%s is no dictionary" % where
        else:
            yield from (_connection if variable == "airflow_connections" else _pool)(where, value)


def _requirements(lines: Any) -> Iterator[str]:
    if isinstance(lines, str) or not isinstance(lines, Sequence):
        yield "airflow_requirements is no list; write one requirement a line"
        return
    if PACKAGING_MISSING:
        raise PACKAGING_MISSING
    for number, line in enumerate(lines, 1):
        try:
            url = Requirement(str(line)).url
        except InvalidRequirement:
            yield ("airflow_requirements, line %d is no requirement; wanted is a package with versions, such as humanize==4.12.3 "
                   "(where packages come from is the build host's own pip configuration)" % number)
            continue
        if url and "@" in urlsplit(url).netloc:
            yield "airflow_requirements, line %d has a login in its URL, which would stay in the image; put it into the build host's pip configuration" % number


def _flower(given: Mapping[str, Any]) -> Iterator[str]:
    # Flower takes a list of user:password, separated by commas.
    if re.search("[:,]", str(given.get("airflow_flower_username", ""))):
        yield "airflow_flower_username has a colon or a comma, at which Flower would divide it"
    if "," in str(given.get("airflow_flower_password", "")):
        yield "airflow_flower_password has a comma, at which Flower would divide it"


def airflow_problems(given: Mapping[str, Any]) -> list[str]:
    """What is wrong in variables of the role airflow; given: those that the user sets, by name."""
    found: list[str] = []
    for variable in ("airflow_connections", "airflow_variables", "airflow_pools"):
        found += _objects(variable, given.get(variable) or {})
    found += _requirements(given.get("airflow_requirements") or [])
    url = str(given.get("airflow_public_url") or "")
    if url and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", url):
        found.append("airflow_public_url is no address; wanted is https://, a host and perhaps a path, such as https://example.org/airflow")
    return [*found, *_flower(given)]


def login_problems(logins: Iterable[Mapping[str, Any]], address: str) -> Iterator[str]:
    """Passwords that everybody tries first, where ports are published for others.

    logins: dicts with name (what sets the password), user and password; one that is empty is made up.
    """
    for row in logins:
        if row["password"] and str(row["password"]) in ("admin", "airflow", str(row["user"])):
            yield ("%s is the user's own name, admin or airflow, and ports are published on %s, where others reach them; "
                   "give another password, or none to have one made" % (row["name"], address))
