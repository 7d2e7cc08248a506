# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When each service started, answered and became ready, from the results of ``wait_healthy``. All times are seconds since the
run began, on the controller's clock; nothing but names, codes and times is taken from a result."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.mlops.stack.plugins.module_utils._docker._api import parse_time

# What an attempt finds when nobody answered it: no connection, one that was only cut (a port forwarder's too), or the state of
# a container, which says nothing of the service in it. Every other code is told by an answer.
SILENT = frozenset({
    "refused", "reset", "timeout", "unreachable", "no_socket", "denied", "out_of_files", "os_error", "backlog_full", "stopped",
    "closed", "tls_closed", "tls_error", "dns_error", "dns_timeout", "dns_unknown",
    "docker_denied", "docker_error", "docker_timeout", "docker_unreachable",
    "absent", "created", "dead", "exit_code", "exited", "missing", "no_healthcheck", "paused", "present", "removing", "restart_loop",
    "restarted", "restarting", "running", "stale", "start_failed", "starting", "unhealthy", "unknown",
})
# The longest pause between two attempts, in seconds: of what became ready within it nobody can tell which came first.
TOGETHER = 0.5
NAME_CHARS = 120
INTERNAL = ("life", "since", "until", "took")  # of a service, not for timeline.json


def clean(text: Any) -> str:
    """One printable line of a name that somebody else chose."""
    shown = "".join(c if c.isprintable() else "?" for c in str(text))
    return shown if len(shown) <= NAME_CHARS else shown[: NAME_CHARS - 3] + "..."


def number(value: Any) -> float | None:
    """A number, or None for all else: Ansible may have hidden any value that equals a secret."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


@dataclass
class Service:
    """A container, or a check without one. A time is None where nobody saw it."""

    host: str
    name: str
    container: str | None
    checks: list[str]
    state: str  # ready, pending or failed
    code: str  # why not ready, else empty
    ran_before: bool  # started before the run began
    at_once: bool  # held when it was first asked: nobody saw when it became ready
    since: float  # since when and until when it was watched
    until: float
    took: float  # seconds into its wait at which it was ready
    created: float | None = None
    started: float | None = None
    answered: float | None = None
    ready: float | None = None
    critical: bool = False
    life: str = field(default="", repr=False)  # tells one start of the container from the next


@dataclass
class Wait:
    host: str
    began: float
    elapsed: float
    reason: str


class Timeline:
    """All waits of a run on one axis."""

    def __init__(self, began: str = "") -> None:
        self.began = began
        self.waits: list[Wait] = []
        self.unreachable: list[str] = []
        # What the service of a check waits for, by names of checks; None: nobody says.
        self.waits_for: dict[str, list[str]] | None = None
        self._checks: dict[tuple[str, str], Service] = {}

    @property
    def basis(self) -> str:
        """How the critical path was found."""
        return "inferred from the order of events" if self.waits_for is None else "along what the services are known to wait for"

    def add(self, host: str, result: dict[str, Any], received: float) -> bool:
        """Take in a result that came ``received`` seconds into the run; False for one that tells of no wait."""
        elapsed, checks = number(result.get("elapsed")), result.get("checks")
        if elapsed is None or not isinstance(checks, dict) or not checks:
            return False
        host = clean(host)
        wait = Wait(host, received - elapsed, elapsed, str(result.get("reason")))
        self.waits.append(wait)
        if host in self.unreachable:
            self.unreachable.remove(host)
        wall = parse_time(str(result.get("began")))
        for name, check in checks.items():
            seen = _check(wait, clean(name), check, wall)
            before = self._checks.get((host, seen.name))
            # A later wait only confirms what an earlier one saw come up, unless the container was started again between them.
            if not (before and before.state == "ready" and seen.at_once and seen.life == before.life):
                self._checks[host, seen.name] = seen
        return True

    def lose(self, host: str) -> None:
        """Take in that a host became unreachable; a later result of it takes that back."""
        if clean(host) not in self.unreachable:
            self.unreachable.append(clean(host))

    def services(self) -> list[Service]:
        """One for each container, by host and then as they became ready, the critical path marked."""
        groups: dict[tuple[str, str], list[Service]] = {}
        for seen in self._checks.values():
            key = f"container {seen.container}" if seen.container else f"check {seen.name}"
            groups.setdefault((seen.host, key), []).append(seen)
        services = [_together(group) for group in groups.values()]
        last = {wait.host: wait.reason for wait in self.waits}
        if all(reason == "ready" for reason in last.values()) and not self.unreachable:
            for service in critical_path(services, self.waits_for):
                service.critical = True
        return sorted(services, key=lambda s: (s.host, s.ready is None, s.ready or 0.0, s.name))

    def document(self, services: list[Service]) -> dict[str, Any]:
        """What timeline.json holds."""
        path = sorted((s for s in services if s.critical), key=lambda s: s.ready or 0.0)
        return {
            "version": 1,
            "began": self.began,
            "unit": "seconds since began",
            "waits": [_rounded(asdict(wait)) for wait in self.waits],
            "unreachable": self.unreachable,
            "services": [_rounded({name: at for name, at in asdict(s).items() if name not in INTERNAL}) for s in services],
            "critical_path": {"basis": self.basis, "services": [{"host": s.host, "name": s.name} for s in path]},
        }


def critical_path(services: list[Service], waits_for: dict[str, list[str]] | None) -> list[Service]:
    """What the last service to become ready waited for (or seems to have), first cause first; rules: the documentation of the callback."""
    seen = [s for s in services if s.ready is not None and not s.at_once]
    path: list[Service] = []
    here = _last(seen)
    while here:
        path.insert(0, here)
        here = _last(_before(here, seen) if waits_for is None else _needed(here, seen, waits_for, path))
    return path


def _last(services: list[Service]) -> Service | None:
    """The first of those that became ready together with the last."""
    latest = max((_ready(s) for s in services), default=0.0)
    return min((s for s in services if _ready(s) >= latest - TOGETHER), key=_ready, default=None)


def _needed(service: Service, seen: list[Service], waits_for: dict[str, list[str]], path: list[Service]) -> list[Service]:
    """Those that the service is known to wait for and that became ready while it could wait."""
    names = {name for check in service.checks for name in waits_for.get(check, [])}
    start = service.started if service.started is not None else float("-inf")
    return [s for s in seen if names & {*s.checks} and start <= _ready(s) <= _ready(service) + TOGETHER and not any(s is p for p in path)]


def _before(service: Service, seen: list[Service]) -> list[Service]:
    """Those that the service can have waited for: before it answered or, if there are none, before it was ready."""
    start = service.started if service.started is not None else float("-inf")
    before = [s for s in seen if start <= _ready(s) <= _ready(service) - TOGETHER]
    answered = _ready(service) if service.answered is None else service.answered
    return [s for s in before if _ready(s) <= answered + TOGETHER] or before


def _ready(service: Service) -> float:
    """When a service was seen to become ready; only such services come here."""
    return float(service.ready or 0.0)


def _check(wait: Wait, name: str, check: dict[str, Any], wall: int) -> Service:
    """One check of a wait; ``wall`` is the node's own clock at the wait's beginning, in nanoseconds, 0 if not told."""
    entries = [entry for entry in check.get("timeline") or [] if number(entry.get("at")) is not None]
    one = check.get("container") or {}
    # A check of several containers is as old as the youngest.
    shown = [c for c in check.get("containers") or [one] if parse_time(c.get("started_at"))]
    youngest: dict[str, Any] = max(shown, key=lambda c: parse_time(c["started_at"]), default={})
    moment = parse_time(youngest.get("started_at"))
    started = wait.began + (moment - wall) / 1e9 if moment and wall else None
    at = number(check.get("ready_after")) if check.get("state") == "ready" else None
    ready = None if at is None else wait.began + at
    return Service(
        host=wait.host,
        name=name,
        container=clean(one["name"]) if one.get("name") else None,
        checks=[name],
        state=str(check.get("state")),
        code="" if at is not None else clean((check.get("failure") or check.get("last") or {}).get("code") or "not asked yet"),
        ran_before=started is not None and started < 0,
        at_once=at is not None and all(entry["class"] == "ready" or entry["code"] == "health_status" for entry in entries),
        since=wait.began,
        until=wait.began + wait.elapsed,
        took=at or 0.0,
        created=_created(wait, entries, started),
        started=None if started is None or started < 0 else started,
        answered=_answered(wait, entries, started, ready),
        ready=ready,
        life=str(youngest.get("started_at") or ""),
    )


def _created(wait: Wait, entries: list[dict[str, Any]], started: float | None) -> float | None:
    """When the container that runs was made, if that was heard."""
    times = [wait.began + entry["at"] for entry in entries if entry["class"] == "event" and entry["code"] == "create"]
    return max((t for t in times if started is not None and t <= started), default=None)


def _answered(wait: Wait, entries: list[dict[str, Any]], started: float | None, ready: float | None) -> float | None:
    """The first answer of the container's last life."""
    told = [entry for entry in entries if entry["class"] != "event" and entry["code"] not in SILENT]
    times = [wait.began + entry["at"] for entry in told]
    # What was already known does not stand in the timeline again: then readiness is the first answer that is sure.
    return min((t for t in times if started is None or t >= started), default=ready if told else None)


def _together(group: list[Service]) -> Service:
    """The checks of one container as one service: it is ready with the last of them."""
    worst = max(group, key=lambda s: ("ready", "pending", "failed").index(s.state) if s.state in ("ready", "pending") else 2)
    good = worst.state == "ready"
    merged = Service(**{**vars(worst), "checks": [s.name for s in group]})
    merged.name = worst.name if len(group) == 1 or not worst.container else worst.container
    merged.at_once = all(s.at_once for s in group)
    merged.since, merged.until, merged.took = min(s.since for s in group), max(s.until for s in group), max(s.took for s in group)
    merged.created = max((s.created for s in group if s.created is not None), default=None)
    merged.started = max((s.started for s in group if s.started is not None), default=None)
    merged.answered = min((s.answered for s in group if s.answered is not None), default=None)
    merged.ready = max(_ready(s) for s in group) if good else None
    return merged


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}
