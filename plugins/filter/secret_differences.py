# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that compares the secrets which containers read, by their digests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def _groups(values: Any) -> Any:
    """The places of each digest, the most first; of as many, the one that was seen first."""
    by_digest: dict[str, list[str]] = {}
    for place, digest in values.items():
        by_digest.setdefault(digest, []).append(place)
    return sorted(by_digest.values(), key=lambda places: -len(places))


def secret_differences(hosts: Iterable[str], hostvars: Mapping[str, Any], result: str) -> list[str]:
    """Lines that name each container whose secret is not that of the others, and the option.

    hosts: list of str; result: name of the variable that each registered of the module airflow_secret_digests.
    """
    found = [(host, hostvars[host].get(result) or {}) for host in hosts]
    lines = ["%s on %s cannot be asked: %s" % (service, host, why) for host, what in found for service, why in (what.get("failures") or {}).items()]
    options: dict[str, dict[str, str]] = {}
    for host, what in found:
        for service, digests in (what.get("digests") or {}).items():
            for option, digest in digests.items():
                if digest is None:
                    lines.append("%s on %s cannot read its %s" % (service, host, option))
                else:
                    options.setdefault(option, {})["%s on %s" % (service, host)] = digest
    for option, values in options.items():
        most, *others = _groups(values)
        rest = " and %d more" % (len(most) - 1) if len(most) > 1 else ""
        lines += ["%s has another %s than %s%s" % (place, option, most[0], rest) for places in others for place in places]
    return lines


class FilterModule:
    """mlops.stack.secret_differences."""

    def filters(self) -> dict[str, Any]:
        return {"secret_differences": secret_differences}
