"""Celery's configuration, with a sign of life and without tokens in what is shown: ``[celery] celery_config_options``."""

from pathlib import Path
from typing import Any

from airflow.providers.celery.executors.default_celery import DEFAULT_CELERY_CONFIG
from celery.signals import before_task_publish, celeryd_init, heartbeat_sent

CELERY_CONFIG = DEFAULT_CELERY_CONFIG
HEARTBEAT = Path("/run/airflow/worker-heartbeat")


# Sent by a worker alone, every two seconds while its connection to the broker holds; others only import this.
@heartbeat_sent.connect(weak=False)
def touch(**_kwargs: Any) -> None:
    HEARTBEAT.touch()


# The argument of a message is a workload with the token by which its task speaks to the execution API. Celery's events carry arguments
# as text, and Flower shows them: to everybody where it asks for no login.
@before_task_publish.connect(weak=False)
def hide_arguments(headers: dict[str, Any], **_kwargs: Any) -> None:
    headers.update(argsrepr="(hidden)", kwargsrepr="(hidden)")


# A worker also tells them to whoever asks what it is at, Flower again, unless the safe form is wanted, which is the text above.
@celeryd_init.connect(weak=False)
def answer_safely(**_kwargs: Any) -> None:
    from celery.worker.request import Request

    told = Request.info
    Request.info = lambda request, safe=True: told(request, safe=True)
