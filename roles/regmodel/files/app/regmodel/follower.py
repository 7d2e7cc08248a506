"""Keeps the served model the one that the alias points to.

One daemon thread looks the alias up and loads what it finds; requests read `status`, an immutable snapshot that is
replaced in one assignment. So a request sees one version from start to end, and loading blocks nobody.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from regmodel.metrics import Metrics
from regmodel.model import Model, Version
from regmodel.registry import NothingToServe, Registry, Unreachable, one_line

log = logging.getLogger("regmodel.follower")

MAX_RETRY_SECONDS = 60.0


@dataclass(frozen=True)
class Status:
    """What is known at one moment.

    model: what is served, or None.
    reason: why there is no model; empty while there is one.
    problem: what is wrong although a model is served (new version failed, MLflow away), or None.
    alias_version: where the alias pointed when last seen, or None.
    loading: the version being loaded, or None.
    polled_at: Unix time of the last answer from MLflow, or None.
    """

    model: Model | None = None
    reason: str = "starting: MLflow has not been asked yet"
    problem: str | None = None
    alias_version: str | None = None
    loading: str | None = None
    polled_at: float | None = None


class Follower:
    """Follows one alias.

    poll_seconds: time between two look-ups. A version that fails to load is tried again after poll_seconds, then
    twice as long each time, at most MAX_RETRY_SECONDS: the cause may be an artifact store that is away.
    """

    def __init__(
        self,
        registry: Registry,
        metrics: Metrics,
        poll_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._now = now
        self._stop = threading.Event()
        self._failed: Version | None = None
        self._failure = ""
        self._failures = 0
        self._retry_at = 0.0
        self.status = Status()

    def start(self) -> None:
        """Follow until `stop`, in a daemon thread: a download under way never delays the end of the process."""
        threading.Thread(target=self._run, name="follower", daemon=True).start()

    def stop(self) -> None:
        """End after the current step."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.step()
            except Exception as error:
                # The last guard of this thread: without it the service would go on with a model that nobody follows.
                log.exception("looking up the alias failed")
                self._away(f"looking up the alias failed: {type(error).__name__}: {one_line(error)}")
            self._stop.wait(self._poll_seconds)

    def step(self) -> None:
        """Look the alias up once, and load or drop a model if that asks for it."""
        try:
            wanted = self._registry.resolve()
        except NothingToServe as nothing:
            self._polled()
            self._forget_failure()
            if self.status.model is not None or self.status.reason != str(nothing):
                log.warning("serving nothing: %s", nothing)
            self._set(Status(reason=str(nothing), polled_at=self.status.polled_at))
            return
        except Unreachable as error:
            self._metrics.registry_errors.inc()
            self._away(f"MLflow unreachable: {error}")
            return
        self._polled()
        served = self.status.model
        if served is not None and served.version == wanted:
            self._forget_failure()
            self._set(replace(self.status, alias_version=wanted.version, problem=None))
        elif wanted == self._failed and self._clock() < self._retry_at:
            # MLflow may have been away in between; what keeps the alias from being served is the failed load.
            self._set(self._with_trouble(self._failure, alias_version=wanted.version))
        else:
            self._load(wanted)

    def _load(self, wanted: Version) -> None:
        if self.status.model is None and wanted != self._failed:
            self._set(replace(self.status, reason=f"loading version {wanted.version}"))
        self._set(replace(self.status, alias_version=wanted.version, loading=wanted.version))
        started = self._clock()
        try:
            model = self._registry.load(wanted)
        except Exception as error:  # a model is somebody's code: it can fail in any way, and each is reported
            self._load_failed(wanted, error)
            return
        seconds = self._clock() - started
        self._forget_failure()
        self._metrics.loads.inc()
        self._metrics.load_seconds.set(seconds)
        old = self.status.model
        self._set(replace(self.status, model=model, reason="", problem=None, loading=None))
        before = f", instead of version {old.version.version}" if old else ""
        log.info("serving %s version %s%s (loaded in %.2f s)", wanted.name, wanted.version, before, seconds)

    def _load_failed(self, wanted: Version, error: Exception) -> None:
        self._failures = self._failures + 1 if wanted == self._failed else 1
        self._failed = wanted
        self._failure = f"model failed to load: version {wanted.version}: {type(error).__name__}: {one_line(error)}"
        delay = min(MAX_RETRY_SECONDS, self._poll_seconds * 2 ** min(self._failures - 1, 16))
        self._retry_at = self._clock() + delay
        self._metrics.load_failures.inc()
        log.error("%s; next try in %.0f s", self._failure, delay, exc_info=error)
        self._set(self._with_trouble(self._failure))

    def _away(self, text: str) -> None:
        if text not in (self.status.reason, self.status.problem):
            log.warning("%s", text)
        self._set(self._with_trouble(text))

    def _with_trouble(self, text: str, **changes: object) -> Status:
        """The status with a trouble said in the right place: `problem` while a model is served, else `reason`."""
        where = "reason" if self.status.model is None else "problem"
        return replace(self.status, **{where: text, "loading": None, **changes})  # type: ignore[arg-type]

    def _polled(self) -> None:
        now = self._now()
        self._metrics.last_poll.set(now)
        self.status = replace(self.status, polled_at=now)

    def _forget_failure(self) -> None:
        self._failed, self._failure, self._failures = None, "", 0

    def _set(self, status: Status) -> None:
        self.status = status
        self._metrics.show(status.model.version if status.model else None, status.alias_version)
