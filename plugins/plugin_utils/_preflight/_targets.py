# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host will need of other hosts and of external services, as places to connect to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._shapes import is_loopback

Look = Callable[[str, str], Any]


def place_of(row: Mapping[str, Any], look: Callable[[str], Any]) -> tuple[str, int | None] | None:
    """Host and port that the user's variables give for a row, or None where they give none. A port of None is the part's own."""
    value = look(row["variable"])
    if not value:
        return None
    if row["form"] == "url":
        url = urlsplit(str(value))
        return (url.hostname, url.port or {"http": 80, "https": 443}[url.scheme]) if url.hostname and url.scheme in ("http", "https") else None
    if row["form"] == "host_port":
        host, _colon, port = str(value).rpartition(":")
        return (host, int(port)) if host and port.isdecimal() else None
    port = look(row["port"])
    return str(value), int(port) if str(port).isdecimal() else None


def address_of(host: str, look: Look) -> str:
    """Where the other hosts find a host."""
    return str(look(host, "mlops_address") or look(host, "ansible_host") or host)


def targets(parts: Mapping[str, Any], here: str, groups: Mapping[str, list[str]], look: Look) -> Iterator[dict[str, Any]]:
    """Places that programs on the host here will connect to, on other hosts: host, port, what, fix, open, peer.

    parts: rows (what which group needs), services (where each part is), ports (their default ports), scraped (what Prometheus on this
    host asks). look: (host, variable) -> its value, or None where the inventory does not set it.
    """
    members = {host for service in parts["services"].values() for host in groups.get(service["group"]) or []}
    addresses = {name: host for host in members for name in (host, look(host, "ansible_host"), look(host, "mlops_address")) if name}
    for row in parts["rows"]:
        if any(here in (groups.get(group) or []) for group in row["groups"]):
            # A port that is none is told by its variable.
            with contextlib.suppress(ValueError, TypeError):
                yield from _of_row(row, parts, here, groups, look, addresses)
    for part, found in parts["scraped"].items():
        for target in found:
            peer = target["labels"]["instance"]
            if peer != here:
                yield _part(peer, target["targets"][0].rpartition(":")[2], "%s for Prometheus" % part, look)


def _of_row(row: Mapping[str, Any], parts: Mapping[str, Any], here: str, groups: Mapping[str, list[str]], look: Look,
            addresses: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The place that a row of parts stands for, if it is on another host. addresses: names and addresses of hosts -> host."""
    service = parts["services"].get(row.get("part"), {})
    place = place_of(row, lambda name: look(here, name))
    if place:
        host, port = place[0], place[1] or parts["ports"].get(row.get("part"))
        peer = addresses.get(host)
        if port and peer != here and not is_loopback(host) and host not in [known["service"] for known in parts["services"].values()]:
            # What is another host's part may not run yet; what is nobody's must.
            yield {"host": host, "port": int(port), "what": row["what"], "fix": "correct " + row["variable"], "open": peer is None, "peer": peer or ""}
    elif service and here not in (groups.get(service["group"]) or [here]):
        peer = groups[service["group"]][0]
        yield _part(peer, look(peer, service["variable"]) or parts["ports"][row["part"]], row["what"], look)


def _part(peer: str, port: Any, what: str, look: Look) -> dict[str, Any]:
    """A part on another host of the stack."""
    return {"host": address_of(peer, look), "port": int(port), "what": what,
            "fix": "correct mlops_address of %s" % peer, "open": False, "peer": peer}
