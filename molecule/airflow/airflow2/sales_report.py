"""Every import of it is still there; an argument is not."""

from datetime import datetime

from airflow import DAG
from airflow.operators.python import PythonOperator


def report(**context) -> None:
    print(context["execution_date"])


with DAG("sales_report", start_date=datetime(2024, 1, 1), schedule_interval="0 6 * * *", concurrency=2) as dag:
    PythonOperator(task_id="report", python_callable=report)
