# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One check over time: its attempts, its timeline and what they amount to. No threads and no clock in here; every
time is given, in seconds since the wait began."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

from ansible_collections.mlops.stack.plugins.module_utils._net._outcome import (
    PERMANENT,
    READY,
    SUSPECT,
    TRANSIENT,
    Outcome,
    ready,
    shorten,
    transient,
)
from ansible_collections.mlops.stack.plugins.module_utils._wait._spec import Check

HEAD = TAIL = 20
MIN_SUSPECT_ATTEMPTS = 3
_SAVED = ("attempts", "last", "timeline", "dropped", "run_since", "run_count", "ready_since", "timed_out")
# A target is known to be gone when somebody says so; silence or a name that is not found says nothing.
_GONE = ("refused", "unreachable", "no_socket")
_UNKNOWN = ("timeout", "dns_timeout", "dns_error", "dns_unknown", "denied", "out_of_files", "os_error", "stopped")


class Interval(NamedTuple):
    """The pause after an attempt: ratio x (how long things are as they are), between min and max seconds."""

    min: float = 0.02
    max: float = 0.5
    ratio: float = 0.02


def as_absent(outcome: Outcome) -> Outcome:
    """The same finding for a check that waits for its target to go away."""
    if outcome.code in _GONE:
        return ready("absent", outcome.detail)
    if outcome.code in _UNKNOWN:
        return outcome._replace(cls=TRANSIENT)
    return transient("present", f"still answers: {outcome.code} {outcome.detail}".strip())


class CheckState:
    def __init__(self, check: Check, redact: Callable[[str], str]) -> None:
        self.check = check
        self._redact = redact
        self.attempts = 0
        self.last: dict[str, Any] | None = None
        self.timeline: list[dict[str, Any]] = []
        self.dropped = 0
        # The run: since when, and how many attempts in a row, found the same class and code.
        self.run_since = 0.0
        self.run_count = 0
        self.ready_since: float | None = None
        # Why this check can never hold, or that its time is over.
        self.failure: Outcome | None = None
        self.timed_out = False
        # Whether its containers were looked at by this process; until then an answer may come from something else.
        self.link_known = not (check.container or check.project)

        # Scheduling, of this process only.
        self.due: float | None = None
        self.in_flight = False
        self.kicked = False
        self.kicked_at = 0.0
        self.finished_here = 0

    def dump(self) -> dict[str, Any]:
        """What the next slice needs, as JSON takes it."""
        return {**{name: getattr(self, name) for name in _SAVED}, "failure": list(self.failure) if self.failure else None}

    def restore(self, saved: dict[str, Any]) -> None:
        for name in _SAVED:
            if name in saved:
                setattr(self, name, saved[name])
        if saved.get("failure"):
            self.failure = Outcome(*saved["failure"])

    def observe(self, outcome: Outcome, at: float, took: float, suspect_after: float) -> bool:
        """Take in an attempt that ended at ``at``; whether class or code changed."""
        if self.check.absent and self.check.kind != "docker":
            outcome = as_absent(outcome)
        outcome = outcome._replace(detail=self._redact(shorten(outcome.detail)))
        changed = self.last is None or (self.last["class"], self.last["code"]) != (outcome.cls, outcome.code)
        self.attempts += 1
        self.finished_here += 1
        self.last = {
            "at": round(at, 3),
            "class": outcome.cls,
            "code": outcome.code,
            "detail": outcome.detail,
            "took_ms": round(took * 1000, 1),
        }
        if changed:
            self.run_since, self.run_count = at, 0
            self._enter(at, outcome)
        else:
            self._extend(outcome)
        self.run_count += 1
        self._conclude(outcome, at, suspect_after)
        return changed

    def _conclude(self, outcome: Outcome, at: float, suspect_after: float) -> None:
        if outcome.cls == READY:
            self.ready_since = at if self.ready_since is None else self.ready_since
            return
        self.ready_since = None
        if outcome.cls == PERMANENT:
            self.fail(outcome)
        elif outcome.cls == SUSPECT and self.run_count >= MIN_SUSPECT_ATTEMPTS:
            lasted = at - self.run_since
            if lasted >= suspect_after:
                self.fail(outcome._replace(detail=f"{outcome.detail} (unchanged for {lasted:.1f} s, {self.run_count} attempts)"))

    def fail(self, outcome: Outcome) -> None:
        if self.failure is None:
            self.failure = outcome._replace(detail=self._redact(outcome.detail))

    def note(self, at: float, code: str, detail: str) -> None:
        """An event of the container, kept in the timeline between the attempts."""
        self._enter(at, Outcome("event", code, self._redact(shorten(detail))))

    def _enter(self, at: float, outcome: Outcome) -> None:
        entry = {"at": round(at, 3), "class": outcome.cls, "code": outcome.code, "detail": outcome.detail, "count": 1}
        self.timeline.append(entry)
        if len(self.timeline) > HEAD + TAIL:
            del self.timeline[HEAD]
            self.dropped += 1

    def _extend(self, outcome: Outcome) -> None:
        for entry in reversed(self.timeline):
            if (entry["class"], entry["code"]) == (outcome.cls, outcome.code):
                entry["count"] += 1
                entry["detail"] = outcome.detail
                return

    def settled(self) -> bool:
        """Nothing more is to come of it."""
        return self.failure is not None or self.timed_out

    def satisfied(self, now: float) -> bool:
        if self.settled() or self.ready_since is None or not self.link_known:
            return False
        return now - self.ready_since >= self.check.stable_for

    def probing(self) -> bool:
        """Whether attempts go on: a check that holds and need not prove it for a while rests until it is asked again."""
        return self.check.kind != "docker" and not self.settled() and (self.ready_since is None or self.check.stable_for > 0)

    def pause(self, now: float, burden: float, interval: Interval) -> float:
        """Seconds until the next attempt: a small part of how long things are as they are, and at least ``burden``."""
        elapsed = now - max(self.run_since, self.kicked_at)
        return max(min(max(interval.ratio * elapsed, interval.min), interval.max), burden)
