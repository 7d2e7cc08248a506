"""As the guides of Airflow 1 and 2 begin."""

from airflow import DAG
from airflow.operators.bash_operator import BashOperator
from airflow.operators.dummy_operator import DummyOperator
from airflow.utils.dates import days_ago

args = {"owner": "team", "start_date": days_ago(1), "provide_context": True}

with DAG("nightly_etl", default_args=args, schedule_interval="@daily", catchup=False) as dag:
    DummyOperator(task_id="start") >> BashOperator(task_id="load", bash_command="echo {{ ds }}")
