"""Which secrets this container's processes read, as digests that say only whether two are equal.

A key comes on standard input, used once and kept nowhere, so that nobody who sees the digests can try passwords on them.
One line of JSON goes to standard output: option -> digest, or null where its value cannot be read.
"""

import hashlib
import hmac
import json
import subprocess
import sys
from urllib.parse import unquote, urlsplit

from mlops_airflow.config import setting

# What has to be equal in every container of every host.
OPTIONS = [
    ("core", "fernet_key"), ("api_auth", "jwt_secret"), ("api", "secret_key"), ("celery", "broker_url"),
    ("celery", "result_backend"), ("database", "sql_alchemy_conn"),
]  # fmt: skip


def comparable(value: str) -> str:
    """Return a secret, or what of a URL is the same wherever it is used from: user, password and database."""
    if "://" not in value:
        return value
    url = urlsplit(value)
    return json.dumps([unquote(part or "") for part in (url.username, url.password, url.path)])


def digest(key: bytes, section: str, name: str) -> str | None:
    try:
        value = comparable(setting(section, name))
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None
    return hmac.new(key, f"{section}.{name}\0{value}".encode(), hashlib.sha256).hexdigest()


def main() -> None:
    key = bytes.fromhex(sys.stdin.readline().strip())
    print(json.dumps({f"{section}.{name}": digest(key, section, name) for section, name in OPTIONS}))


if __name__ == "__main__":
    main()
