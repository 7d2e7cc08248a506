"""The rule files of the role `monitoring` as data, and the cases that promtool runs over them."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
RULES = ROOT / "roles/monitoring/files/rules"
CASES = Path(__file__).resolve().parent / "rules"


@functools.cache
def rules() -> list[tuple[str, dict[str, Any]]]:
    """Every rule, as (rules/<file>/<group>/<alert or recording name>, rule)."""
    found = []
    for path in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                found.append((f"rules/{path.name}/{group['name']}/{rule.get('alert') or rule['record']}", rule))
    return found


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for _file, rule in rules() if "alert" in rule}


@dataclass
class Case:
    """One look at an alert: the labels of each of its instances that fires then."""

    file: str
    alert: str
    at: str
    firing: list[dict[str, str]]


def labels(series: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="([^"]*)"', series))


@functools.cache
def cases() -> list[Case]:
    found = []
    for path in sorted(CASES.glob("*.test.yml")):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for look in test["promql_expr_test"]:
                firing = [labels(sample["labels"]) for sample in look["exp_samples"]]
                found.append(Case(path.name, labels(look["expr"])["alertname"], look["eval_time"], firing))
    return found
