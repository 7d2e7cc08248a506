# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether other hosts answer: all at once, within a few seconds. Nothing is sent."""

from __future__ import annotations

import threading
import time
from typing import Any

from ansible_collections.mlops.stack.plugins.module_utils._wait_net import Net
from ansible_collections.mlops.stack.plugins.module_utils._wait_outcome import NotReady, Outcome, transient

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


def problem(target: dict[str, Any], outcome: Outcome | None) -> str | None:
    """Why this host cannot use the target, or None. target: host, port, what (in words), fix, and open (whether it must accept now)."""
    if outcome is None or (outcome.code in ANSWERS and not target["open"]):
        return None
    where = "%s:%d" % (target["host"], target["port"])
    if outcome.code.startswith("dns"):
        return "%s is at %s, and this host cannot resolve that name (%s); add it to DNS, or %s" % (target["what"], where, outcome.detail, target["fix"])
    if outcome.code in ANSWERS:
        return "%s is at %s, and nothing accepts a connection there (%s); start it, or %s" % (target["what"], where, outcome.detail, target["fix"])
    return ("%s is at %s, and this host cannot reach it (%s); let the port through firewalls and routes, or %s; "
            "mlops_check_network=false leaves this look out" % (target["what"], where, outcome.detail, target["fix"]))


def unreached(targets: list[dict[str, Any]], seconds: float = SECONDS) -> list[dict[str, Any]]:
    """All that this host cannot use of the targets: problem, peer, and whether there was no answer at all. One look for each place."""
    places = {(target["host"], target["port"]): target for target in targets}
    outcomes = dict(zip(places, look(list(places.values()), seconds)))
    found = []
    for target in targets:
        outcome = outcomes[target["host"], target["port"]]
        text = problem(target, outcome)
        if text:
            found.append({"problem": text, "peer": target["peer"], "dropped": outcome is not None and outcome.code == "timeout"})
    return found
