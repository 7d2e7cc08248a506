"""doors_probe.py JSON: what each part of the stack lets be done without a login, from where this runs. Standard library only.

JSON: {"as": "program", "cross-site" or "rebinding", "login": [user, password] or null, "path": what goes before each path,
"targets": [[part, address, port], ...]}.
For each target one word goes to standard output, as JSON: closed (no connection), nothing (what it shows and what it takes needs a
login, or is refused), reads (it shows), changes (it takes an order). docs/security.md has them as a table.

As a web page of another site, with a browser's rules (https://fetch.spec.whatwg.org/): a POST goes out as it is with three content types
or none; for all else the browser asks first; the page reads what is answered if the answer says so. By DNS rebinding the page is of the
same origin as the part, by a name of its own.
"""

from __future__ import annotations

import base64
import concurrent.futures
import http.client
import json
import socket
import sys
from typing import Any, NamedTuple

EVIL = "evil.example"
PAGE = f"https://{EVIL}"
JSON = "application/json"
SIMPLE = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", None)


class Order(NamedTuple):
    """A request that changes something where it is taken, which a status of 2xx tells."""

    method: str
    path: str
    body: object = None
    kind: str = JSON


SILENCE = {"matchers": [{"name": "alertname", "value": "Doors", "isRegex": False}], "createdBy": "doors", "comment": "doors",
           "startsAt": "2000-01-01T00:00:00Z", "endsAt": "2100-01-01T00:00:00Z"}
# What Prometheus' own programs take as orders. At / and /metrics an exporter answers every method with the same figures.
NONE = [Order(method, path) for method in ("POST", "PUT", "DELETE") for path in ("/-/reload", "/-/quit", "/api/v1/write", "/metrics/job/doors")]
# Part -> (what it shows, the orders).
PARTS: dict[str, tuple[str, list[Order]]] = {
    "MLflow": ("/api/2.0/mlflow/experiments/get?experiment_id=0", [
        Order("POST", "/api/2.0/mlflow/experiments/set-experiment-tag", {"experiment_id": "0", "key": "doors", "value": "open"}),
        Order("POST", "/ajax-api/2.0/mlflow/experiments/set-experiment-tag", {"experiment_id": "0", "key": "doors", "value": "open"}),
        Order("PUT", "/api/2.0/mlflow-artifacts/artifacts/doors", "open", "text/plain")]),
    "RegModel": ("/model", [Order(method, path) for method in ("POST", "PUT", "DELETE") for path in ("/model", "/reload", "/-/reload")]),
    "Airflow": ("/api/v2/dags", [Order("POST", "/auth/token", {"username": "admin", "password": "admin"}),
                                 Order("POST", "/auth/token/cli", {"username": "admin", "password": "admin"}),
                                 Order("POST", "/api/v2/pools", {"name": "doors", "slots": 1})]),
    "Flower": ("/api/workers", [Order("POST", "/api/task/send-task/celery.ping", {"args": []}),
                                Order("POST", "/api/task/async-apply/celery.ping", {"args": []})]),
    "Prometheus": ("/api/v1/query?query=up", [Order("POST", "/-/reload"), Order("PUT", "/-/reload"), Order("POST", "/api/v1/write", ""),
                                              Order("POST", "/api/v1/admin/tsdb/snapshot"), Order("POST", "/-/quit")]),
    "Alertmanager": ("/api/v2/alerts", [Order("POST", "/api/v2/silences", SILENCE), Order("POST", "/-/reload"),
                                        Order("POST", "/api/v2/alerts", [{"labels": {"alertname": "Doors"}, "endsAt": "2000-01-01T00:00:00Z"}])]),
    "Grafana": ("/api/search", [Order("POST", "/api/folders", {"title": "doors"}), Order("POST", "/api/user/using/1")]),
    "Airflow's exporter": ("/metrics", NONE),
    "node exporter": ("/metrics", NONE),
    "task logs": ("/log/doors", [Order("POST", "/log/doors"), Order("PUT", "/log/doors")]),
}


class Door:
    """One part at one address, as one kind of visitor."""

    def __init__(self, address: str, port: int, wanted: dict[str, Any]) -> None:
        self.address, self.port = address, port
        self.visitor, self.login, self.path = wanted["as"], wanted["login"], wanted["path"]

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: str | None = None) -> tuple[int, dict[str, str]]:
        """Status and headers of the answer; 0: none that is HTTP."""
        own = {"Host": f"{EVIL if self.visitor == 'rebinding' else self.address}:{self.port}", **(headers or {})}
        if self.visitor == "cross-site":
            own |= {"Origin": PAGE, "Sec-Fetch-Site": "cross-site"}
        if self.visitor == "rebinding":
            own |= {"Origin": f"http://{EVIL}:{self.port}", "Sec-Fetch-Site": "same-origin"}
        if self.login:
            own["Authorization"] = "Basic " + base64.b64encode(":".join(self.login).encode()).decode()
        connection = http.client.HTTPConnection(self.address, self.port, timeout=30)
        try:
            connection.request(method, self.path + path, body, own)
            answer = connection.getresponse()
            answer.read()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}
        except (http.client.HTTPException, ConnectionError):
            return 0, {}
        finally:
            connection.close()

    def shows(self, path: str) -> bool:
        status, headers = self.ask("GET", path)
        # A part with nothing to show yet shows that.
        shown = 200 <= status < 300 or status == 503
        return shown and (self.visitor != "cross-site" or headers.get("access-control-allow-origin") in ("*", PAGE))

    def takes(self, order: Order) -> bool:
        body = order.body if isinstance(order.body, str) or order.body is None else json.dumps(order.body)
        kinds = [order.kind]
        if self.visitor == "cross-site":
            kinds = [*(SIMPLE if order.method == "POST" else ()), *([order.kind] if self.may_send(order) else [])]
        # http.client adds no content type of its own.
        return any(200 <= self.ask(order.method, order.path, {"Content-Type": kind} if kind else {}, body)[0] < 300 for kind in kinds)

    def may_send(self, order: Order) -> bool:
        """Whether the browser lets the page send it, by what the part answers to the question before."""
        asked = {"Access-Control-Request-Method": order.method, "Access-Control-Request-Headers": "content-type"}
        status, headers = self.ask("OPTIONS", order.path, asked)
        methods = headers.get("access-control-allow-methods", "")
        return (200 <= status < 300 and headers.get("access-control-allow-origin") in ("*", PAGE)
                and (order.method == "POST" or order.method in methods or methods == "*")
                and any(word in headers.get("access-control-allow-headers", "").lower() for word in ("content-type", "*")))

    def says(self, request: bytes) -> bytes:
        """The first bytes of the answer to raw bytes."""
        with socket.create_connection((self.address, self.port), timeout=10) as connection:
            connection.sendall(request)
            try:
                return connection.recv(512)
            except ConnectionError:
                return b""


def postgres(door: Door) -> str:
    if door.visitor != "program":
        return "changes" if door.ask("POST", "/", {"Content-Type": "text/plain"}, "SELECT 1;")[0] else "nothing"
    words = b"user\0postgres\0database\0postgres\0\0"
    reply = door.says((len(words) + 8).to_bytes(4, "big") + (196608).to_bytes(4, "big") + words)
    # AuthenticationOk: it asks for nothing.
    return "changes" if reply[:1] == b"R" and int.from_bytes(reply[5:9], "big") == 0 else "nothing"


def redis(door: Door) -> str:
    host = EVIL if door.visitor == "rebinding" else door.address
    request = f"POST / HTTP/1.1\r\nHost: {host}:{door.port}\r\nOrigin: {PAGE}\r\nContent-Type: text/plain\r\n\r\n" if door.visitor != "program" else ""
    return "nothing" if door.says(f"{request}SET doors open EX 1\r\n".encode())[:1] in (b"-", b"") else "changes"


def word(wanted: dict[str, Any], part: str, address: str, port: int) -> str:
    try:
        socket.create_connection((address, port), timeout=3).close()
    except OSError:
        return "closed"
    door = Door(address, port, wanted)
    if part == "PostgreSQL":
        return postgres(door)
    if part == "Redis":
        return redis(door)
    shown, orders = PARTS[part]
    # What does not speak HTTP here is not what the table means.
    if not door.ask("GET", shown)[0]:
        return "silent"
    if any(door.takes(order) for order in orders):
        return "changes"
    return "reads" if door.shows(shown) else "nothing"


def main(text: str) -> None:
    wanted = json.loads(text)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        tried = pool.map(lambda target: word(wanted, *target), wanted["targets"])
        print(json.dumps(list(tried)))


if __name__ == "__main__":
    main(sys.argv[1])
