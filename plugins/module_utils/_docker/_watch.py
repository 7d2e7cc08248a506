# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All containers of a wait: one event stream for them together, and an inspect whenever something may have changed.

Events only say *look*; the verdict always comes from an inspect made after them, so replayed, doubled or podman's
chattier events do no harm, and a lost one costs at most the safety inspect's period. Everything here runs in the main
thread except the reader of the stream and the calls themselves.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import Any, Callable, NamedTuple

from ansible_collections.mlops.stack.plugins.module_utils._docker._api import DockerApi, Hello
from ansible_collections.mlops.stack.plugins.module_utils._docker._track import Track
from ansible_collections.mlops.stack.plugins.module_utils._net._outcome import NotReady, Outcome

SAFETY = 5.0
BLIND = 0.25
# Events of the last seconds before the greeting are replayed: its Date is in whole seconds, and the daemon sends the
# stream's headers before it subscribes.
OVERLAP = 2 * 10**9
KEPT_EVENTS = 1024


class Key(NamedTuple):
    """What a check points at: one container by name, or all of a Compose project's service."""

    container: str | None = None
    project: str | None = None
    service: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in self if part)

    def labels(self) -> list[str]:
        labels = [f"com.docker.compose.project={self.project}", "com.docker.compose.oneoff=False"]
        return labels + ([f"com.docker.compose.service={self.service}"] if self.service else [])


class Target:
    """The containers behind one key, as last inspected."""

    def __init__(self, key: Key, saved: dict[str, Any] | None = None) -> None:
        saved = saved or {}
        self.key = key
        self.known = False
        self.error: Outcome | None = None
        self.inspects: list[dict[str, Any]] = []
        self.tracks: dict[str, Track] = {name: Track(state) for name, state in (saved.get("tracks") or {}).items()}
        self.missing_since: float | None = saved.get("missing_since")
        self.inspected_at = -1.0
        self.look_at: float | None = None
        self.in_flight = False
        self.again = False
        self.early: list[dict[str, Any]] = []

    def dump(self) -> dict[str, Any]:
        return {"tracks": {name: track.dump() for name, track in self.tracks.items()}, "missing_since": self.missing_since}

    def track(self, container_id: str) -> Track:
        """The history of a container. Under a fixed name it is one history, which begins anew with a new id."""
        return self.tracks.setdefault(self.key.container or container_id, Track())

    def matches(self, event: dict[str, Any]) -> bool:
        """Exact, for the daemon's own name filter also lets ``web-2`` through for ``web``."""
        attributes = event["attributes"]
        name = self.key.container
        if name:
            known = self.tracks.get(name)
            is_id = len(name) >= 12 and event["id"].startswith(name)
            return is_id or name in (attributes.get("name"), attributes.get("oldName")) or bool(known and known.id == event["id"])
        if attributes.get("com.docker.compose.project") != self.key.project:
            return event["id"] in self.tracks
        return self.key.service in (None, attributes.get("com.docker.compose.service"))

    def take(self, inspects: list[dict[str, Any]], at: float) -> None:
        self.known, self.error, self.inspects, self.inspected_at = True, None, inspects, at
        for inspect in inspects:
            self.track(inspect.get("Id") or "").see(inspect, at)
        if not self.key.container:
            ids = {inspect.get("Id") for inspect in inspects}
            self.tracks = {name: track for name, track in self.tracks.items() if name in ids}
        if inspects:
            self.missing_since = None
        elif self.missing_since is None:
            self.missing_since = at


class DockerWatch:
    """Keeps targets up to date. ``changed(target)`` and ``heard(target, event, fresh)`` are called in the main thread."""

    def __init__(
        self,
        api: DockerApi,
        targets: list[Target],
        clock: Callable[[], float],
        post: Callable[[Callable[[], None]], None],
        submit: Callable[[Callable[[], None]], None],
        changed: Callable[[Target], None],
        heard: Callable[[Target, dict[str, Any], bool], None],
        call_timeout: float,
        saved: dict[str, Any] | None = None,
    ) -> None:
        self.api = api
        self.targets = targets
        self.hello: Hello | None = None
        self._greeted_at = 0.0
        self.live = False
        self.gaps: int = (saved or {}).get("gaps", 0)
        self._clock = clock
        self._post = post
        self._submit = submit
        self._changed = changed
        self._heard = heard
        self._call_timeout = call_timeout
        self._last_event: int = (saved or {}).get("last_event", 0)
        self._seen: dict[tuple[int, str, str], None] = {}
        self._stop = threading.Event()
        self._greeting = False
        self._greet_at: float | None = 0.0

    def dump(self) -> dict[str, Any]:
        return {"gaps": self.gaps, "last_event": self._last_event}

    def stop(self) -> None:
        self._stop.set()

    def next_time(self) -> float | None:
        """When tick has something to do, in seconds of the wait."""
        if self.hello is None:
            return None if self._greeting else self._greet_at
        times = [target.look_at for target in self.targets if target.look_at is not None and not target.in_flight]
        return min(times, default=None)

    def tick(self, now: float) -> None:
        if self.hello is None:
            if not self._greeting and self._greet_at is not None and now >= self._greet_at:
                self._greeting = True
                self._submit(self._greet)
            return
        for target in self.targets:
            if target.look_at is not None and now >= target.look_at and not target.in_flight:
                self.look(target)

    def look(self, target: Target) -> None:
        """Inspect now; at most one inspect under way and one more after it."""
        if self.hello is None:
            return
        if target.in_flight:
            target.again = True
            return
        target.in_flight, target.again = True, False
        self._submit(partial(self._inspect, target))

    def _greet(self) -> None:
        try:
            hello = self.api.hello(self._deadline())
        except NotReady as exc:
            self._post(partial(self._no_greeting, exc.outcome))
        else:
            self._post(partial(self._greeted, hello))

    def _deadline(self) -> float:
        return self.api.clock() + self._call_timeout

    def _no_greeting(self, outcome: Outcome) -> None:
        self._greeting, self._greet_at = False, self._clock() + BLIND
        for target in self.targets:
            target.error = outcome
            self._changed(target)

    def _greeted(self, hello: Hello) -> None:
        self._greeting, self.hello, self._greeted_at = False, hello, self._clock()
        since = self._last_event or hello.date * 10**9 - OVERLAP
        self._submit(partial(self._read_events, since))
        self.look_all()

    def daemon_time(self, now: float) -> int:
        """The daemon's clock at a second of the wait, in nanoseconds, up to a second early; 0 where it told none."""
        date = self.hello.date if self.hello else 0
        return int((date + now - self._greeted_at) * 10**9) if date else 0

    def look_all(self) -> None:
        for target in self.targets:
            self.look(target)

    def _inspect(self, target: Target) -> None:
        deadline = self._deadline()
        try:
            names = [target.key.container] if target.key.container else self.api.find(target.key.labels(), deadline)
            found = [self.api.inspect(name, deadline) for name in names if name]
        except NotReady as exc:
            self._post(partial(self._inspected, target, None, exc.outcome))
        else:
            self._post(partial(self._inspected, target, [one for one in found if one is not None], None))

    def _inspected(self, target: Target, found: list[dict[str, Any]] | None, error: Outcome | None) -> None:
        now = self._clock()
        target.in_flight = False
        target.look_at = now + (SAFETY if self.live and not error else BLIND)
        if found is None:
            target.error = error
        else:
            target.take(found, now)
            early, target.early = target.early, []
            for event in early:
                self._tell(target, event)
        self._changed(target)
        if target.again:
            self.look(target)

    def _read_events(self, since: int) -> None:
        """Takes a thread for itself: read until it breaks, reopen from the last event on."""
        pause = 0.0
        while not self._stop.wait(pause):
            opened = threading.Event()
            try:
                for event in self.api.events(since, self._deadline(), partial(self._opened, opened)):
                    since = max(since, event["time"])
                    self._post(partial(self._event, event))
            except NotReady:
                # What broke it does not matter here: the inspects meet the same daemon and report it.
                pass
            if self._stop.is_set():
                return
            self._post(partial(self._broken, opened.is_set()))
            pause = 0.05 if opened.is_set() else min(2.0, max(BLIND, pause * 2))

    def _opened(self, opened: threading.Event) -> None:
        opened.set()
        self._post(self._went_live)

    def _went_live(self) -> None:
        self.live = True
        self.look_all()

    def _broken(self, was_open: bool) -> None:
        self.live = False
        self.gaps += was_open
        self.look_all()

    def _event(self, event: dict[str, Any]) -> None:
        mark = (event["time"], event["id"], event["action"])
        if mark in self._seen:
            return
        self._seen[mark] = None
        if len(self._seen) > KEPT_EVENTS:
            del self._seen[next(iter(self._seen))]
        self._last_event = max(self._last_event, event["time"])
        for target in self.targets:
            if target.matches(event):
                if target.known:
                    self._tell(target, event)
                else:
                    target.early.append(event)
                self.look(target)

    def _tell(self, target: Target, event: dict[str, Any]) -> None:
        if target.key.container or event["id"] in target.tracks:
            track = target.track(event["id"])
            fresh = track.id == event["id"] and track.hear(event["action"], event["attributes"], event["time"], self._clock())
        else:
            fresh = True
        self._heard(target, event, fresh)
