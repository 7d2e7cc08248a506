"""A dashboard as a page for Prometheus' own console templates: one file of HTML, style and script, which asks that same Prometheus."""

from __future__ import annotations

import dataclasses
import html
import json

from dashboard_definition import DEPLOYMENTS, HERE, Dashboard, dashboards

PAGE = """<!doctype html>
<!-- Written by `make dashboards`; a change made here is undone by the next. -->
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%(title)s · mlops</title>
<link rel="icon" href="data:,">
<style>
%(style)s</style>
</head>
<body>
<header></header>
<main><h1>%(description)s</h1></main>
<div id="tip" hidden></div>
<script type="application/json" id="page">%(page)s</script>
<script>
%(script)s</script>
</body>
</html>
"""


def render(dashboard: Dashboard) -> str:
    """The page. ValueError if it holds what Prometheus' template engine would take for its own."""
    def short(fields: list[tuple[str, object]]) -> dict[str, object]:
        return {name: value for name, value in fields if value not in ("", {})}

    page = {
        **dataclasses.asdict(dashboard, dict_factory=short),
        "pages": [{"name": other.name, "title": other.title} for other in dashboards()],
        "deployments": DEPLOYMENTS,
    }
    text = PAGE % {
        "title": html.escape(dashboard.title),
        "description": html.escape(dashboard.description),
        "style": (HERE / "console.css").read_text(),
        "script": (HERE / "console.js").read_text(),
        # Nothing in it may end the script element.
        "page": json.dumps(page, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    if "{{" in text:
        line = next(number for number, line in enumerate(text.splitlines(), 1) if "{{" in line)
        raise ValueError(f"{dashboard.name}: line {line} holds two opening braces, a template action to Prometheus; put a space between")
    return text
