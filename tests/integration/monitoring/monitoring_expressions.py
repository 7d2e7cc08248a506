"""Whether a running Prometheus has an answer to every expression of the rules, the dashboards and the console pages.

For a scenario whose stack has run a smoke test; it needs the stack's Prometheus and nothing else:

    assert not unanswered("http://127.0.0.1:9090")
"""

from __future__ import annotations

import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from monitoring_rules import ROOT, rules

sys.path.insert(0, str(ROOT / "roles/monitoring/dashboards"))
import dashboard_definition

# {part of an expression: why it may have no answer on a platform that is well}
MAY_BE_EMPTY: dict[str, str] = yaml.safe_load((Path(__file__).parent / "may_be_empty.yml").read_text())
STRING = r'"(?:[^"\\]|\\.)*"'
COMPARISON = re.compile(rf"{STRING}|\{{(?:{STRING}|[^}}])*\}}|(==|!=|>=|<=|>|<)(?!\s*bool\b)|\bunless\b")


def asked(expr: str) -> str:
    """An alert's condition as a question that has an answer whenever all its operands have one: is it so, or not?"""
    return COMPARISON.sub(lambda found: f"{found[1]} bool" if found[1] else "and" if found[0] == "unless" else found[0], expr)


def expressions() -> Iterator[tuple[str, str]]:
    """Every PromQL expression as (origin, expression); an alert's as `asked` has it."""
    for origin, rule in rules():
        yield origin, asked(rule["expr"]) if "alert" in rule else rule["expr"]
    yield from dashboard_definition.expressions()


def get(url: str, path: str, parameters: Mapping[str, str], headers: Mapping[str, str]) -> Any:
    """The data of an answer of Prometheus' API; RuntimeError with its own words if it refuses."""
    request = urllib.request.Request(f"{url.rstrip('/')}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", headers=dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"HTTP {error.code}: {error.read().decode(errors='replace')[:300]}") from None


def refused(url: str, headers: Mapping[str, str] | None = None) -> list[str]:
    """What Prometheus at `url` cannot evaluate: `<origin>: <its error>` for each. Needs no data."""
    found = []
    for origin, expr in expressions():
        try:
            get(url, "query", {"query": expr}, headers or {})
        except RuntimeError as error:
            found.append(f"{origin}: {error}: {expr}")
    return found


def unanswered(url: str, headers: Mapping[str, str] | None = None, patience: float = 60.0) -> list[str]:
    """What Prometheus at `url` cannot evaluate or has no value for, and rules that it does not run.

    `headers` are sent with each request (a login). Expressions that MAY_BE_EMPTY names may have no value. What has none yet is asked
    again for `patience` seconds: a rate has its first value with the second scrape.
    """
    found, waiting = [], list(expressions())
    end = time.monotonic() + patience
    while waiting:
        empty = []
        for origin, expr in waiting:
            try:
                answer = get(url, "query", {"query": expr}, headers or {})["result"]
            except RuntimeError as error:
                found.append(f"{origin}: {error}: {expr}")
                continue
            if not answer and not any(part in expr for part in MAY_BE_EMPTY):
                empty.append((origin, expr))
        if time.monotonic() > end:
            found += [f"{origin}: no value: {expr}" for origin, expr in empty]
            break
        waiting = empty
        time.sleep(1 if waiting else 0)
    loaded = {rule["name"]: rule for group in get(url, "rules", {}, headers or {})["groups"] for rule in group["rules"]}
    for origin, rule in rules():
        running = loaded.get(rule.get("alert") or rule["record"])
        if running is None:
            found.append(f"{origin}: Prometheus does not know this rule")
        elif running["health"] != "ok":
            found.append(f"{origin}: {running['health']}: {running.get('lastError', '')}")
    return found
