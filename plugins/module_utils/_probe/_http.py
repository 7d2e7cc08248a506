# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTP probe: one request on a new connection, everything inside the attempt's deadline."""

from __future__ import annotations

import base64
import http.client
import re
from typing import Any, Callable
from urllib.parse import SplitResult, urljoin, urlsplit

from ansible_collections.mlops.stack.plugins.module_utils._net._connection import HttpSocket, Net, read_at_most
from ansible_collections.mlops.stack.plugins.module_utils._net._outcome import (
    NotReady,
    Outcome,
    ready,
    shorten,
    show_bytes,
    suspect,
    transient,
)
from ansible_collections.mlops.stack.plugins.module_utils._net._tls import context_of
from ansible_collections.mlops.stack.plugins.module_utils._probe._json import check_json, prepare_json

MAX_REDIRECTS = 5
# A proxy, a login page or a wrong method answers these until somebody changes something.
_SUSPECT_STATUS = (401, 403, 405)
_REDIRECTS = (301, 302, 303, 307, 308)
_TOKEN = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")


def prepare(options: dict[str, Any], problem: Callable[[str], None]) -> dict[str, Any]:
    """Check the options of one http check and make of them what an attempt needs."""
    url = _split(options.get("url") or "", problem)
    body = options.get("body")
    method = (options.get("method") or ("POST" if body is not None else "GET")).upper()
    if not _TOKEN.match(method):
        problem(f"method {method!r} is not an HTTP method")
    headers = {"User-Agent": "mlops.stack-wait_healthy", "Accept-Encoding": "identity", "Connection": "close"}
    for name, value in (options.get("headers") or {}).items():
        if not _TOKEN.match(str(name)) or re.search(r"[\r\n\0]", str(value)):
            problem(f"header {str(name)!r} has a name or a value that HTTP does not allow")
        headers[str(name)] = str(value)
    if options.get("username") is not None:
        login = f"{options['username']}:{options.get('password') or ''}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(login).decode()
    elif options.get("password") is not None:
        problem("password is given without username")
    return {
        "url": url,
        "method": method,
        "headers": headers,
        "body": body.encode() if isinstance(body, str) else body,
        "status": _ranges(options.get("status"), problem),
        "json": prepare_json(options.get("json"), problem),
        "body_regex": _regex(options.get("body_regex"), problem),
        "max_body": 262144 if options.get("max_body") is None else options["max_body"],
        "same_origin": options.get("follow_redirects") == "same_origin",
        "tls": context_of(options, problem) if url.scheme == "https" else None,
    }


def _split(text: str, problem: Callable[[str], None]) -> SplitResult:
    try:
        url = urlsplit(text)
        port_ok = url.port is None or url.port > 0
    except ValueError as exc:
        problem(f"url {text!r}: {exc}")
        return urlsplit("")
    if "@" in url.netloc:
        problem("url holds a user or a password; use username and password_file")
    elif url.scheme not in ("http", "https") or not url.hostname or not port_ok:
        problem(f"url {text!r} is not of the form http[s]://host[:port]/path")
    elif re.search(r"[\x00-\x20\x7f]|[^\x00-\x7f]", text):
        problem(f"url {text!r} holds a character that must be percent-encoded")
    return url


def _ranges(status: list[Any] | None, problem: Callable[[str], None]) -> list[tuple[int, int]]:
    ranges = []
    for item in status or ["200-299"]:
        found = re.match(r"^\s*(\d{3})(?:\s*-\s*(\d{3}))?\s*$", str(item))
        if not found:
            problem(f"status {item!r} is neither a number nor a range like 200-299")
            continue
        ranges.append((int(found.group(1)), int(found.group(2) or found.group(1))))
    return ranges


def _regex(pattern: str | None, problem: Callable[[str], None]) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as exc:
        problem(f"body_regex {pattern!r}: {exc}")
        return None


def probe(check: dict[str, Any], net: Net, deadline: float) -> Outcome:
    try:
        return _attempt(check, net, deadline)
    except NotReady as exc:
        return exc.outcome


def _attempt(check: dict[str, Any], net: Net, deadline: float) -> Outcome:
    url, method, body = check["url"], check["method"], check["body"]
    for _hop in range(MAX_REDIRECTS + 1):
        status, location, outcome = _request(check, url, method, body, net, deadline)
        accepted = any(low <= status <= high for low, high in check["status"])
        if accepted or status not in _REDIRECTS:
            return outcome
        target = urlsplit(urljoin(url.geturl(), location or ""))
        if not check["same_origin"]:
            return suspect("redirect", f"{status} to {location!r}; name the final url, or set follow_redirects: same_origin")
        if _origin(target) != _origin(url):
            return suspect("redirect_refused", f"{status} to another origin: {location!r}")
        if status == 303 or (status in (301, 302) and method == "POST"):
            method, body = "GET" if method != "HEAD" else method, None
        url = target
    return suspect("redirect_loop", f"more than {MAX_REDIRECTS} redirects, the last to {url.geturl()!r}")


def _origin(url: SplitResult) -> tuple[str, str, int]:
    return url.scheme, url.hostname or "", url.port or (443 if url.scheme == "https" else 80)


def _request(
    check: dict[str, Any], url: SplitResult, method: str, body: bytes | None, net: Net, deadline: float
) -> tuple[int, str | None, Outcome]:
    scheme, host, port = _origin(url)
    with net.connect(host, port, deadline) as stream:
        if scheme == "https":
            stream.start_tls(check["tls"], host)
        connection = http.client.HTTPConnection(host, port)
        # http.client reads and writes through the stream, so the deadline holds for every byte.
        connection.sock = HttpSocket(stream)
        try:
            target = (url.path or "/") + (f"?{url.query}" if url.query else "")
            connection.request(method, target, body, check["headers"])
            response = connection.getresponse()
            return response.status, response.getheader("Location"), _judge(check, response)
        except http.client.HTTPException as exc:
            raise NotReady(_from_http_error(exc, scheme)) from exc
        except ValueError as exc:
            raise NotReady(transient("bad_reply", f"the reply is not valid HTTP: {exc}")) from exc


def _from_http_error(exc: http.client.HTTPException, scheme: str) -> Outcome:
    if isinstance(exc, http.client.RemoteDisconnected):
        return transient("closed", "the server closed the connection without an answer")
    if isinstance(exc, http.client.BadStatusLine):
        hint = "; the port seems to speak TLS, use https" if str(exc.args[0]).startswith("\x15\x03") and scheme == "http" else ""
        return transient("bad_status_line", f"the reply begins with '{show_bytes(str(exc.args[0]).encode('latin-1'))}'{hint}")
    if isinstance(exc, http.client.IncompleteRead):
        return transient("body_truncated", f"the body ended early: {exc}")
    return transient("bad_reply", f"{type(exc).__name__}: {exc}")


def _judge(check: dict[str, Any], response: http.client.HTTPResponse) -> Outcome:
    status = response.status
    if not any(low <= status <= high for low, high in check["status"]):
        make = suspect if status in _SUSPECT_STATUS else transient
        return make("http_status", f"{status} {response.reason}".strip())
    wants_body = bool(check["json"] or check["body_regex"])
    body = read_at_most(response, 1 + check["max_body"])
    if len(body) > check["max_body"]:
        if not wants_body:
            return ready("ok", str(status))
        return transient("body_too_large", f"the body has more than max_body={check['max_body']} bytes")
    if response.length:
        return transient("body_truncated", f"{response.length} bytes of the body are missing")
    if not wants_body:
        return ready("ok", str(status))
    encoding = (response.getheader("Content-Encoding") or "identity").lower()
    if encoding != "identity":
        return transient("unsupported_encoding", f"the body came as {encoding} although that was not asked for")
    if check["body_regex"] and not check["body_regex"].search(body.decode("utf-8", "replace")):
        found = shorten(body[:200].decode("utf-8", "replace"))
        return transient("body_mismatch", f"body_regex {check['body_regex'].pattern!r} not in: {found}")
    return check_json(check["json"], body) if check["json"] else ready("ok", str(status))
