"""deploy_mark: what a run changed, by role, as Prometheus reads it."""

import json
import pathlib
import subprocess
import sys

from ansible_collections.mlops.stack.plugins.action.template_tree import complete_services
from ansible_collections.mlops.stack.plugins.modules import deploy_mark
from prometheus_client.parser import text_string_to_metric_families

SERVICES = {"airflow": "services: {airflow-worker: {image: x, secrets: [a]}, flower: {image: x}}\nsecrets: {a: {file: ./secrets/a}}\nvolumes: {logs: {}}",
            "mlflow": "services: {mlflow: {image: y}}"}


def project(tmp_path):
    for role, text in SERVICES.items():
        (tmp_path / role).mkdir()
        (tmp_path / role / "services.yaml").write_text(complete_services(text, {}, {"logging": {"options": {"max-size": "1m"}}}, "s", role))
    return str(tmp_path)


def touched(*services):
    return [{"what": "container", "id": f"mlops-{service}-1", "status": "Recreated"} for service in services]


def test_services_are_found_in_the_files_of_their_roles(tmp_path):
    assert deploy_mark.roles_by_service(project(tmp_path)) == {"airflow-worker": "airflow", "flower": "airflow", "mlflow": "mlflow"}
    assert deploy_mark.roles_by_service(str(tmp_path / "none")) == {}


def test_a_mark_names_services_and_else_files(tmp_path):
    roles = deploy_mark.roles_by_service(project(tmp_path))
    files = ["airflow/services.yaml", "mlflow/dags/a.py", "mlflow/.delivered.json", "compose.yaml"]
    found = deploy_mark.marks(files, [*touched("flower", "airflow-worker", "gone"), {"what": "network", "id": "mlops"}], "mlops", roles)
    assert found == {"airflow": ["airflow-worker", "flower"], "mlflow": ["dags/a.py"]}
    assert deploy_mark.marks([], [], "mlops", roles) == {}


def test_prometheus_reads_the_mark():
    text = deploy_mark.exposition("web", ["a\"b\\c", *"defghi"], 1000.5, 2.25)
    samples = {sample.name: sample for family in text_string_to_metric_families(text) for sample in family.samples}
    assert samples["mlops_deploy_timestamp_seconds"].value == 1000.5 and samples["mlops_deploy_duration_seconds"].value == 2.25
    assert samples["mlops_deploy_info"].labels == {"role": "web", "what": "a\"b\\c, d, e, f, g and 2 more"}


def test_a_run_writes_the_mark_under_the_name_that_the_collector_reads(tmp_path):
    arguments = {"project": project(tmp_path), "name": "mlops", "directory": str(tmp_path / "textfile"), "files": ["airflow/dags/a.py"],
                 "duration": 2.5}
    done = subprocess.run([sys.executable, "-m", deploy_mark.__name__], input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}), text=True,
                          cwd=pathlib.Path(__file__).resolve().parents[2] / ".collections", capture_output=True, check=True)
    assert json.loads(done.stdout)["changed"]
    assert [path.name for path in (tmp_path / "textfile").iterdir()] == ["mlops_deploy_airflow.prom"]
    mark = tmp_path / "textfile/mlops_deploy_airflow.prom"
    assert mark.stat().st_mode & 0o777 == 0o644
    assert {family.name for family in text_string_to_metric_families(mark.read_text())} >= {"mlops_deploy_info"}
