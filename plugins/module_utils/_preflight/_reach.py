# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether other hosts answer: all at once, within a few seconds. Nothing is sent."""

from __future__ import annotations

import threading
import time
from typing import Any

from ansible_collections.mlops.stack.plugins.module_utils._net._connection import Net
from ansible_collections.mlops.stack.plugins.module_utils._net._outcome import NotReady, Outcome, transient

# Answers of a host where nothing listens (yet).
ANSWERS = ("refused", "reset")
SECONDS = 3.0


def look(targets: list[dict[str, Any]], seconds: float = SECONDS) -> list[Outcome | None]:
    """What keeps each target (host, port) from being connected to, or None; in their order, after at most so many seconds."""
    net = Net()
    deadline = net.clock() + seconds
    found: list[Outcome | None] = [transient("timeout", "no answer in time")] * len(targets)

    def connect(number: int, host: str, port: int) -> None:
        try:
            net.connect(host, port, deadline).close()
            found[number] = None
        except NotReady as error:
            found[number] = error.outcome

    threads = [threading.Thread(target=connect, args=(number, target["host"], target["port"]), daemon=True) for number, target in enumerate(targets)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline + 0.2 - time.monotonic()))
    return list(found)


def problem(targets: list[dict[str, Any]], outcome: Outcome) -> str:
    """Why this host cannot use the targets (host, port, what, fix, peer), which are on one host and failed in one way."""
    ports: dict[int, list[str]] = {}
    for target in targets:
        ports.setdefault(target["port"], []).append(target["what"])
    peer, host = targets[0]["peer"], targets[0]["host"]
    needs = "needs %s of %s" % (", ".join("%s on port %d" % (" and ".join(dict.fromkeys(what)), port) for port, what in ports.items()),
                                "%s (%s)" % (peer, host) if peer and peer != host else host)
    if outcome.code.startswith("dns"):
        return "%s, and cannot resolve that name (%s); add it to DNS, or %s" % (needs, outcome.detail, targets[0]["fix"])
    if outcome.code in ANSWERS:
        return "%s, and nothing accepts a connection there (%s); start it, or %s" % (needs, outcome.detail, targets[0]["fix"])
    return "%s, and cannot reach it (%s); let it through firewalls and routes, or %s; mlops_check_network=false leaves this look out" % (
        needs, outcome.detail, targets[0]["fix"])


def unreached(targets: list[dict[str, Any]], seconds: float = SECONDS) -> list[dict[str, Any]]:
    """What this host cannot use of the targets: problem, peer, and whether there was no answer at all. One look for each place.

    targets: host, port, what (in words), fix, open (whether it must accept now), peer (the inventory's host that it is on, or "").
    """
    places = {(target["host"], target["port"]): target for target in targets}
    outcomes = dict(zip(places, look(list(places.values()), seconds)))
    failed: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for target in targets:
        outcome = outcomes[target["host"], target["port"]]
        if outcome is not None and (target["open"] or outcome.code not in ANSWERS):
            failed.setdefault((target["host"], outcome.code, target["fix"]), []).append(target)
    return [{"problem": problem(same, outcomes[host, same[0]["port"]] or transient(code)), "peer": same[0]["peer"], "dropped": code == "timeout"}
            for (host, code, _fix), same in failed.items()]
