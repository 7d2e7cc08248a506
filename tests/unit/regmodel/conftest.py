"""The service and its training are plain Python packages inside the roles; neither is installed here."""

import sys
from pathlib import Path

ROLES = Path(__file__).resolve().parents[3] / "roles"
for folder in ("regmodel/files/app", "airflow/files/dags"):
    sys.path.insert(0, str(ROLES / folder))
