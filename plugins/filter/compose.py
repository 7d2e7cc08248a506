# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for what goes into Compose files."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError


def named_volumes(volumes):
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


class FilterModule:
    """mlops.stack.named_volumes."""

    def filters(self):
        return {"named_volumes": named_volumes}
