"""Waits until what a component needs is there."""

import contextlib
import socket
import ssl
import sys
from urllib.parse import unquote, urlsplit

import psycopg2

from mlops_airflow import database


class Schema:
    """Probe: the database holds the schema of this image, and nobody is at work on it."""

    def __init__(self):
        self.connection = None

    def __call__(self) -> str:
        try:
            if self.connection is None:
                self.connection = database.connect()
            missing = database.lacks(self.connection)
            if missing:
                return f"{missing}; airflow-init does that"
            return "" if database.try_lock_shared(self.connection) else "airflow-init is at work"
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            self.connection = None
            return database.reason(error)
        except (psycopg2.Error, database.Incompatible) as error:
            return database.reason(error)


def redis() -> str:
    """Probe: Redis answers PING with the broker's user and password; other brokers: the port is open."""
    url = urlsplit(database.setting("celery", "broker_url"))
    default = 6379 if url.scheme.startswith("redis") else 5672
    try:
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(socket.create_connection((url.hostname, url.port or default), timeout=3))
            if url.scheme not in ("redis", "rediss"):
                return ""
            if url.scheme == "rediss":
                context = ssl.create_default_context(cafile=database.setting("celery", "ssl_cacert") or None)
                connection = stack.enter_context(context.wrap_socket(connection, server_hostname=url.hostname))
            words = [unquote(word) for word in (url.username, url.password) if word]
            lines = ([["AUTH", *words]] if words else []) + [["PING"]]
            for line in lines:
                parts = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in line)
                connection.sendall(f"*{len(line)}\r\n{parts}".encode())
                reply = connection.recv(512).decode(errors="replace").strip()
                if not reply.startswith("+"):
                    return f"{url.hostname} says {reply or 'nothing'}"
    except OSError as error:
        return f"{url.hostname}: {error}"
    return ""


def wait_for(*needs: str) -> None:
    if "database" in needs:
        schema = Schema()
        database.wait(schema, "the database")
        schema.connection.close()
    if "broker" in needs:
        database.wait(redis, "the broker")


if __name__ == "__main__":
    wait_for(*sys.argv[1:])
