"""Whom the API server answers: a middleware in front of all of Airflow's pages and APIs. ``plugin`` makes it known to Airflow.

Airflow looks at no Host header. So a page of the web whose name is changed to lead to 127.0.0.1 while it is shown (DNS rebinding) is
served as if it were Airflow's own, and needs nothing but a password that everybody knows. MLOPS_AIRFLOW_ALLOWED_HOSTS: further names by
which Airflow is known, separated by commas; "*", or no such variable: any. Addresses and names without a dot are always served, because
nobody else can have them.

MLOPS_AIRFLOW_LOGIN=host: the password is one that everybody knows, so programs of this host may log in, and no other container.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

HOSTS, LOGIN = "MLOPS_AIRFLOW_ALLOWED_HOSTS", "MLOPS_AIRFLOW_LOGIN"
URLS = ("AIRFLOW__API__BASE_URL", "AIRFLOW__CORE__EXECUTION_API_SERVER_URL")
FOREIGN = (
    "Airflow is not known by the name {host}. If it is, add that to airflow_allowed_hosts, or set airflow_public_url, and run site.yml."
)
ELSEWHERE = (
    "Airflow's administrator has a password that everybody knows, so only programs of this host may log in, and not through a proxy."
    " Set _AIRFLOW_WWW_USER_PASSWORD in .env, or airflow_admin_password, and run site.yml."
)


def gateway(routes: str) -> str:
    """The address that this host's own programs come from: the default gateway in /proc/net/route; empty: there is none."""
    rows = [line.split() for line in routes.splitlines()[1:]]
    found = [row[2] for row in rows if row[1] == "00000000"]
    return socket.inet_ntoa(bytes.fromhex(found[0])[::-1]) if found else ""


def is_own(host: str, names: set[str]) -> bool:
    """Whether a page of this host name can only be one of Airflow's."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return "." not in host or host.endswith(".localhost") or host in names
    return True


class Doors:
    """ASGI middleware: answers 403, with the way out, to what Airflow must not see."""

    def __init__(self, app: Any, environ: Mapping[str, str], peers: set[str]) -> None:
        self.app = app
        hosts = environ.get(HOSTS, "*")
        self.any_host = "*" in hosts.split(",")
        self.names = {name.strip().lower() for name in hosts.split(",")}
        self.names |= {urlsplit(environ.get(name, "")).hostname or "" for name in URLS}
        self.path = urlsplit(environ.get(URLS[0], "")).path.rstrip("/")
        self.host_only = environ.get(LOGIN) == "host"
        self.peers = peers

    def refusal(self, scope: Mapping[str, Any]) -> str:
        """Why a request is refused; empty: it is not."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = re.sub(r":\d*$", "", headers.get("host", "")).rstrip(".").lower()
        if not self.any_host and not is_own(host, self.names):
            return FOREIGN.format(host=host)
        path = re.sub("/+", "/", scope["path"]).removeprefix(self.path)
        if self.host_only and path.startswith(("/auth/login", "/auth/token")) and (
            # What a proxy says of its client can be made up, and would be taken for the client.
            {"x-forwarded-for", "forwarded"} & headers.keys() or (scope.get("client") or [""])[0] not in self.peers
        ):
            return ELSEWHERE
        return ""

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        why = self.refusal(scope) if scope["type"] in ("http", "websocket") else ""
        if not why:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain; charset=utf-8")]})
            await send({"type": "http.response.body", "body": why.encode()})
