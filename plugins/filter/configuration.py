# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that shows what is configured and where each value came from, without secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._secret_names import is_hidden


def _shown(name: str, value: Any, secret: bool = False) -> Any:
    """A value on one line, "set" where it must not be seen. A dictionary is seen where it holds numbers only, a list where it holds none."""
    opaque = (isinstance(value, dict) and not all(isinstance(item, int) for item in value.values())
              or isinstance(value, (list, tuple)) and any(isinstance(item, (dict, list, tuple)) for item in value))
    if secret or is_hidden(name, value) or opaque:
        return "set"
    return " ".join(str(value).split()) or "empty"


def configuration(
    names: Mapping[str, Any], given: Mapping[str, Any], variables: Mapping[str, Any], public: Iterable[str], generated: Iterable[str],
) -> Any:
    """Lines "variable  value  source", one for each name of .env, each other public variable that is set, and each generated secret.

    names: name in .env -> dict with variable and optionally secret, optional, default; given: what the filter given returns;
    variables: the host's variables, without roles' defaults; public: names of the roles' variables; generated: names of generated secrets.
    source: "variable", ".env", "generated" or "default".
    """
    rows = []
    for name, row in names.items():
        secret = bool(row.get("secret"))
        if name in given:
            rows.append((row["variable"], _shown(row["variable"], given[name]["value"], secret), given[name]["source"]))
        elif row.get("optional"):
            rows.append((row["variable"], "not set", "default"))
        elif row.get("default"):
            rows.append((row["variable"], "set" if secret else row["default"], "default"))
        else:
            rows.append((row["variable"], "generated", "generated"))
    told = {row[0] for row in rows} | {row["generated"] for row in names.values() if "generated" in row}
    rows += [(name, _shown(name, variables[name]), "variable") for name in sorted(set(public) - told) if name in variables]
    rows += [("mlops_secrets." + name, "generated", "generated") for name in sorted(set(generated) - told)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return ["%s  %s  %s" % (row[0].ljust(widths[0]), row[1].ljust(widths[1]), row[2]) for row in rows]


class FilterModule:
    """mlops.stack.configuration."""

    def filters(self) -> dict[str, Any]:
        return {"configuration": configuration}
