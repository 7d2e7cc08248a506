"""More task instances than a page of the API holds. The second of the first ones fails; the others need no worker then."""

from __future__ import annotations

from airflow.sdk import dag, task


@dag(dag_id="mapped", schedule=None, catchup=False)
def mapped() -> None:
    @task
    def check(number: int) -> int:
        if number == 1:
            raise ValueError("the second of two")
        return number

    @task
    def each(number: int) -> int:
        return number

    check.expand(number=[0, 1]) >> each.expand(number=list(range(150)))


mapped()
