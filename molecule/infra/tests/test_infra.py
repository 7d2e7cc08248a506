"""PostgreSQL and Redis as their clients see them."""

import psycopg
import pytest
import redis
from conftest import eventually, play, secret
from redis.backoff import NoBackoff
from redis.retry import Retry

DATABASES = ["airflow", "mlflow"]


def connect(user: str, password: str | None = None, database: str | None = None) -> psycopg.Connection:
    return psycopg.connect(
        host="127.0.0.1", user=user, password=password or secret(f"{user}_db_password"), dbname=database or user,
        connect_timeout=5, autocommit=True,
    )


def broker(**options) -> redis.Redis:
    # Without retries: a refused password is refused at once.
    return redis.Redis("127.0.0.1", decode_responses=True, retry=Retry(NoBackoff(), 0), **options)


@pytest.mark.parametrize("name", DATABASES)
def test_role_owns_its_database(on_host, name):
    with connect(name) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
        connection.execute("INSERT INTO kept VALUES ('é')")
        assert connection.execute("SELECT value FROM kept LIMIT 1").fetchone() == ("é",)
        assert connection.info.encoding == "utf-8"


@pytest.mark.parametrize("name", DATABASES)
def test_wrong_password_is_refused(on_host, name):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(name, password="wrong")


def test_role_does_not_reach_the_other_database(on_host):
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        connect("airflow", database="mlflow")


def test_password_changed_by_hand_is_brought_back(on_host):
    with connect("postgres", secret("postgres_password")) as superuser:
        superuser.execute("ALTER ROLE mlflow PASSWORD 'by hand'")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect("mlflow")
    play()
    connect("mlflow").close()


def test_redis_wants_its_password(on_host):
    with pytest.raises(redis.AuthenticationError):
        broker().ping()
    with pytest.raises(redis.AuthenticationError):
        broker(password="wrong").ping()


def test_data_outlives_its_containers(on_host, compose):
    assert broker(password=secret("redis_password")).set("kept", "value")
    assert broker(password=secret("redis_password")).config_get("appendonly") == {"appendonly": "yes"}
    compose("down")
    with pytest.raises(redis.ConnectionError):
        broker().ping()
    compose("up --detach")
    read = eventually(lambda: broker(password=secret("redis_password")).get("kept"), errors=(redis.ConnectionError,))
    assert read == "value"
    kept = eventually(lambda: connect("airflow"), errors=(psycopg.OperationalError,))
    assert kept.execute("SELECT count(*) > 0 FROM kept").fetchone() == (True,)
