"""A DAG for each worker of a stack of several hosts, `canary_<host>`: its one task waits in the queue that this worker alone consumes.

`playbooks/canary.yml` runs them, and reads each log back through the API: it proves the queue, the execution API, the secrets and
the log server of that host at once. The workers stand in `canary_workers.json` beside this file; without it there is no DAG.
"""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from pathlib import Path

from airflow.sdk import Param, dag, task

WORKERS = Path(__file__).with_name("canary_workers.json")


def canary(host: str, queue: str):
    """The DAG of one worker."""

    @dag(
        dag_id=f"canary_{host}",
        schedule=None,
        catchup=False,
        params={
            "word": Param("", type="string", description="Appears in the log"),
            "seconds": Param(0, type="integer", minimum=0, maximum=240, description="How long the task takes, to see a worker end it"),
        },
        tags=["canary"],
        doc_md=__doc__,
    )
    def made() -> None:
        @task(queue=queue, execution_timeout=timedelta(minutes=5))
        def report(word: str, seconds: str) -> dict[str, str | None]:
            print(f"canary {word} of {host}")
            time.sleep(int(seconds))
            return {"host": host, "address": os.environ.get("MLOPS_HOSTNAME"), "word": word}

        report("{{ params.word }}", "{{ params.seconds }}")

    return made()


if WORKERS.exists():
    for name, only_queue in json.loads(WORKERS.read_text()).items():
        globals()[f"canary_{name}"] = canary(name, only_queue)
