"""Accounts of Airflow that nobody is to use any more: the stack's former administrators, and off loopback what everybody can guess.

A table of our own says which accounts airflow-init made, and which passwords it has looked at: a password costs a tenth of a CPU second.
"""

import hashlib
import hmac
import os
from typing import Any

# What is tried first, beside the account's own name.
KNOWN = ("admin", "airflow")
EXPOSED = "MLOPS_AIRFLOW_EXPOSED"
OWN = "CREATE TABLE IF NOT EXISTS mlops_accounts (name text PRIMARY KEY, made boolean NOT NULL, seen text NOT NULL DEFAULT '')"
# What earlier versions, which kept no table, gave the account that they made; nobody else made it, so no account is named as its maker.
ADOPT = (
    "INSERT INTO mlops_accounts (name, made) SELECT username, true FROM ab_user WHERE created_by_fk IS NULL"
    " AND first_name = %s AND last_name = %s AND email IN (username || '@localhost', %s) ON CONFLICT DO NOTHING"
)


def _run(connection: Any, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def matches(password: str, stored: str) -> bool:
    """Check a password against Werkzeug's hash, without importing Werkzeug; an unknown method does not match."""
    method, _dollar, rest = stored.partition("$")
    salt, _dollar, digest = rest.partition("$")
    kind, *numbers = method.split(":")
    if kind == "scrypt" and len(numbers) == 3:
        n, r, p = map(int, numbers)
        found = hashlib.scrypt(password.encode(), salt=salt.encode(), n=n, r=r, p=p, maxmem=132 * n * r * p).hex()
    elif kind == "pbkdf2" and len(numbers) == 2:
        found = hashlib.pbkdf2_hmac(numbers[0], password.encode(), salt.encode(), int(numbers[1])).hex()
    else:
        return False
    return hmac.compare_digest(found, digest)


def guessable(name: str, password: str) -> str:
    """Why a password is refused where others reach Airflow; empty: it is not."""
    refused = os.environ.get(EXPOSED) == "true" and password in {*KNOWN, name}
    return "its password is one that everybody tries first, and others reach Airflow" if refused else ""


def remember(connection: Any, first: str, last: str, email: str) -> None:
    """Make the table where it is not there, with the accounts that earlier versions made."""
    if not _run(connection, "SELECT to_regclass('mlops_accounts') IS NOT NULL")[0][0]:
        # Both or neither: a cut in between would lose who was there before.
        _run(connection, f"BEGIN; {OWN}")
        _run(connection, ADOPT, first, last, email)
        _run(connection, "COMMIT")


def intend(connection: Any, name: str) -> None:
    """Say that an account is about to be made, before it is: a run that is cut off forgets nothing."""
    _run(connection, "INSERT INTO mlops_accounts (name, made) VALUES (%s, true) ON CONFLICT (name) DO UPDATE SET made = true", name)


def _deactivate(connection: Any, name: str, why: str) -> None:
    print(f"airflow-init: deactivates the account {name}: {why}", flush=True)
    _run(connection, "UPDATE ab_user SET active = false WHERE username = %s", name)


def close(connection: Any, admin: str) -> None:
    """Deactivate what is not to be used any more; ``admin`` is the account that is."""
    former = "SELECT username FROM ab_user u JOIN mlops_accounts a ON a.name = u.username WHERE made AND active AND username <> %s ORDER BY 1"
    for (name,) in _run(connection, former, admin):
        _deactivate(connection, name, f"the stack made it, and its administrator is {admin} now")
        # Once: whoever activates it again means it.
        _run(connection, "UPDATE mlops_accounts SET made = false WHERE name = %s", name)
    if os.environ.get(EXPOSED) == "true":
        _close_known(connection)


def _close_known(connection: Any) -> None:
    unseen = (
        "SELECT username, password FROM ab_user u LEFT JOIN mlops_accounts a ON a.name = u.username"
        " WHERE active AND password IS NOT NULL AND seen IS DISTINCT FROM md5(password) ORDER BY 1"
    )
    for name, password in _run(connection, unseen):
        if any(matches(known, password) for known in {*KNOWN, name}):
            _deactivate(connection, name, "its password is one that everybody tries first. Give it another one, and activate it")
        else:
            _run(
                connection,
                "INSERT INTO mlops_accounts (name, made, seen) VALUES (%s, false, md5(%s))"
                " ON CONFLICT (name) DO UPDATE SET seen = excluded.seen",
                name,
                password,
            )
