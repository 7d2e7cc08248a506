"""The metadata database as a start-up sees it: psycopg2 and the standard library, because importing Airflow takes seconds."""

import json
import time
from pathlib import Path

import psycopg2

from mlops_airflow.config import setting

# Written while the image is built: {version table: {"head": revision, "known": [revisions]}}.
HEADS = Path("/opt/airflow/heads.json")
# One key for whoever initialises (exclusive) and whoever waits for it (shared).
LOCK = 0x6D6C6F7073


class Incompatible(Exception):
    """The database was migrated by a newer Airflow than this image holds."""


def connect():
    """Connect by SQLAlchemy's URL, read by libpq; psycopg2.OperationalError says why it cannot."""
    scheme, _separator, rest = setting("database", "sql_alchemy_conn").partition("://")
    connection = psycopg2.connect(f"{scheme.partition('+')[0]}://{rest}", connect_timeout=3, application_name="mlops-gate")
    connection.autocommit = True
    return connection


def _query(connection, statement: str, *values):
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


def _exists(connection, table: str) -> bool:
    return _query(connection, "SELECT to_regclass(%s) IS NOT NULL", table)[0][0]


def lacks(connection) -> str:
    """Say what the schema lacks to be the one this image wants; empty when it lacks nothing."""
    for table, wanted in json.loads(HEADS.read_text()).items():
        found = [row[0] for row in _query(connection, f"SELECT version_num FROM {table}")] if _exists(connection, table) else []
        if found == [wanted["head"]]:
            continue
        if unknown := set(found) - set(wanted["known"]):
            raise Incompatible(f"{table} is at {', '.join(unknown)}, which this image does not know: a newer Airflow migrated it")
        return f"{table} is at {', '.join(found)}, wanted {wanted['head']}" if found else "it is not initialised"
    # These rows come after the version: a migration that was cut off between lacks them.
    for table, row in (("slot_pool", "default_pool"), ("log_template", "log template")):
        if not _query(connection, f"SELECT 1 FROM {table} LIMIT 1"):
            return f"it has no {row}"
    return ""


def try_lock_shared(connection) -> bool:
    """Tell whether nobody initialises the database at the moment."""
    if not _query(connection, "SELECT pg_try_advisory_lock_shared(%s)", LOCK)[0][0]:
        return False
    _query(connection, "SELECT pg_advisory_unlock_shared(%s)", LOCK)
    return True


def lock(connection) -> None:
    """Wait until nobody else initialises the database, and keep others away until the connection closes."""
    _query(connection, "SELECT pg_advisory_lock(%s)", LOCK)


def user(connection, name: str):
    """Return (password hash, active, set of role names) of a user of the FAB auth manager, or None."""
    rows = _query(
        connection,
        "SELECT u.password, u.active, r.name FROM ab_user u LEFT JOIN ab_user_role ur ON ur.user_id = u.id"
        " LEFT JOIN ab_role r ON r.id = ur.role_id WHERE u.username = %s",
        name,
    )
    return (rows[0][0], rows[0][1], {row[2] for row in rows}) if rows else None


def heartbeat_age(connection, job_type: str, hostname: str) -> float | None:
    """Return the seconds since the newest running job of this type and host gave a sign of life, by the server's clock."""
    rows = _query(
        connection,
        "SELECT extract(epoch FROM now() - max(latest_heartbeat)) FROM job"
        " WHERE job_type = %s AND hostname = %s AND state = 'running'",
        job_type,
        hostname,
    )
    return None if rows[0][0] is None else float(rows[0][0])


def import_errors(connection) -> list[tuple]:
    """Return (bundle, file, traceback) of each file that the dag-processor could not load when it last came to it."""
    return _query(connection, "SELECT bundle_name, filename, stacktrace FROM import_error")


def reason(error: Exception) -> str:
    """Return the first line of what libpq says."""
    return (str(error).splitlines() or [repr(error)])[0].strip()


def wait(probe, what: str) -> None:
    """Call ``probe`` until it returns "" ; a reason that it returns is printed when it changes."""
    started = time.monotonic()
    last = ""
    while why := probe():
        if why != last:
            print(f"waits for {what}: {why}", flush=True)
            last = why
        # Fast while a start-up is likely under way, then calm.
        time.sleep(0.2 if time.monotonic() - started < 30 else 1.0)
    if last:
        print(f"{what} is ready after {time.monotonic() - started:.1f} s", flush=True)
