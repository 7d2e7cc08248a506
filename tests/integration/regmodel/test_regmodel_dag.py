"""The DAG as the image's Airflow reads it; runs of it belong to the scenarios, which have a whole Airflow."""

import json

from regmodel_docker import DAGS, LABELS, docker
from stack_images import image

READ = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
before = set(sys.modules)
bag = DagBag("/opt/airflow/dags")
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
    "stored": sorted(DagSerialization.from_dict(DagSerialization.to_dict(dag)).task_dict),
}))
"""


def test_the_dag_is_read_without_the_libraries_of_its_tasks_and_declares_what_it_should():
    printed = docker(
        "run", "--rm", "--pull", "never", "--network", "none", "--init", *LABELS, "--volume", f"{DAGS}:/opt/airflow/dags:ro", image("airflow"),
        "python", "-B", "-c", READ,
    )
    (line,) = [line for line in printed.splitlines() if line.startswith("RESULT")]
    dag = json.loads(line.removeprefix("RESULT"))
    assert dag["errors"] == {}
    assert sorted(file.rpartition("/")[2] for file in dag["files"]) == ["canary.py", "train_regmodel.py"]
    assert dag["dag"] == "train_regmodel"
    assert (dag["schedule"], dag["catchup"], dag["max_active_runs"]) == (None, False, 1)
    assert "promote" in dag["doc"]
    assert "regmodel" in dag["tags"]
    assert dag["params"]["model_name"] == "regmodel"
    assert dag["params"]["alias"] == "champion"
    assert dag["schemas"]["n_estimators"]["type"] == "integer"
    assert dag["schemas"]["estimator"]["enum"] == ["ridge", "gradient_boosting"]
    assert {task: upstream for task, (upstream, *_rest) in dag["tasks"].items()} == {"train": [], "promote": ["train"]}
    assert {python for _upstream, python, _timeout in dag["tasks"].values()} == {"/opt/training/bin/python"}
    assert all(timeout <= 3600 for *_rest, timeout in dag["tasks"].values())
    assert dag["stored"] == ["promote", "train"]
    assert dag["heavy"] == []
