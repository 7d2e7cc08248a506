"""``python -m regmodel``: check the settings, then serve until SIGTERM."""

from __future__ import annotations

import logging
import os
import signal
import sys

import uvicorn

from regmodel.api import create_app
from regmodel.connections import LimitedProtocol
from regmodel.follower import Follower
from regmodel.metrics import Metrics
from regmodel.registry import MlflowRegistry
from regmodel.settings import SettingsError, prepare_mlflow_client, settings_from_env

# Requests under way at SIGTERM get this long; Docker's usual grace period is ten seconds.
SHUTDOWN_SECONDS = 8
PROBED = ("/health", "/ready", "/metrics")


class _NoProbes(logging.Filter):
    """Keeps probes out of the access log, where they would hide everything else; the follower logs why /ready is not."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not isinstance(record.args, tuple) or len(record.args) < 5:  # uvicorn's five values
            return True
        return str(record.args[2]).partition("?")[0] not in PROBED


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"no_probes": {"()": _NoProbes}},
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {
        "line": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "line"},
        "access": {
            "class": "logging.StreamHandler",
            "stream": "ext://sys.stdout",
            "formatter": "line",
            "filters": ["no_probes"],
        },
    },
    "loggers": {"uvicorn.access": {"handlers": ["access"], "propagate": False}},
    "root": {"handlers": ["line"], "level": "INFO"},
}


def main() -> int:
    """Serve. Returns 2 if the settings cannot be used, after saying why."""
    try:
        settings = settings_from_env(os.environ)
        prepare_mlflow_client(os.environ)
    except SettingsError as error:
        for line in str(error).splitlines():
            print(f"regmodel: {line}", file=sys.stderr)
        return 2
    # uvicorn raises the signal once more after it has shut down in good order; that is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    metrics = Metrics()
    registry = MlflowRegistry(settings.model_name, settings.alias, settings.allowed_flavors)
    follower = Follower(registry, metrics, settings.poll_seconds)
    uvicorn.run(
        create_app(settings, follower, metrics),
        host=settings.host,
        port=settings.port,
        log_config=LOGGING,
        server_header=False,
        http=LimitedProtocol,
        ws="none",
        # A proxy in front tells where a request came from; its address among containers is nobody's to know beforehand.
        forwarded_allow_ips="*" if settings.public_url else None,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
