"""What Airflow loads by the entry point that the image's Dockerfile writes."""

import os
from pathlib import Path

from airflow.plugins_manager import AirflowPlugin

from mlops_airflow.doors import HOSTS, LOGIN, URLS, Doors, gateway


class DoorsPlugin(AirflowPlugin):
    name = "mlops_doors"
    fastapi_root_middlewares = [
        {
            "name": "mlops_doors",
            "middleware": Doors,
            "kwargs": {
                "environ": {name: os.environ[name] for name in (HOSTS, LOGIN, *URLS) if name in os.environ},
                "peers": {"127.0.0.1", "::1", gateway(Path("/proc/net/route").read_text())} - {""},
            },
        }
    ]
