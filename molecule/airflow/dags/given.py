"""A DAG that uses what the team brings: a connection, a variable, a pool and a package."""

from __future__ import annotations

from airflow.sdk import BaseHook, Variable, dag, task


@dag(dag_id="given", schedule=None, catchup=False)
def given() -> None:
    @task(pool="team_pool")
    def use() -> dict:
        import hashlib

        import cowsay

        connection = BaseHook.get_connection("team_db")
        return {
            "password": hashlib.sha256(connection.password.encode()).hexdigest(),
            "extra": connection.extra_dejson,
            "variable": Variable.get("team_setting", deserialize_json=True),
            "package": cowsay.get_output_string("cow", "hello"),
        }

    use()


given()
