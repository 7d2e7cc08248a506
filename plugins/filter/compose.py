# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for what goes into Compose files and other YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._shapes import memory_bytes

# What JSON lets stand for itself and YAML does not take, or takes for a line break (YAML 1.2.2, 5.1 and 5.4).
NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def _plain(value: Any, expands: bool) -> Any:
    """A value in which nothing is left to evaluate, and each $ is doubled where the reader expands a single one; no reader expands keys."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, expands) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, expands) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value).replace("$", "$$") if expands else str(value)


def in_yaml(value: Any, expands: bool = False) -> str:
    """A value as YAML, or JSON, on one line and with quotes, so that it is read back as it is whatever characters it has."""
    try:
        text = json.dumps(_plain(value, expands), ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise AnsibleFilterError(f"in_yaml: {error}") from error
    return NOT_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def in_expanded_yaml(value: Any) -> str:
    """The same for a file whose reader expands variables in values, as Compose and Grafana do: there $$ is a $."""
    return in_yaml(value, expands=True)


def named_volumes(volumes: Iterable[str]) -> list[str]:
    """Names of the named volumes among volumes (list of str, source:target[:mode]), each once, in order.

    Raises on an entry without a target, for which Compose would make a volume without a name at each start.
    """
    found: dict[str, None] = {}
    for volume in volumes:
        source, separator, target = str(volume).partition(":")
        if not separator or not source or not target.startswith("/"):
            raise AnsibleFilterError("volume %r: write it as source:/target or source:/target:ro, the source a path or a volume's name" % volume)
        if not source.startswith(("/", ".", "~")):
            found[source] = None
    return list(found)


def memory_share(size: object, share: float) -> int:
    """The bytes that are a share (float, 0.5 for half) of a size as Compose writes it, such as 512m."""
    found = memory_bytes(size)
    if found is None:
        raise AnsibleFilterError(f"memory {size!r}: write it as Compose does, such as 512m or 2g")
    return int(found * share)


class FilterModule:
    """mlops.stack.named_volumes, mlops.stack.memory_share, mlops.stack.in_yaml and mlops.stack.in_expanded_yaml."""

    def filters(self) -> dict[str, Any]:
        return {"named_volumes": named_volumes, "memory_share": memory_share, "in_yaml": in_yaml, "in_expanded_yaml": in_expanded_yaml}
