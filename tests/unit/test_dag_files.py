"""What is said of a team's DAG files that Airflow 3 cannot load, by the ruff that the controller has."""

import pathlib
import shutil
import sys

import pytest
from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._dag_files import Finding, dag_warnings, findings, import_warning

ROOT = pathlib.Path(__file__).resolve().parents[2]
AIRFLOW_2 = ROOT / "molecule/airflow/airflow2"


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(AIRFLOW_2, tmp_path / "dags/team")
    (tmp_path / "dags/unclosed.py").write_text("from airflow.sdk import dag\n\n\n@dag(\ndef unclosed():\n    pass\n")
    (tmp_path / "dags/latin.py").write_bytes(b"# airflow dag\nNAME = '\xe9'\n")
    return str(tmp_path / "dags")


def test_what_a_run_says(folder):
    said = list(dag_warnings(folder, every=False))
    assert [line.split(" does not fit Airflow 3: ")[0] for line in said] == [
        f"airflow_dags_dir: {name}.py" for name in ("latin", "team/nightly_etl", "team/sales_report", "team/warehouse", "unclosed")]
    latin, etl, report, warehouse, unclosed = said
    assert "did not contain valid UTF-8" in latin
    assert "line 11: `airflow.operators.dummy_operator.DummyOperator` is moved into `standard` provider in Airflow 3.0" in etl
    assert "use `EmptyOperator` from `airflow.providers.standard.operators.empty`" in etl
    assert "`airflow.utils.dates.days_ago` is removed" in etl
    assert "line 13: `schedule_interval` is removed in Airflow 3.0; Use `schedule` instead" in report and "`max_active_tasks`" in report
    assert "`airflow.contrib.operators.gcs_to_bq.GoogleCloudStorageToBigQueryOperator` is removed in Airflow 3.0" in warehouse
    assert "SubDagOperator" in warehouse
    assert "line 4: " in unclosed


def test_a_look_says_what_will_be_dropped_too(folder):
    more = set(dag_warnings(folder, every=True)) - set(dag_warnings(folder, every=False))
    assert {line.split(": ")[1].split()[0] for line in more} == {f"team/{name}.py" for name in ("nightly_etl", "sales_report", "still_served", "warehouse")}
    assert all(" uses what Airflow 3 will drop: " in line for line in more)


def test_the_shipped_dags_are_clean():
    assert list(dag_warnings(str(ROOT / "roles/airflow/files/dags"), every=True)) == []
    assert list(dag_warnings(str(ROOT / "molecule/airflow/dags"), every=True)) == []


def test_comments_and_the_teams_own_settings_hide_nothing(tmp_path):
    (tmp_path / "ruff.toml").write_text("[lint]\nselect = ['E501']\n")
    (tmp_path / "one.py").write_text("from airflow.utils.dates import days_ago  # noqa\n\nprint(days_ago(1))  # noqa: AIR301\n")
    assert len(list(dag_warnings(str(tmp_path), every=False))) == 1


def test_many_places_of_a_file_are_counted(tmp_path):
    (tmp_path / "one.py").write_text("from airflow.utils.dates import days_ago\n\n" + "days_ago(1)\n" * 9)
    said, = dag_warnings(str(tmp_path), every=False)
    assert said.count("days_ago") == 4 and said.endswith("; and 5 more")


def test_without_a_folder_there_is_nothing_to_say(tmp_path):
    assert list(dag_warnings("", every=True)) == list(dag_warnings(str(tmp_path / "none"), every=True)) == []


def test_a_controller_without_ruff_says_so(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "ruff", None)
    said, = dag_warnings(folder, every=False)
    assert "ruff is not on the controller" in said and "install it" in said


TRACE = '''Traceback (most recent call last):
  File "<frozen importlib._bootstrap>", line 488, in _call_with_frames_removed
  File "/opt/airflow/dags/team/nightly_etl.py", line 4, in <module>
    from airflow.operators.bash_operator import BashOperator
ModuleNotFoundError: No module named 'airflow.operators.bash_operator'
'''


def test_airflows_error_has_the_files_line_and_what_to_write(folder):
    found = findings(folder)
    said = import_warning({"bundle": "dags-folder", "file": "team/nightly_etl.py", "error": TRACE}, found["team/nightly_etl.py"])
    assert said.startswith("Airflow cannot load team/nightly_etl.py, line 4: ModuleNotFoundError: No module named 'airflow.operators.bash_operator'. "
                           "For Airflow 3, line 8: ")
    assert "use `BashOperator` from `airflow.providers.standard.operators.bash`" in said


@pytest.mark.parametrize("error, said", [
    ("the process that loads it ended with 3 and told nothing", "Airflow cannot load a.py: the process that loads it ended with 3 and told nothing"),
    ('Traceback:\n  File "/opt/airflow/dags/helper.py", line 2, in x\nKeyError: \'é\'\n', "Airflow cannot load a.py: KeyError: 'é'"),
    ("", "Airflow cannot load a.py: without a word"),
])
def test_other_errors_stand_alone(error, said):
    assert import_warning({"file": "a.py", "error": error}, [Finding(1, "AIR312", "still taken"), Finding(1, "invalid-syntax", "told")]) == said
