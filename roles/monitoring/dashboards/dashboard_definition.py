"""The dashboards as they are written in the YAML files beside this one: what is asked, and how the answer is shown.

A file is one dashboard: title, description, rows; a row: title, panels. A panel:

- title, description (one sentence)
- kind: stat (default: the value now), chart (lines over time), table (a line for each combination of labels) or alerts
- expr (stat), exprs {legend: PromQL} (chart; a legend's {label} is replaced), columns {title: {expr, and what follows}} (table)
- unit: none (default), s, bytes, bytes/s, /s or % (of a ratio: 1 is 100 %)
- above {value: state} or below {value: state}: state is warning or critical; above counts from the value on
- mappings {value: text}
- width: of 24 columns; 4 by default
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
# The first is the home page; the order is that of the navigation.
NAMES = ("overview", "airflow", "regmodel", "databases", "hosts")
UNITS = ("", "s", "bytes", "bytes/s", "/s", "%")
HEIGHTS = {"stat": 3, "chart": 8, "table": 8, "alerts": 8}  # of a Grafana panel
FIRING = 'ALERTS{alertstate="firing"}'
# A deployment is marked in every chart; the value is the time.
DEPLOYMENTS = "max by (role) (mlops_deploy_timestamp_seconds)"


@dataclass(frozen=True)
class Query:
    """One expression. `name` is a chart's legend or a table's column; the rest says how its values are shown."""

    expr: str
    name: str = ""
    unit: str = ""
    above: dict[float, str] = field(default_factory=dict)
    below: dict[float, str] = field(default_factory=dict)
    mappings: dict[float, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"{self.expr}: unit is {self.unit!r}, wanted one of {', '.join(UNITS[1:])} or none")
        if self.above and self.below:
            raise ValueError(f"{self.expr}: has above and below, wanted one of them")
        if unknown := {*self.above.values(), *self.below.values()} - {"warning", "critical"}:
            raise ValueError(f"{self.expr}: state is {', '.join(map(repr, unknown))}, wanted warning or critical")


@dataclass(frozen=True)
class Panel:
    title: str
    kind: str
    description: str
    width: int
    queries: tuple[Query, ...]


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    name: str
    title: str
    description: str
    rows: tuple[Row, ...]

    @property
    def uid(self) -> str:
        return f"mlops-{self.name}"


def panel(entry: dict[str, Any]) -> Panel:
    """A panel from its YAML; ValueError or TypeError says what is wrong with it."""
    entry = dict(entry)
    title, kind = entry.pop("title"), entry.pop("kind", "stat")
    description, width = entry.pop("description", ""), entry.pop("width", 4)
    if kind not in HEIGHTS:
        raise ValueError(f"{title}: kind is {kind!r}, wanted one of {', '.join(HEIGHTS)}")
    if kind == "chart":
        asked = entry.pop("exprs").items()
        queries = tuple(Query(expr, name, **entry) for name, expr in asked)
    elif kind == "table":
        queries = tuple(Query(name=name, **column) for name, column in entry.pop("columns").items())
    elif kind == "alerts":
        queries = (Query(FIRING),)
    else:
        queries = (Query(**entry),)
    return Panel(title, kind, description, width, queries)


def load(name: str) -> Dashboard:
    """A dashboard of NAMES."""
    document = yaml.safe_load((HERE / f"{name}.yml").read_text())
    rows = tuple(Row(row["title"], tuple(panel(entry) for entry in row["panels"])) for row in document["rows"])
    return Dashboard(name, document["title"], document["description"], rows)


def dashboards() -> list[Dashboard]:
    return [load(name) for name in NAMES]


def expressions() -> Iterator[tuple[str, str]]:
    """Every PromQL expression, as (dashboards/<name>/<row>/<panel>/<legend or column>, expression)."""
    yield "dashboards/deployments", DEPLOYMENTS
    for dashboard in dashboards():
        for row in dashboard.rows:
            for shown in row.panels:
                for query in shown.queries:
                    yield "/".join(filter(None, ("dashboards", dashboard.name, row.title, shown.title, query.name))), query.expr
