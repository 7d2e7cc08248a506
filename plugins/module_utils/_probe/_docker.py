# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the state of a container means for a wait: one plain function of inspect answer and history."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

from ansible_collections.mlops.stack.plugins.module_utils._docker._api import parse_time
from ansible_collections.mlops.stack.plugins.module_utils._docker._track import (
    SETTLED,
    Track,
    health_of,
    healthcheck_of,
    is_unhealthy,
)
from ansible_collections.mlops.stack.plugins.module_utils._net._outcome import (
    PERMANENT,
    READY,
    SUSPECT,
    TRANSIENT,
    Outcome,
    permanent,
    ready,
    shorten,
    transient,
)

STATES = ("healthy", "running", "auto", "exited", "absent")
_GRAVITY = (READY, TRANSIENT, SUSPECT, PERMANENT)
SECOND = 10**9
MIN_GRACE = 5.0
# Docker's own defaults of a healthcheck, in nanoseconds.
DEFAULT_INTERVAL = DEFAULT_TIMEOUT = 30 * SECOND
SLOW_INTERVAL = 10 * SECOND


class Want(NamedTuple):
    """What a docker check, or the link of another check, asks of its containers."""

    state: str = "running"
    exit_codes: tuple[int, ...] = (0,)
    unhealthy_grace: float | None = None
    missing_grace: float = 0.0
    started_after: int = 0
    max_restarts: int = 3


class Verdict(NamedTuple):
    """An outcome, and the second of the wait at which it may change without any event."""

    outcome: Outcome
    look_again: float | None = None


def prepare(options: dict[str, Any], problem: Callable[[str], None]) -> dict[str, Any]:
    state = options.get("state") or "auto"
    if state not in STATES:
        problem(f"state {state!r} is not one of {', '.join(STATES)}")
    if bool(options.get("container")) == bool(options.get("project")):
        problem("either container or project is needed, and not both")
    if options.get("service") and not options.get("project"):
        problem("service is given without project")
    if state != "exited" and options.get("exit_codes") is not None:
        problem("exit_codes is only for state: exited")
    grace = options.get("unhealthy_grace")
    if grace in (None, "auto"):
        grace = None
    else:
        try:
            grace = float(grace)
        except (TypeError, ValueError):
            problem(f"unhealthy_grace {grace!r} is neither a number of seconds nor auto")
    want = Want(
        state,
        tuple(options.get("exit_codes") or (0,)),
        grace,
        options.get("missing_grace") or 0.0,
        _started_after(options.get("started_after"), problem),
    )
    return {"want": want}


def _started_after(value: Any, problem: Callable[[str], None]) -> int:
    if value is None:
        return 0
    try:
        return int(float(value) * SECOND)
    except (TypeError, ValueError):
        pass
    time = parse_time(str(value))
    if not time:
        problem(f"started_after {value!r} is neither a time like 2025-01-31T12:00:00Z nor seconds since 1970")
    return time


def judge_all(
    name: str,
    pairs: list[tuple[dict[str, Any], Track]],
    gone: Track | None,
    want: Want,
    now: float,
    missing_since: float,
    podman: bool = False,
    daemon_now: int = 0,
) -> Verdict:
    """One verdict for all containers of a target: the worst, and how many stand like it."""
    if not pairs:
        return _missing(name, gone or Track(), want, now, missing_since)
    verdicts = [judge(inspect, track, want, now, podman, daemon_now) for inspect, track in pairs]
    worst = max(verdicts, key=lambda verdict: _GRAVITY.index(verdict.outcome.cls))
    looks = [verdict.look_again for verdict in verdicts if verdict.look_again is not None]
    outcome = worst.outcome
    short = sum(1 for verdict in verdicts if verdict.outcome.cls != READY)
    if short and len(verdicts) > 1:
        outcome = outcome._replace(detail=f"{outcome.detail} ({short} of {len(verdicts)} containers are not as wanted)")
    return Verdict(outcome, min(looks, default=None))


def judge(inspect: dict[str, Any], track: Track, want: Want, now: float, podman: bool = False, daemon_now: int = 0) -> Verdict:
    """Judge one container that exists, ``now`` seconds into the wait; ``daemon_now`` is that moment by the daemon's clock."""
    name = (inspect.get("Name") or "").lstrip("/") or track.id[:12]
    if want.state == "absent":
        return Verdict(transient("present", f"container {name} is {_status(inspect)}"))
    state = inspect.get("State") or {}
    if want.started_after and parse_time(state.get("StartedAt")) <= want.started_after:
        return Verdict(transient("stale", f"container {name} is {_status(inspect)} since {state.get('StartedAt')}, before started_after"))
    status = state.get("Status")
    if status == "created":
        if state.get("Error"):
            return Verdict(permanent("start_failed", f"container {name} could not be started: {state['Error']}"))
        return Verdict(transient("created", f"container {name} is created, not started"))
    # Restarted by its policy, it may be between two deaths.
    unsettled = SETTLED - track.lived(now, daemon_now) if inspect.get("RestartCount") else 0.0
    if want.state != "exited" and _is_healthy(inspect) and status == "running" and unsettled <= 0:
        return Verdict(ready("healthy" if want.state != "running" else "running"))
    if track.restarts_seen > want.max_restarts and not (want.state == "exited" == status):
        codes = _exit_codes(track) or str(state.get("ExitCode"))
        return Verdict(permanent("restart_loop", f"container {name} was restarted {track.restarts_seen} times; exit codes: {codes}"))
    if status in ("exited", "dead"):
        return Verdict(_exited(name, inspect, want, podman and _may_restart(inspect)))
    if status == "running" and want.state != "exited" and unsettled > 0 and not is_unhealthy(inspect):
        codes = _exit_codes(track) or "not seen"
        detail = f"container {name} was restarted {inspect['RestartCount']} times by its policy, last less than {SETTLED:g} s ago; exit codes: {codes}"
        return Verdict(transient("restarted", detail), now + unsettled)
    return _alive(name, inspect, track, want, now)


def _exit_codes(track: Track) -> str:
    return ", ".join(str(entry["code"]) for entry in track.exits if not entry.get("before"))


def _missing(name: str, track: Track, want: Want, now: float, since: float) -> Verdict:
    if want.state == "absent":
        return Verdict(ready("absent"))
    codes = [e["code"] for e in track.exits if not e.get("before")]
    if want.state == "exited" and codes:
        # Removed after it ended, as with --rm; what it left is in the events.
        outcome = ready("exited", f"exit code {codes[-1]}") if codes[-1] in want.exit_codes else None
        return Verdict(outcome or permanent("exit_code", f"container {name} exited ({codes[-1]}) and was removed"))
    end = since + want.missing_grace
    if now >= end:
        gone = "was removed" if track.id else "does not exist"
        return Verdict(permanent("missing", f"container {name} {gone}"))
    return Verdict(transient("missing", f"container {name} does not exist yet"), end)


def _exited(name: str, inspect: dict[str, Any], want: Want, pending: bool) -> Outcome:
    state = inspect.get("State") or {}
    code = state.get("ExitCode")
    policy = ((inspect.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "no"
    detail = f"container {name} exited ({code}{', out of memory' if state.get('OOMKilled') else ''}), restart policy '{policy}'"
    if state.get("Error"):
        detail += f": {shorten(state['Error'])}"
    if want.state == "exited":
        if code in want.exit_codes:
            return ready("exited", f"exit code {code}")
        return permanent("exit_code", f"{detail}, wanted {', '.join(map(str, want.exit_codes))}")
    return transient("restarting", detail) if pending else permanent("exited", detail)


def _may_restart(inspect: dict[str, Any]) -> bool:
    """Podman shows exited also between two lives; Docker only when no restart is to come."""
    policy = (inspect.get("HostConfig") or {}).get("RestartPolicy") or {}
    if policy.get("Name") in ("always", "unless-stopped"):
        return True
    most = policy.get("MaximumRetryCount") or 0
    failed = (inspect.get("State") or {}).get("ExitCode") != 0
    return policy.get("Name") == "on-failure" and failed and (not most or (inspect.get("RestartCount") or 0) < most)


def _alive(name: str, inspect: dict[str, Any], track: Track, want: Want, now: float) -> Verdict:
    state = inspect.get("State") or {}
    if state.get("Paused"):
        return Verdict(transient("paused", f"container {name} is paused"))
    if state.get("Restarting") or state.get("Status") != "running":
        status = "restarting" if state.get("Restarting") else state.get("Status")
        return Verdict(transient(status or "unknown", f"container {name} is {status} (exit code {state.get('ExitCode')})"))
    if want.state == "exited":
        return Verdict(transient("running", f"container {name} still runs"))
    if want.state == "running":
        return Verdict(ready("running"))
    if not healthcheck_of(inspect) and not health_of(inspect):
        if want.state == "auto":
            return Verdict(ready("running"))
        return Verdict(permanent("no_healthcheck", f"container {name} has no healthcheck: give it one, or use state: running"))
    if track.unhealthy_since is None or not is_unhealthy(inspect):
        status = health_of(inspect).get("Status") or "starting"
        # Docker says unhealthy of a container whose health monitor has just stopped or begun anew; no probe failed.
        return Verdict(transient("starting", f"container {name}: health {status}, streak {health_of(inspect).get('FailingStreak') or 0}"))
    return _unhealthy(name, inspect, track.unhealthy_since, want, now)


def _unhealthy(name: str, inspect: dict[str, Any], since: float, want: Want, now: float) -> Verdict:
    grace = want.unhealthy_grace
    if grace is None:
        check = healthcheck_of(inspect)
        period = (check.get("Interval") or DEFAULT_INTERVAL) + (check.get("Timeout") or DEFAULT_TIMEOUT)
        grace = max(MIN_GRACE, period / SECOND)
    log = health_of(inspect).get("Log") or [{}]
    said = shorten((log[-1].get("Output") or "").strip(), 120) or "nothing"
    detail = f"container {name} is unhealthy, its healthcheck said: {said}"
    if now >= since + grace:
        return Verdict(permanent("unhealthy", f"{detail} (for {now - since:.1f} s, unhealthy_grace is {grace:g} s)"))
    return Verdict(transient("unhealthy", detail), since + grace)


def _is_healthy(inspect: dict[str, Any]) -> bool:
    state = inspect.get("State") or {}
    return health_of(inspect).get("Status") == "healthy" and not state.get("Paused") and not state.get("Restarting")


def _status(inspect: dict[str, Any]) -> str:
    return str((inspect.get("State") or {}).get("Status") or "unknown")


def slow_health(name: str, inspect: dict[str, Any]) -> str:
    """A warning where Docker itself will be late to say healthy; '' where it will not."""
    check = healthcheck_of(inspect)
    interval = check.get("Interval") or DEFAULT_INTERVAL
    if not check or interval <= SLOW_INTERVAL or (check.get("StartPeriod") and check.get("StartInterval")):
        return ""
    if health_of(inspect).get("Status") != "starting":
        return ""
    return f"{name}: the first Docker health probe comes {interval / SECOND:g} s after start; set start_period and start_interval"


def summary(inspect: dict[str, Any], track: Track) -> dict[str, Any]:
    """The part of an inspect answer that belongs into a result: no environment, no mounts."""
    state = inspect.get("State") or {}
    health = health_of(inspect)
    return {
        "id": (inspect.get("Id") or "")[:12],
        "name": (inspect.get("Name") or "").lstrip("/"),
        "image": (inspect.get("Config") or {}).get("Image"),
        "status": state.get("Status"),
        "health": health.get("Status"),
        "exit_code": state.get("ExitCode"),
        "oom": bool(state.get("OOMKilled")),
        "error": state.get("Error") or "",
        "restarts_seen": track.restarts_seen,
        "started_at": state.get("StartedAt"),
        "exits": [{k: v for k, v in entry.items() if k not in ("time", "heard")} for entry in track.exits],
    }
