"""Checks a registered version and loads it from MLflow, as the training does, and predicts a few held-out rows; prints JSON.

Runs in the training environment of Airflow's image: python - MODEL VERSION.
"""

import json
import os
import sys
import tempfile

from mlflow import MlflowClient
from regmodel_training import data, trust

name, version = sys.argv[1:]
rows = data.load().test_x.head(3)
source = MlflowClient().get_model_version(name, version).source
with tempfile.TemporaryDirectory() as folder:
    predictions = trust.load(name, version, folder, trust.allowed_from(os.environ.get(trust.VARIABLE, ""))).predict(rows)
print(json.dumps({"source": source, "rows": rows.to_dict("records"), "predictions": [float(value) for value in predictions]}))
