"""Waits until the database answers a query of the server's own role, and says in one sentence why it does not."""

import math
import re
import sys
import time

import psycopg

from mlops_mlflow.cloud_sql import SAID, Cause, Proxy, proxy

FATAL = re.compile(r"FATAL: +(.*)")
# What no waiting mends: libpq tells no SQLSTATE of a refused login.
REFUSED = re.compile(r"authentication failed|no password supplied|no pg_hba\.conf entry|role .* does not exist|not permitted to log in")
NO_DATABASE = re.compile(r"database .* does not exist")


def connect(uri: str) -> psycopg.Connection:
    """A connection that has answered SELECT 1. Says why not when the reason changes, and ends where waiting is of no use."""
    leads_on = proxy()
    last, since = "", 0.0
    began = time.monotonic()
    while True:
        try:
            connection = psycopg.connect(uri, autocommit=True, connect_timeout=3, application_name="mlflow-entrypoint")
            connection.execute("SELECT 1")
            return connection
        except psycopg.OperationalError as error:
            cause = cause_of((str(error).splitlines() or [repr(error)])[0], leads_on)
        now = time.monotonic()
        if cause.text != last:
            # What ends in two seconds is told then.
            if cause.patience > SAID:
                print(f"waits for the database: {cause.text}", flush=True)
            last, since = cause.text, now
        elif now - since >= cause.patience:
            sys.exit(f"gives up: {cause.text}")
        # Fast while a start-up is likely under way, then calm.
        time.sleep(cause.pause if now - began < 30 else 1.0)


def cause_of(error: str, leads_on: Proxy | None) -> Cause:
    """What the error of libpq means."""
    said = FATAL.search(error)
    told = said.group(1) if said else error
    if REFUSED.search(told):
        return Cause(f"the database refuses the login: {told}; correct MLFLOW_DB_USER and MLFLOW_DB_PASSWORD (mlflow_db_user, "
                     "mlflow_db_password), or the role in the database", SAID)
    if leads_on and NO_DATABASE.search(told):
        return Cause(f"Cloud SQL: {told}; create it in the instance, or correct MLFLOW_DB_NAME", SAID)
    if leads_on and not said:
        return leads_on.cause()
    return Cause(error, math.inf)
