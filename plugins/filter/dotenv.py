# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for configuration text: environment files to a dictionary and back, and characters that need a backslash."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.mlops.stack.plugins.plugin_utils._dotenv import NAME, entries


def from_dotenv(text: str) -> dict[str, str]:
    """Variables of an environment file as a dict of str to str, by python-dotenv's rules, with references as Compose has them.

    A byte order mark and CRLF line ends are accepted. A line without "=" has no value and is left out.
    """
    return {entry.name: entry.value for entry in entries(text) if entry.name is not None and entry.value is not None}


def to_dotenv(variables: Mapping[str, Any]) -> str:
    """Text of an environment file for Compose's env_file: sorted lines, each value in quotes so that none is expanded.

    Raises on a name that no shell takes.
    """
    lines = []
    for name, value in sorted(variables.items()):
        value = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        if not NAME.match(name):
            raise AnsibleFilterError("environment variable %r: a name is letters, digits and _, and does not start with a digit" % name)
        lines.append("%s=%s\n" % (name, _quoted(value)))
    return "".join(lines)


def environment_files(given: dict[str, dict[str, Any]], own: dict[str, dict[str, Any]], services: list[str]) -> dict[str, str]:
    """Environment files of those services that the team gives something, by name: what the service has of its own, and over it what is given."""
    return {f"{name}.env": to_dotenv({**own.get(name, {}), **given[name]}) for name in services if given.get(name)}


def _quoted(value: Any) -> str:
    """A value as Compose reads it back. In single quotes \\' is a quote and every other backslash itself, so that one cannot stand
    before a quote there; in double quotes \\ takes the meaning of \\, " and $, and \\n is a line break. python-dotenv differs in one case: it
    keeps \\$."""
    if re.search(r"\\(?=[\\']|\Z)|[\r\n]", value):
        return '"%s"' % re.sub(r'([\\"$])', r"\\\1", value).replace("\n", "\\n").replace("\r", "\\r")
    return "'%s'" % value.replace("'", "\\'")


def backslashed(text: str, characters: str) -> str:
    """Text with a backslash before each backslash and each of the characters, as libpq's password file and redis.conf want it."""
    return re.sub("([%s])" % re.escape("\\" + characters), r"\\\1", text)


class FilterModule:
    """mlops.stack.from_dotenv, mlops.stack.to_dotenv, mlops.stack.environment_files and mlops.stack.backslashed."""

    def filters(self) -> dict[str, Any]:
        return {"from_dotenv": from_dotenv, "to_dotenv": to_dotenv, "environment_files": environment_files, "backslashed": backslashed}
