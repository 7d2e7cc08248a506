"""A dashboard for Grafana 11.6 or later, made of the types of Grafana's Foundation SDK."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from dashboard_definition import DEPLOYMENTS, HEIGHTS, Dashboard, Panel, Query, dashboards
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.common import GraphThresholdsStyleConfig, VizLegendOptions, VizTooltipOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    GridPos,
    RangeMap,
    RegexMap,
    SpecialValueMap,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE = DataSourceRef("prometheus", "mlops-prometheus")
UNITS = {"": "short", "s": "s", "bytes": "bytes", "bytes/s": "Bps", "/s": "reqps", "%": "percentunit"}
COLORS = {"": "green", "warning": "orange", "critical": "red"}
REFS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def steps(query: Query) -> list[Threshold]:
    """Grafana's thresholds: from a value on, a color; the first has no value."""
    if query.below:
        limits = sorted(query.below.items())
        colors = [state for _value, state in limits] + [""]
        return [Threshold(limit, COLORS[color]) for limit, color in zip([None, *(value for value, _state in limits)], colors, strict=True)]
    return [Threshold(None, COLORS[""]), *(Threshold(value, COLORS[state]) for value, state in sorted(query.above.items()))]


def thresholds(query: Query) -> dashboard_builders.ThresholdsConfig:
    return dashboard_builders.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps(query))


def mappings(query: Query) -> list[ValueMap | RangeMap | RegexMap | SpecialValueMap]:
    options = {str(value): ValueMappingResult(text=text) for value, text in query.mappings.items()}
    return [ValueMap(options=options)] if options else []


def target(query: Query, ref: str, kind: str) -> prometheus.Dataquery:
    built = prometheus.Dataquery().expr(query.expr).ref_id(ref).datasource(DATASOURCE)
    if kind == "chart":
        return built.range().legend_format(re.sub(r"\{(\w+)\}", r"{{\1}}", query.name))
    # The value at the end of the range, and none if there is none then.
    built = built.instant()
    return built if kind == "stat" else built.format(PromQueryFormat.TABLE)


def filled_stat(shown: Panel) -> stat.Panel:
    query = shown.queries[0]
    colored = bool(query.above or query.below)
    return (
        stat.Panel().unit(UNITS[query.unit]).thresholds(thresholds(query)).mappings(mappings(query)).no_value("–")
        .color_mode(BigValueColorMode.VALUE if colored else BigValueColorMode.NONE).graph_mode(BigValueGraphMode.NONE)
    )


def filled_chart(shown: Panel) -> timeseries.Panel:
    query = shown.queries[0]
    built = (
        timeseries.Panel().unit(UNITS[query.unit]).min(0).fill_opacity(6).line_width(1.5).show_points(VisibilityMode.NEVER)
        .legend(VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True))
        .tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if query.above or query.below:
        style = GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        built = built.thresholds(thresholds(query)).thresholds_style(style)
    return built


def filled_table(shown: Panel) -> table.Panel:
    """One line for each combination of labels: Grafana merges the queries' tables over the labels that they share."""
    alone = len(shown.queries) == 1
    values = {"Value" if alone else f"Value #{ref}": query.name for ref, query in zip(REFS, shown.queries, strict=False) if query.name}
    hidden = dict.fromkeys(["Time", "__name__", "alertstate", *([] if values else ["Value"])], True)
    built = (
        table.Panel()
        .with_transformation(DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(DataTransformerConfig(id_val="organize", options={"excludeByName": hidden, "renameByName": values}))
    )
    for query in shown.queries if values else ():
        properties = [DynamicConfigValue("unit", UNITS[query.unit])]
        if query.mappings:
            properties.append(DynamicConfigValue("mappings", mappings(query)))
        if query.above or query.below:
            properties.append(DynamicConfigValue("thresholds", thresholds(query).build()))
            properties.append(DynamicConfigValue("custom.cellOptions", {"type": "color-text"}))
        built = built.override_by_name(query.name, properties)
    return built


FILLED: dict[str, Callable[[Panel], stat.Panel | timeseries.Panel | table.Panel]] = {
    "stat": filled_stat, "chart": filled_chart, "table": filled_table, "alerts": filled_table,
}


def render(dashboard: Dashboard) -> str:
    """The dashboard's JSON, which Grafana's file provisioning takes. The same definition gives the same text."""
    built = (
        dashboard_builders.Dashboard(dashboard.title).uid(dashboard.uid).description(dashboard.description).tags(["mlops"])
        .readonly().refresh("30s").time("now-6h", "now").timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR)
    )
    for other in dashboards():
        link = dashboard_builders.DashboardLink(other.title).type(DashboardLinkType.LINK).url(f"/d/{other.uid}")
        built = built.link(link.keep_time(True))
    y = number = 0
    for row in dashboard.rows:
        built = built.with_row(dashboard_builders.Row(row.title).id(number := number + 1).grid_pos(GridPos(h=1, w=24, x=0, y=y)))
        x, y, height = 0, y + 1, 0
        for shown in row.panels:
            if x + shown.width > 24:
                x, y, height = 0, y + height, 0
            height = max(height, HEIGHTS[shown.kind])
            panel = FILLED[shown.kind](shown).id(number := number + 1).title(shown.title).description(shown.description)
            panel = panel.datasource(DATASOURCE).grid_pos(GridPos(h=HEIGHTS[shown.kind], w=shown.width, x=x, y=y))
            for ref, query in zip(REFS, shown.queries, strict=False):
                panel = panel.with_target(target(query, ref, shown.kind))
            built, x = built.with_panel(panel), x + shown.width
        y += height
    document: dict[str, Any] = json.loads(json.dumps(built.build(), cls=JSONEncoder))
    # The SDK's type of an annotation lacks what is Prometheus' own: the value is the time, in milliseconds.
    document["annotations"] = {"list": [{
        "name": "Deployments", "enable": True, "iconColor": "blue", "datasource": {"type": DATASOURCE.type_val, "uid": DATASOURCE.uid},
        "expr": f"{DEPLOYMENTS} * 1000", "useValueForTime": True, "titleFormat": "Deployment", "textFormat": "{{role}}", "step": "60s",
    }]}
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
