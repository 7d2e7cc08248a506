# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What happened to one container since the wait began.

Each start of a container wipes exit code, error and OOM mark of the life before (inspect then says 0, false and ""),
so a crash between two looks shows in events and in the restart count only. Tracks are plain data: they pass from one
slice of a wait to the next as JSON.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.mlops.stack.plugins.module_utils._docker._api import parse_time

MAX_KEPT = 60
DEFAULT_RETRIES = 3
# How much later than its StartedAt the event of a start is stamped, at most, in nanoseconds.
STAMPED_WITHIN = 5 * 10**9
# Docker resets the pause between restarts once a container has lived so many seconds (moby, restartmanager: "ten seconds").
SETTLED = 10.0
INSPECTED, HEARD = "S", "T"


class Track:
    """One container's lives, fed with inspect answers (the truth) and events (what inspect forgets)."""

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        self.id = ""
        # What the first inspect showed: restarts and deaths are counted from there.
        self.base_restarts = 0
        self.base_started = 0
        self.base_dead = False
        # Starts in the daemon's time, as [time, INSPECTED or HEARD], in order.
        self.starts: list[list[Any]] = []
        # The life of the last inspect: when it began in the daemon's time, and in which second of the wait it was first seen.
        self.life_started = 0
        self.life_seen = 0.0
        self.restarts_seen = 0
        self.exits: list[dict[str, Any]] = []
        self.last_oom = 0
        self.unhealthy_since: float | None = None
        vars(self).update(state or {})

    def dump(self) -> dict[str, Any]:
        return dict(vars(self))

    def _begin(self, identity: str, restarts: int, started: int, dead: bool) -> None:
        """Another container than before, or the first: its history starts with this inspect."""
        made_anew = bool(self.id)
        vars(self).update(vars(Track()))
        # Made anew while the wait went on: all its restarts are of this wait.
        self.id, self.base_restarts = identity, 0 if made_anew else restarts
        self.base_started, self.base_dead = started, dead

    def see(self, inspect: dict[str, Any], at: float) -> None:
        """Take in an inspect answer, given ``at`` seconds into the wait."""
        state = inspect.get("State") or {}
        restarts = inspect.get("RestartCount") or 0
        started = parse_time(state.get("StartedAt"))
        dead = not state.get("Running") or bool(state.get("Restarting"))
        first = inspect.get("Id") != self.id
        if first:
            self._begin(inspect.get("Id") or "", restarts, started, dead)
        if started:
            self._add_start(started, INSPECTED)
        if started != self.life_started:
            self.life_started, self.life_seen = started, at
        # A restart by hand or by Compose sets Docker's count back to 0.
        self.base_restarts = min(self.base_restarts, restarts)
        self.restarts_seen = max(self.restarts_seen, restarts - self.base_restarts)
        finished = parse_time(state.get("FinishedAt"))
        if dead and started and finished >= started:
            self._add_exit(finished, at, state.get("ExitCode"), bool(state.get("OOMKilled")), first)
        if not is_unhealthy(inspect):
            self.unhealthy_since = None
        elif self.unhealthy_since is None:
            self.unhealthy_since = at

    def lived(self, now: float, daemon_now: int) -> float:
        """Seconds since the last start: as long as it was watched, or by the daemon's clock, where that was read (0: it was not)."""
        watched = now - self.life_seen
        return max(watched, (daemon_now - self.life_started) / 10**9) if daemon_now else watched

    def hear(self, action: str, attributes: dict[str, str], time: int, at: float) -> bool:
        """Take in an event. False: it tells of something before the wait, or it came before."""
        if action == "start":
            return time >= self.base_started and self._add_start(time, HEARD)
        if action == "oom":
            self.last_oom = max(self.last_oom, time)
        if action != "die":
            return time >= self.base_started
        text = attributes.get("exitCode") or ""
        code = int(text) if text.lstrip("-").isdigit() else None
        before = time < self.base_started or (self.base_dead and self._same_life(self.base_started, time))
        # The kernel also kills a child and spares the main process; a death is by OOM only with its signal.
        oom = code == 137 and bool(self.last_oom) and self._same_life(self.last_oom, time)
        return self._add_exit(time, at, code, oom, before, heard=True)

    def _same_life(self, earlier: int, later: int) -> bool:
        """No start lies between; the event of a start is stamped a moment after the StartedAt it belongs to."""
        between = [s for s in self.starts if earlier < s[0] <= later]
        return all(kind == HEARD and self._follows_inspected(time) for time, kind in between[:1]) and len(between) <= 1

    def _follows_inspected(self, time: int) -> bool:
        """Whether the start heard at ``time`` is the one that inspect showed just before."""
        earlier = [s for s in self.starts if s[0] < time]
        if not earlier or earlier[-1][1] != INSPECTED or time - earlier[-1][0] > STAMPED_WITHIN:
            return False
        return not any(earlier[-1][0] < entry["time"] < time for entry in self.exits)

    def _add_start(self, time: int, kind: str) -> bool:
        if [time, kind] in self.starts:
            return False
        self.starts = sorted(self.starts + [[time, kind]])[-MAX_KEPT:]
        lives = sum(1 for t, k in self.starts if k == INSPECTED or not self._follows_inspected(t))
        self.restarts_seen = max(self.restarts_seen, lives - 1)
        return True

    def _add_exit(self, time: int, at: float, code: int | None, oom: bool, before: bool, heard: bool = False) -> bool:
        """One entry a life, whichever of inspect and event tells first; whether this is news of a death in this wait."""
        for entry in self.exits:
            if self._same_life(min(time, entry["time"]), max(time, entry["time"])):
                news = heard and not entry["heard"] and not entry.get("before")
                entry["oom"], entry["heard"] = entry["oom"] or oom, entry["heard"] or heard
                return news
        entry = {"at": round(at, 3), "code": code, "oom": oom, "time": time, "heard": heard}
        if before:
            entry["before"] = True
        self.exits = (self.exits + [entry])[-MAX_KEPT:]
        return not before


def health_of(inspect: dict[str, Any]) -> dict[str, Any]:
    """State.Health; podman's own API calls it Healthcheck. Empty without one."""
    state = inspect.get("State") or {}
    health = state.get("Health") or state.get("Healthcheck") or {}
    return health if health.get("Status") not in (None, "", "none") else {}


def healthcheck_of(inspect: dict[str, Any]) -> dict[str, Any]:
    """The configured healthcheck, the image's included; empty when there is none or it was switched off."""
    check = (inspect.get("Config") or {}).get("Healthcheck") or {}
    test = check.get("Test") or []
    return check if test and test[0] != "NONE" else {}


def is_unhealthy(inspect: dict[str, Any]) -> bool:
    """Genuinely unhealthy: Docker also says so, without a failed probe, of one that exits, restarts or is paused."""
    state = inspect.get("State") or {}
    health = health_of(inspect)
    retries = healthcheck_of(inspect).get("Retries") or DEFAULT_RETRIES
    return (
        health.get("Status") == "unhealthy"
        and state.get("Status") == "running"
        and not state.get("Paused")
        and not state.get("Restarting")
        and (health.get("FailingStreak") or 0) >= retries
    )
