"""The DAG in a real Airflow: what it declares, and a run of it from start to end, with a real MLflow."""

import json
import os
import subprocess

import pytest
from regmodel_harness import DAGS, venv

READ = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
before = set(sys.modules)
bag = DagBag(sys.argv[1])
(dag,) = bag.dags.values()
print("RESULT" + json.dumps({
    "errors": bag.import_errors,
    "files": [one.file for one in bag.dagbag_stats],
    "dag": dag.dag_id,
    "schedule": dag.schedule,
    "catchup": dag.catchup,
    "max_active_runs": dag.max_active_runs,
    "doc": dag.doc_md,
    "tags": sorted(dag.tags),
    "params": dag.params.dump(),
    "schemas": {name: dag.params.get_param(name).schema for name in dag.params},
    "tasks": {one.task_id: [sorted(one.upstream_task_ids), one.python, one.execution_timeout.total_seconds()]
              for one in dag.tasks},
    "heavy": sorted({"mlflow", "sklearn", "pandas", "numpy"} & (set(sys.modules) - before)),
}))
"""

RUN = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
dag = DagBag(sys.argv[1]).dags["train_regmodel"]
for task in dag.tasks:
    task.retries = 0
run = dag.test(run_conf=json.loads(sys.argv[2]))
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
with create_session() as session:
    rows = session.query(XComModel).filter_by(run_id=run.run_id, key="return_value").all()
    values = {row.task_id: XComModel.deserialize_value(row) for row in rows}
print("RESULT" + json.dumps({"state": run.state, "run_id": run.run_id, "values": values}))
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    """Runs a script in Airflow's Python, with a database of its own; returns what it says and its log."""
    home = tmp_path_factory.mktemp("airflow")
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")} | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "PYTHONDONTWRITEBYTECODE": "1",
        "REGMODEL_TRAINING_PYTHON": str(venv("runtime") / "python"),
    }
    python = venv("airflow") / "python"
    subprocess.run([python, "-m", "airflow", "db", "migrate"], env=env, check=True, capture_output=True)

    def run(script, *arguments, **environ):
        done = subprocess.run(
            [python, "-c", script, str(DAGS), *arguments],
            env=env | environ,
            capture_output=True,
            text=True,
            timeout=240,
        )
        log = done.stdout + done.stderr
        assert done.returncode == 0, log
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
        return json.loads(line.removeprefix("RESULT")), log

    return run


def test_the_dag_is_read_without_the_libraries_of_its_tasks_and_declares_what_it_should(airflow):
    dag, _ = airflow(READ)
    assert dag["errors"] == {}
    assert [file.rpartition("/")[2] for file in dag["files"]] == ["train_regmodel.py"]
    assert dag["dag"] == "train_regmodel"
    assert (dag["schedule"], dag["catchup"], dag["max_active_runs"]) == (None, False, 1)
    assert "promote" in dag["doc"]
    assert "regmodel" in dag["tags"]
    assert dag["params"]["model_name"] == "regmodel"
    assert dag["params"]["alias"] == "champion"
    assert dag["schemas"]["n_estimators"]["type"] == "integer"
    assert dag["schemas"]["estimator"]["enum"] == ["ridge", "gradient_boosting"]
    assert {task: upstream for task, (upstream, _, _) in dag["tasks"].items()} == {"train": [], "promote": ["train"]}
    assert all(timeout <= 3600 for _, _, timeout in dag["tasks"].values())
    assert dag["heavy"] == []


def test_a_run_trains_registers_and_promotes(airflow, mlflow):
    conf = {"model_name": "from_dag", "experiment": "from_dag", "alpha": 0.5}
    run, log = airflow(RUN, json.dumps(conf), MLFLOW_TRACKING_URI=mlflow.uri)
    assert run["state"] == "success"
    promoted = run["values"]["promote"]
    assert promoted.keys() == {"run_id", "version", "promoted", "rmse", "previous_version", "previous_rmse"}
    assert (promoted["version"], promoted["promoted"]) == ("1", True)
    assert mlflow.alias("from_dag") == "1"
    assert mlflow.version("from_dag", 1)["tags"]["training.key"] == f"train_regmodel/{run['run_id']}"
    parameters = mlflow.call("GET", "runs/get", run_id=promoted["run_id"])["run"]["data"]["params"]
    assert {"key": "alpha", "value": "0.5"} in parameters
    assert "alias champion now points to version 1" in log
    assert "Traceback" not in log


def test_a_run_without_mlflow_fails_and_its_log_says_why(airflow):
    run, log = airflow(RUN, "{}", MLFLOW_TRACKING_URI="http://127.0.0.1:1", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    assert run["state"] == "failed"
    assert run["values"] == {}
    assert "TrackingError: MLflow at http://127.0.0.1:1 gave no usable answer" in log
