"""Airflow 2's names that Airflow 3 still takes."""

from datetime import datetime

from airflow.decorators import dag, task
from airflow.models import Variable


@dag(schedule=None, start_date=datetime(2024, 1, 1), catchup=False)
def still_served() -> None:
    @task
    def say() -> str:
        return Variable.get("team_secret", "none")

    say()


still_served()
