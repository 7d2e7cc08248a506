# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The wait itself: one loop, in the main thread, that owns all state.

Attempts, inspects and the event stream run in daemon threads and post what they found; the loop takes one message
at a time, or wakes for its next timer. So nothing is locked, nothing sleeps, and a verdict falls the moment its cause
arrives. All times in here are seconds since the wait began, on the monotonic clock.
"""

from __future__ import annotations

import queue
import time
from functools import partial
from typing import Any, Callable, NamedTuple, cast

from ansible_collections.mlops.stack.plugins.module_utils._docker._api import DockerApi
from ansible_collections.mlops.stack.plugins.module_utils._docker._watch import DockerWatch, Key, Target
from ansible_collections.mlops.stack.plugins.module_utils._net._connection import Net
from ansible_collections.mlops.stack.plugins.module_utils._net._outcome import PERMANENT, Outcome
from ansible_collections.mlops.stack.plugins.module_utils._probe._docker import Verdict, Want, judge_all, slow_health
from ansible_collections.mlops.stack.plugins.module_utils._wait._check import CheckState, Interval
from ansible_collections.mlops.stack.plugins.module_utils._wait._pool import Pool
from ansible_collections.mlops.stack.plugins.module_utils._wait._spec import KINDS, Check, Probe

MAX_PROBES = 64
DOCKER_CALLS = 8
# An answer this fresh need not be asked for again in the confirm round.
FRESH = 0.5
# Events after which a container that is up again has not been up all the time, and the states that mind.
ENDS_A_LIFE = ("die", "pause", "destroy")
ALIVE = ("healthy", "running", "auto")
# The loop looks at its clock at least this often, in seconds.
IDLE = 60.0
# The pause after an attempt is at least so many times the CPU time it took: probing takes a tenth of a core at most for
# one check, a quarter for all together, for what it takes is missing to those that are waited for.
CPU_ALONE = 10
CPU_SHARED = 4
# From a target's readiness to the module's result pass one pause, one attempt and this: threads that wake up, and the result's
# JSON. It is taken off the pause, so that pause and attempt are all that a target's readiness waits.
LAG = 0.003

Message = Callable[[], None]


class Settings(NamedTuple):
    timeout: float = 300.0
    attempt_timeout: float = 5.0
    interval: Interval = Interval()
    fail_fast: bool = True
    suspect_after: float = 15.0
    docker_host: str = "unix:///var/run/docker.sock"
    # Probe once and report (check mode).
    once: bool = False
    # Stop after this many seconds and hand the state on.
    slice: float | None = None


class Engine:
    def __init__(
        self,
        checks: list[Check],
        settings: Settings,
        redact: Callable[[str], str] = str,
        clock: Callable[[], float] = time.monotonic,
        began: float | None = None,
        net: Net | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.began = began
        self.net = net or Net(clock=clock)
        self.warnings: list[str] = []
        self.states = [CheckState(check, redact) for check in checks]
        self.targets: dict[Key, Target] = {}
        self.watch: DockerWatch | None = None
        self._limits = {check.name: min(check.timeout, settings.timeout) for check in checks}
        self._busy = 0
        self._saved: dict[str, Any] = {}
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._probes = Pool(MAX_PROBES, "probe", self._crashed)
        self._docker = Pool(DOCKER_CALLS + 1, "docker", self._crashed)
        self._interrupted = ""
        self._round: float | None = None
        self._slice_end = 0.0

    def run(self) -> str:
        """Wait, and return the reason it ended: ready, timeout, permanent, interrupted, pending (check mode) or open."""
        self._start()
        reason = ""
        while not reason:
            now = self.now()
            self._dispatch(now)
            reason = self._verdict(now)
            if not reason:
                self._take_messages(self._next_time(now) - now)
        return reason

    def stop(self) -> None:
        """Cut every connection and let the threads end. Nobody joins them: one may sit in getaddrinfo."""
        if self.watch:
            self.watch.stop()
        self.net.close_all()
        self._probes.stop()
        self._docker.stop()

    def interrupt(self, why: str) -> None:
        """End the wait from a signal handler; SimpleQueue.put may be called there."""
        self._inbox.put(partial(setattr, self, "_interrupted", why))

    def now(self) -> float:
        return self.clock() - (self.began or 0.0)

    @property
    def interrupted(self) -> str:
        return self._interrupted

    def dump(self) -> dict[str, Any]:
        """All that the next slice needs to go on."""
        return {
            "warnings": self.warnings,
            "checks": {state.check.name: state.dump() for state in self.states},
            "targets": [[list(key), target.dump()] for key, target in self.targets.items()],
            "docker": self.watch.dump() if self.watch else None,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from what the slice before dumped; to be called before run."""
        self._saved = saved
        self.warnings = list(saved.get("warnings") or [])
        for state in self.states:
            state.restore((saved.get("checks") or {}).get(state.check.name) or {})

    def target_of(self, check: Check) -> Target | None:
        return self.targets.get(_key(check))

    def _start(self) -> None:
        if self.began is None:
            self.began = self.clock()
        now = self.now()
        self._slice_end = now + (self.settings.slice or 0.0)
        saved = {Key(*key): target for key, target in self._saved.get("targets") or []}
        for state in self.states:
            key = _key(state.check)
            if any(key):
                self.targets.setdefault(key, Target(key, saved.get(key)))
            if state.check.kind != "docker" and not state.settled():
                state.due = now
        if self.targets:
            self.watch = DockerWatch(
                DockerApi(self.settings.docker_host, self.net),
                list(self.targets.values()),
                clock=self.now,
                post=self._inbox.put,
                submit=self._docker.submit,
                changed=self._target_changed,
                heard=self._target_heard,
                call_timeout=self.settings.attempt_timeout,
                saved=self._saved.get("docker"),
            )

    def _take_messages(self, wait: float) -> None:
        try:
            self._inbox.get(timeout=max(0.0, wait))()
            while True:
                self._inbox.get_nowait()()
        except queue.Empty:
            pass

    def _crashed(self, exc: BaseException) -> None:
        self._inbox.put(partial(_raise, exc))

    # Attempts

    def _dispatch(self, now: float) -> None:
        self._busy = 0
        for state in self.states:
            self._busy += state.probing()
            if state.due is not None and now >= state.due and not state.in_flight and not state.settled():
                state.due, state.in_flight, state.kicked = None, True, False
                self._probes.submit(partial(self._attempt, state))
        if self.watch:
            self.watch.tick(now)

    def _attempt(self, state: CheckState) -> None:
        """In a thread: one attempt, bounded by its own deadline."""
        check = state.check
        began, cpu = self.clock(), time.thread_time()
        probe = cast(Probe, KINDS[check.kind].probe)  # only docker checks have none, and they are not due
        outcome = probe(check.prepared, self.net, began + check.attempt_timeout)
        took = self.clock() - began
        self._inbox.put(partial(self._attempted, state, outcome, took, time.thread_time() - cpu))

    def _attempted(self, state: CheckState, outcome: Outcome, took: float, cpu: float) -> None:
        now = self.now()
        state.in_flight = False
        state.observe(outcome, now, took, self.settings.suspect_after)
        if self.settings.once:
            return
        if state.kicked:
            state.due = now
        elif state.probing():
            burden = cpu * max(CPU_ALONE, CPU_SHARED * self._busy)
            state.due = now + max(burden, state.pause(now, burden, self.settings.interval) - LAG)

    def _kick(self, state: CheckState, now: float) -> None:
        if state.check.kind != "docker" and not state.settled() and not self.settings.once:
            state.kicked, state.kicked_at, state.due = True, now, now

    # Containers

    def _linked(self, target: Target) -> list[CheckState]:
        return [state for state in self.states if _key(state.check) == target.key]

    def _target_changed(self, target: Target) -> None:
        now = self.now()
        for state in self._linked(target):
            state.link_known = True
            if state.settled():
                continue
            verdict = self._judge(state.check, target, now)
            if verdict.look_again is not None and target.look_at is not None:
                target.look_at = min(target.look_at, max(now, verdict.look_again))
            if state.check.kind == "docker":
                state.observe(verdict.outcome, now, 0.0, self.settings.suspect_after)
                self._warn(state.check, target)
            elif verdict.outcome.cls == PERMANENT and not state.check.absent:
                state.fail(verdict.outcome)

    def _judge(self, check: Check, target: Target, now: float) -> Verdict:
        if target.error:
            return Verdict(target.error)
        want, watch = cast(Want, check.want), cast(DockerWatch, self.watch)  # who has a target has both
        podman = bool(watch.hello and watch.hello.podman)
        pairs = [(inspect, target.track(inspect.get("Id") or "")) for inspect in target.inspects]
        gone = target.tracks.get(target.key.container or "")
        return judge_all(str(target.key), pairs, gone, want, now, target.missing_since or now, podman, watch.daemon_time(now))

    def _warn(self, check: Check, target: Target) -> None:
        wants_health = check.want is not None and check.want.state in ("healthy", "auto")
        for inspect in target.inspects:
            texts = [slow_health(check.name, inspect)] if wants_health else []
            if (inspect.get("State") or {}).get("Paused"):
                texts.append(f"{check.name}: container {(inspect.get('Name') or '').lstrip('/')} is paused")
            self.warnings += [text for text in texts if text and text not in self.warnings]

    def _target_heard(self, target: Target, event: dict[str, Any], fresh: bool) -> None:
        now = self.now()
        action, attributes = event["action"], event["attributes"]
        code, _colon, said = action.partition(":")
        detail = f"exit code {attributes.get('exitCode')}" if code == "die" else said.strip()
        for state in self._linked(target):
            if state.settled():
                continue
            if fresh:
                state.note(now, code, detail if target.key.container else f"{attributes.get('name')} {detail}".strip())
                if code in ENDS_A_LIFE and state.check.want and state.check.want.state in ALIVE:
                    state.ready_since = None
            self._kick(state, now)

    # Verdicts

    def _verdict(self, now: float) -> str:
        if self._interrupted:
            return "interrupted"
        if self.settings.once:
            return self._verdict_once(now)
        for state in self.states:
            if not state.settled() and now >= self._limits[state.check.name] and not state.satisfied(now):
                state.timed_out = True
        failed = [state for state in self.states if state.settled() and not state.check.optional]
        if failed and self.settings.fail_fast:
            return _reason(failed)
        if all(state.settled() or state.satisfied(now) for state in self.states):
            if self._confirmed(now) or now >= self.settings.timeout:
                return _reason(failed) if failed else "ready"
        else:
            self._round = None
        return "open" if self._slice_over(now) else ""

    def _verdict_once(self, now: float) -> str:
        looked = all(state.attempts and state.link_known for state in self.states)
        if not looked and now < min(self.settings.timeout, 2 * self.settings.attempt_timeout):
            return ""
        good = all(state.ready_since is not None and not state.failure or state.check.optional for state in self.states)
        return "ready" if good else "pending"

    def _confirmed(self, now: float) -> bool:
        """All hold; those whose last answer is old are asked once more, together, before that is believed."""
        if self._round is None:
            self._round = now - FRESH
            for state in self.states:
                if not state.settled() and not self._asked_in_round(state):
                    target = self.target_of(state.check)
                    if state.check.kind == "docker" and target and self.watch:
                        self.watch.look(target)
                    elif not state.in_flight:
                        state.due = now
            self._dispatch(now)
        return all(state.settled() or self._asked_in_round(state) for state in self.states)

    def _asked_in_round(self, state: CheckState) -> bool:
        return state.last is not None and self._round is not None and state.last["at"] >= round(self._round, 3)

    def _slice_over(self, now: float) -> bool:
        """A slice ends on time, except for a check whose one attempt outlasts it: it would never see its answer."""
        if self.settings.slice is None or now < self._slice_end:
            return False
        return all(state.finished_here or not state.in_flight for state in self.states)

    def _next_time(self, now: float) -> float:
        """The next moment at which time alone changes something; what is past was dealt with just now."""
        times = [self.settings.timeout, now + IDLE]
        if self.settings.once:
            times.append(2 * self.settings.attempt_timeout)
        if self.settings.slice is not None:
            times.append(self._slice_end)
        for state in self.states:
            if state.settled():
                continue
            times.append(self._limits[state.check.name])
            if state.due is not None and not state.in_flight:
                times.append(state.due)
            if state.ready_since is not None:
                times.append(state.ready_since + state.check.stable_for)
        docker_time = self.watch.next_time() if self.watch else None
        if docker_time is not None:
            times.append(docker_time)
        return min(time for time in times if time > now)


def _key(check: Check) -> Key:
    return Key(check.container) if check.container else Key(None, check.project, check.service)


def _reason(failed: list[CheckState]) -> str:
    return "permanent" if any(state.failure for state in failed) else "timeout"


def _raise(exc: BaseException) -> None:
    raise exc
