# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a person would look up after a failure: the state, the health log and the last log lines of the containers
concerned, fetched all at once and within a bound."""

from __future__ import annotations

import queue
from functools import partial
from typing import Any, Callable

from ansible_collections.mlops.stack.plugins.module_utils._docker._api import parse_time
from ansible_collections.mlops.stack.plugins.module_utils._docker._track import Track, health_of
from ansible_collections.mlops.stack.plugins.module_utils._docker._watch import DockerWatch, Target
from ansible_collections.mlops.stack.plugins.module_utils._net._outcome import NotReady
from ansible_collections.mlops.stack.plugins.module_utils._probe._docker import summary
from ansible_collections.mlops.stack.plugins.module_utils._wait._pool import Pool

MAX_CONTAINERS = 20
LOG_BYTES = 32768
LINE_CHARS = 1000
HEALTH_ENTRIES = 5
HEALTH_BYTES = 1024

Redact = Callable[[str], str]


def describe(target: Target, redact: Redact) -> list[dict[str, Any]]:
    """The containers of a target as last inspected, healthy or not; no call is made."""
    return [_describe_one(inspect, target.track(inspect.get("Id") or ""), redact) for inspect in target.inspects]


def _describe_one(inspect: dict[str, Any], track: Track, redact: Redact) -> dict[str, Any]:
    shown = summary(inspect, track)
    shown["error"] = redact(shown["error"])
    # Of a healthy container it tells nothing, and a result of many checks would be hard to read.
    entries = [] if is_fine(shown) else health_log(inspect)
    shown["health_log"] = [{**entry, "output": redact(entry["output"])} for entry in entries]
    return shown


def is_fine(shown: dict[str, Any]) -> bool:
    """Whether a container, as described, looks like none that a wait fails for."""
    return shown["status"] == "running" and shown["health"] in (None, "healthy")


def health_log(inspect: dict[str, Any]) -> list[dict[str, Any]]:
    """This life's probes, newest last, then those that a restart left over, marked."""
    started = parse_time((inspect.get("State") or {}).get("StartedAt"))
    entries = []
    for entry in (health_of(inspect).get("Log") or [])[-HEALTH_ENTRIES:]:
        before = parse_time(entry.get("Start")) < started
        output = (entry.get("Output") or "").encode()[:HEALTH_BYTES].decode("utf-8", "replace").strip()
        shown = {"start": entry.get("Start"), "exit_code": entry.get("ExitCode"), "output": output}
        entries.append({**shown, "before": True} if before else shown)
    return sorted(entries, key=lambda entry: "before" in entry)


def collect(watch: DockerWatch, targets: list[Target], redact: Redact, log_lines: int, bound: float) -> dict[str, list[dict[str, Any]]]:
    """Descriptions with log tails by target, whatever could be had within ``bound`` seconds."""
    found = {str(target.key): describe(target, redact) for target in targets}
    if watch.hello is None or bound <= 0:
        return found
    wanted = [(shown, inspect) for target in targets for shown, inspect in zip(found[str(target.key)], target.inspects)]
    wanted = sorted(wanted, key=lambda pair: is_fine(pair[0]))[:MAX_CONTAINERS]
    clock = watch.api.clock
    deadline = clock() + bound
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    # Threads of its own: those of the wait may all be busy with a daemon that hangs.
    pool = Pool(MAX_CONTAINERS, "diagnostics", answers.put)
    for index, (_shown, inspect) in enumerate(wanted):
        pool.submit(partial(_fetch, watch, index, inspect, log_lines, deadline, answers))
    missing = set(range(len(wanted)))
    while missing:
        try:
            answer = answers.get(timeout=max(0.0, deadline - clock()))
        except queue.Empty:
            break
        if isinstance(answer, BaseException):
            raise answer
        index, tail, error = answer
        missing.discard(index)
        # In one piece, for a private key has several lines.
        wanted[index][0]["log_tail"] = [line[:LINE_CHARS] for line in redact("\n".join(tail)).splitlines()]
        wanted[index][0]["log_error"] = error
    for index in missing:
        wanted[index][0].update(log_tail=[], log_error=f"the log could not be read within {bound:g} s")
    pool.stop()
    return found


def _fetch(watch: DockerWatch, index: int, inspect: dict[str, Any], lines: int, deadline: float, answers: queue.SimpleQueue[Any]) -> None:
    tty = bool((inspect.get("Config") or {}).get("Tty"))
    try:
        tail = watch.api.log_tail(inspect.get("Id") or "", tty, lines, LOG_BYTES, deadline)
    except NotReady as exc:
        answers.put((index, [], exc.outcome.detail))
    else:
        answers.put((index, tail, None))
