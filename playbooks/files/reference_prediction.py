"""Loads a registered version from MLflow, as the training does, and predicts a few held-out rows; prints JSON.

Runs in the training environment of Airflow's image: python - MODEL VERSION.
"""

import json
import sys

from mlflow import MlflowClient, pyfunc
from regmodel_training import data

name, version = sys.argv[1:]
rows = data.load().test_x.head(3)
source = MlflowClient().get_model_version(name, version).source
predictions = pyfunc.load_model(f"models:/{name}/{version}").predict(rows)
print(json.dumps({"source": source, "rows": rows.to_dict("records"), "predictions": [float(value) for value in predictions]}))
