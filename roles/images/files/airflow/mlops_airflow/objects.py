"""Connections, variables and pools that are given as data, in a JSON file: {"connections": {name: ...}, "variables": ..., "pools": ...}.

What is given is compared with what the database holds by digests, which takes milliseconds; only a change imports Airflow, whose
models write it. A table of our own says which entries are ours: one that leaves the data is removed if it was made from the
data, and left alone if it was there before. Entries that the data never held are not looked at. No line names a value.
"""

import hashlib
import hmac
import json
import os
import sys
from pathlib import Path

from mlops_airflow import database

FILE = "MLOPS_AIRFLOW_OBJECTS_FILE"
# Kind -> table and the column that names an entry.
TABLES = {"connection": ("connection", "conn_id"), "variable": ("variable", "key"), "pool": ("slot_pool", "pool")}
OWN = (
    "CREATE TABLE IF NOT EXISTS mlops_objects"
    " (kind text, name text, digest text NOT NULL, stored text NOT NULL, made boolean NOT NULL, PRIMARY KEY (kind, name))"
)


def wanted() -> dict[tuple[str, str], object] | None:
    """Return (kind, name) -> value of what is given; None where no file is."""
    path = os.environ.get(FILE)
    if not path:
        return None
    given = json.loads(Path(path).read_text())
    return {(kind, name): value for kind in TABLES for name, value in (given.get(f"{kind}s") or {}).items()}


def digest(key: str, value: object) -> str:
    """Return what a value is known by in the database: without the key, nobody can try passwords on it."""
    return hmac.new(key.encode(), json.dumps(value, sort_keys=True).encode(), hashlib.sha256).hexdigest()


class Ledger:
    """The table of our entries, beside Airflow's own."""

    def __init__(self, connection):
        self.connection = connection
        # (kind, name) -> (digest of the value given, digest of the row written, whether it was made from the data)
        self.rows = {}
        if self._query("SELECT to_regclass('mlops_objects') IS NOT NULL")[0][0]:
            self.rows = {row[:2]: row[2:] for row in self._query("SELECT kind, name, digest, stored, made FROM mlops_objects")}

    def _run(self, statement: str, *values) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values)

    def _query(self, statement: str, *values):
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()

    def found(self, kind: str, names: list[str]) -> dict[str, str]:
        """Return name -> digest of the row in Airflow's table. Secrets are encrypted in it, anew each time that one is written."""
        table, column = TABLES[kind]
        return dict(self._query(
            f"SELECT {column}, encode(sha256(convert_to(to_jsonb(t)::text, 'UTF8')), 'hex') FROM {table} t WHERE {column} = ANY(%s)", names,
        ))  # fmt: skip

    def intend(self, kind: str, name: str, there: bool) -> None:
        """Remember whether an entry is ours before it is written, so that a run which is cut off forgets nothing."""
        self._run(OWN)
        self._run("INSERT INTO mlops_objects VALUES (%s, %s, '', '', %s) ON CONFLICT DO NOTHING", kind, name, not there)

    def keep(self, kind: str, name: str, value_digest: str) -> None:
        self._run("UPDATE mlops_objects SET digest = %s, stored = %s WHERE kind = %s AND name = %s",
                  value_digest, self.found(kind, [name])[name], kind, name)  # fmt: skip

    def remove(self, kind: str, name: str) -> None:
        table, column = TABLES[kind]
        self._run(f"DELETE FROM {table} WHERE {column} = %s", name)

    def forget(self, kind: str, name: str) -> None:
        self._run("DELETE FROM mlops_objects WHERE kind = %s AND name = %s", kind, name)


def write(kind: str, name: str, value) -> None:
    """Create or replace one entry with Airflow's own models, which check and encrypt it."""
    from airflow.models import Connection, Variable
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    with create_session() as session:
        if kind == "pool":
            Pool.create_or_update_pool(
                name, value["slots"], value.get("description") or "", bool(value.get("include_deferred")), session=session
            )
            return
        # Replaced whole: a field that is not given any more must not stay.
        if kind == "connection":
            new = Connection(conn_id=name, **value)
            session.execute(delete(Connection).where(Connection.conn_id == name))
        else:
            new = Variable(key=name, val=value if isinstance(value, str) else json.dumps(value))
            session.execute(delete(Variable).where(Variable.key == name))
        session.add(new)


def apply(connection) -> None:
    """Bring the database to what is given."""
    given = wanted()
    if given is None:
        return
    ledger = Ledger(connection)
    key = database.setting("core", "fernet_key")
    found = {
        (kind, name): row
        for kind in TABLES
        for name, row in ledger.found(kind, [name for of, name in {*given, *ledger.rows} if of == kind]).items()
    }
    for kind, name in sorted(ledger.rows.keys() - given.keys()):
        if ledger.rows[kind, name][2] and (kind, name) in found:
            print(f"airflow-init: removes the {kind} {name}", flush=True)
            ledger.remove(kind, name)
        ledger.forget(kind, name)
    for (kind, name), value in sorted(given.items()):
        known = digest(key, value)
        if (kind, name) in found and ledger.rows.get((kind, name), ("", ""))[:2] == (known, found[kind, name]):
            continue
        print(f"airflow-init: {'changes' if (kind, name) in found else 'adds'} the {kind} {name}", flush=True)
        ledger.intend(kind, name, (kind, name) in found)
        try:
            write(kind, name, value)
        except Exception as error:  # what Airflow says may hold the value
            sys.exit(f"airflow-init: Airflow refuses the {kind} {name} ({type(error).__name__}); correct it in airflow_{kind}s")
        ledger.keep(kind, name, known)
