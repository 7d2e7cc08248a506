"""Celery's configuration, with a sign of life: ``[celery] celery_config_options``."""

from pathlib import Path

from airflow.providers.celery.executors.default_celery import DEFAULT_CELERY_CONFIG
from celery.signals import heartbeat_sent

CELERY_CONFIG = DEFAULT_CELERY_CONFIG
HEARTBEAT = Path("/run/airflow/worker-heartbeat")


# Sent by a worker alone, every two seconds while its connection to the broker holds; others only import this.
@heartbeat_sent.connect(weak=False)
def touch(**_kwargs):
    HEARTBEAT.touch()
