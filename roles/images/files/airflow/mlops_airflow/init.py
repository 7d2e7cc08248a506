"""airflow-init: migrates the database where it has to be, keeps the admin user and what is given as data as wanted, then stays up.

With nothing to do it imports no Airflow and takes a fraction of a second.
"""

import logging
import os
import sys
import time
from pathlib import Path

import psycopg2

from mlops_airflow import accounts, database, objects

STATUS = Path("/run/airflow/init-complete")


def _environment(name: str, default: str = "") -> str:
    """Return an environment variable, or the content of the file that ``NAME_FILE`` names."""
    file = os.environ.get(f"{name}_FILE")
    return Path(file).read_text().rstrip("\n") if file else os.environ.get(name, default)


class Admin:
    """The user that must exist, by the variables of Airflow's official image."""

    def __init__(self):
        self.name = _environment("_AIRFLOW_WWW_USER_USERNAME")
        self.password = _environment("_AIRFLOW_WWW_USER_PASSWORD")
        self.role = _environment("_AIRFLOW_WWW_USER_ROLE", "Admin")
        self.first = _environment("_AIRFLOW_WWW_USER_FIRSTNAME", "Airflow")
        self.last = _environment("_AIRFLOW_WWW_USER_LASTNAME", "Admin")
        self.email = _environment("_AIRFLOW_WWW_USER_EMAIL", f"{self.name}@localhost")
        fab = database.setting("core", "auth_manager").endswith("FabAuthManager")
        self.wanted = bool(fab and self.name and self.password)


def is_as_wanted(admin: Admin, connection) -> bool:
    if not admin.wanted:
        return True
    found = database.user(connection, admin.name)
    return bool(found) and found[1] and admin.role in found[2] and accounts.matches(admin.password, found[0] or "")


def migrate() -> None:
    """Do what ``airflow db migrate`` does, in this process."""
    from airflow.providers_manager import ProvidersManager
    from airflow.utils import db

    ProvidersManager().initialize_providers_configuration()
    db.upgradedb()


def set_user(admin: Admin, connection) -> None:
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    # On an empty database it tells of each of some 500 permissions.
    logging.getLogger("airflow.providers.fab.auth_manager.security_manager").setLevel(logging.WARNING)
    with get_application_builder() as builder:
        manager = builder.sm
        role = manager.find_role(admin.role)
        if role is None:
            sys.exit(f"airflow-init: there is no role {admin.role!r}; correct _AIRFLOW_WWW_USER_ROLE")
        user = manager.find_user(username=admin.name)
        if user is None:
            accounts.intend(connection, admin.name)
            if not manager.add_user(admin.name, admin.first, admin.last, admin.email, role, admin.password):
                sys.exit(f"airflow-init: the user {admin.name} cannot be added; the lines above say why")
        else:
            manager.reset_password(user.id, admin.password)
            user.active = True
            if role not in user.roles:
                user.roles.append(role)
            manager.update_user(user)


def connected():
    """Wait for PostgreSQL and return a connection."""
    found = []

    def probe() -> str:
        try:
            found.append(database.connect())
        except psycopg2.OperationalError as error:
            return database.reason(error)
        return ""

    database.wait(probe, "PostgreSQL")
    return found[0]


def main() -> None:
    STATUS.unlink(missing_ok=True)
    started = time.monotonic()
    admin = Admin()
    connection = connected()
    # Two that start at once take turns; the second finds nothing to do.
    database.lock(connection)
    try:
        missing = database.lacks(connection)
    except database.Incompatible as error:
        sys.exit(f"airflow-init: {error}. Use the image that it was made with, or restore a backup.")
    if missing:
        print(f"airflow-init: migrates the database: {missing}", flush=True)
        migrate()
        if missing := database.lacks(connection):
            sys.exit(f"airflow-init: after the migration the database is still not as wanted: {missing}")
    if admin.wanted:
        if why := accounts.guessable(admin.name, admin.password):
            sys.exit(f"airflow-init: the account {admin.name}: {why}; give another in _AIRFLOW_WWW_USER_PASSWORD")
        accounts.remember(connection, admin.first, admin.last, admin.email)
        if not is_as_wanted(admin, connection):
            print(f"airflow-init: sets password and role of {admin.name}", flush=True)
            set_user(admin, connection)
        accounts.close(connection, admin.name)
    objects.apply(connection)
    connection.close()
    STATUS.write_text("complete\n")
    print(f"airflow-init: complete after {time.monotonic() - started:.1f} s", flush=True)
    # Staying up makes the next `up` free; a shell that waits costs nothing.
    os.execv("/bin/sh", ["airflow-init", "-c", "trap 'exit 0' TERM INT; sleep infinity & wait"])
