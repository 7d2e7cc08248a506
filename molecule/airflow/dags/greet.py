"""A DAG of two tasks in order: the second needs what the first returned."""

from __future__ import annotations

from airflow.sdk import dag, task


@dag(dag_id="greet", schedule=None, catchup=False)
def greet() -> None:
    @task
    def name() -> str:
        return "worker"

    @task
    def say(to: str) -> str:
        print(f"hello {to}, from a task's log")
        return f"hello {to}"

    say(name())


greet()
