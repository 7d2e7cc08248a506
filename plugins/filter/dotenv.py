# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for environment files: the text of one to a dictionary and back."""

from __future__ import annotations

import io
import re

from ansible.errors import AnsibleFilterError
from dotenv import dotenv_values

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def from_dotenv(text):
    """Variables of an environment file as a dict of str to str, by python-dotenv's rules, nothing interpolated.

    A byte order mark and CRLF line ends are accepted. A line without "=" has no value and is left out.
    """
    values = dotenv_values(stream=io.StringIO(text.lstrip("\ufeff").replace("\r\n", "\n")), interpolate=False)
    return {name: value for name, value in values.items() if value is not None}


def to_dotenv(variables):
    """Text of an environment file for Compose's env_file: sorted lines, each value in single quotes so that none is expanded.

    Compose's parser takes \\' for a quote inside single quotes. Raises on a name that no shell takes and on a line break.
    """
    lines = []
    for name, value in sorted(variables.items()):
        value = {True: "true", False: "false", None: ""}.get(value, str(value)) if not isinstance(value, str) else value
        if not NAME.match(name):
            raise AnsibleFilterError("environment variable %r: a name is letters, digits and _, and does not start with a digit" % name)
        if "\n" in value:
            raise AnsibleFilterError("environment variable %s: its value has a line break, which an environment file cannot hold" % name)
        lines.append("%s='%s'\n" % (name, value.replace("'", "\\'")))
    return "".join(lines)


class FilterModule:
    """mlops.stack.from_dotenv and mlops.stack.to_dotenv."""

    def filters(self):
        return {"from_dotenv": from_dotenv, "to_dotenv": to_dotenv}
