"""What Prometheus sees. Names and labels are documented by their help texts; times are seconds."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from regmodel.model import Version

# From half a millisecond, a linear model's time for one row, to what a client would still wait for.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """All metrics of the service, in a registry of their own."""

    def __init__(self) -> None:
        # A `_created` series for each counter and histogram doubles their number and tells nothing here.
        disable_created_metrics()
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter(
            "regmodel_predict_requests", "Answers of /predict, by HTTP status.", ["status"], registry=registry
        )
        self.seconds = Histogram(
            "regmodel_predict_duration_seconds",
            "Time from the head of a /predict request to its answer.",
            buckets=BUCKETS,
            registry=registry,
        )
        self.rows = Counter("regmodel_predict_rows", "Rows predicted.", registry=registry)
        self.loaded = Gauge("regmodel_model_loaded", "1 while a model is served, else 0.", registry=registry)
        self.version = Gauge(
            "regmodel_model_version", "The registered version that is served; 0 while there is none.", registry=registry
        )
        self.alias_version = Gauge(
            "regmodel_alias_version",
            "The version that the alias pointed to when last seen; 0 if it is not set. "
            "For long unlike regmodel_model_version: a new version does not load.",
            registry=registry,
        )
        self.loads = Counter("regmodel_model_loads", "Versions loaded.", registry=registry)
        self.load_failures = Counter(
            "regmodel_model_load_failures", "Failed tries to load a version.", registry=registry
        )
        self.load_seconds = Gauge(
            "regmodel_model_load_duration_seconds", "Time that the last load took, warm-up included.", registry=registry
        )
        self.last_poll = Gauge(
            "regmodel_registry_last_success_timestamp_seconds",
            "Unix time of MLflow's last answer about the alias; 0 before the first.",
            registry=registry,
        )
        self.registry_errors = Counter(
            "regmodel_registry_errors", "Look-ups of the alias that MLflow did not answer.", registry=registry
        )

    def show(self, served: Version | None, alias_version: str | None) -> None:
        """Set the gauges to what is served and where the alias points."""
        self.loaded.set(0 if served is None else 1)
        self.version.set(0 if served is None else int(served.version))
        self.alias_version.set(int(alias_version or 0))
