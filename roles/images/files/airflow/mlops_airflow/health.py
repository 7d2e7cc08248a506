"""Health of a component that has no port: its newest heartbeat in the table of jobs."""

import sys

import psycopg2

from mlops_airflow import database, hostname

# [scheduler], [triggerer] and [dag_processor] health check thresholds are 30 s by default.
THRESHOLD = 30


def main(job_type: str) -> None:
    name = hostname.get()
    try:
        age = database.heartbeat_age(database.connect(), job_type, name)
    except psycopg2.Error as error:
        sys.exit(database.reason(error))
    if age is None:
        sys.exit(f"no {job_type} of {name} runs")
    if age > THRESHOLD:
        sys.exit(f"the {job_type} of {name} gave its last sign of life {age:.0f} s ago")


if __name__ == "__main__":
    main(sys.argv[1])
