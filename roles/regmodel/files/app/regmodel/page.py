"""The page at /: what is served, its signature, and a form to try it. It loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

_UNLOCK = (
    '<form id="unlock"><label class="row">API key<input id="key" type="password" autocomplete="off" required></label>'
    '<div class="row"><button>Show</button></div><output class="row bad" id="refused"></output></form>'
)
_PAGE = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))


def render(model: dict[str, Any] | None, nonce: str, *, prefix: str = "") -> str:
    """The page as HTML.

    model: the body of /model, or None for a page that asks for the API key first. nonce: of the Content-Security-Policy.
    prefix: the path of the service at a proxy.
    """
    common = {"nonce": nonce, "prefix": escape(prefix)}
    if model is None:
        state = "<b>An API key is asked for.</b> With it this page shows the model that is served."
        return _PAGE.substitute(common, title="API key", following="", tone="", version="", state=state, body=_UNLOCK)
    following = f"alias <code>{escape(model['alias'])}</code> of <code>{escape(model['name'])}</code>"
    if "detail" in model:
        state = f"<b>No model is served.</b> {escape(model['detail'])}"
        return _PAGE.substitute(
            common, title=escape(model["name"]), following=following, tone="bad", version="", state=state, body=""
        )
    state = f"<b>Version {escape(model['version'])}</b> is served, loaded {_time(model['loaded_at'])}"
    if model["problem"]:
        state += f'<br><span class="warn">{escape(model["problem"])}</span>'
    return _PAGE.substitute(
        common,
        title=escape(f"{model['name']} {model['version']}"),
        following=following,
        tone="good",
        version=escape(model["version"]),
        state=state,
        body=_form(model) + _facts(model),
    )


def _form(model: dict[str, Any]) -> str:
    example = model["example"]["inputs"][0] if model["example"] else {}
    inputs = "".join(_input(field, example.get(field["name"])) for field in model["signature"]["inputs"])
    return (
        f'<h2>Try it</h2><form id="try">{inputs}<div class="row"><button>Predict</button></div>'
        '<output class="row" id="answer"></output></form>'
    )


def _input(field: dict[str, Any], example: Any) -> str:
    name, kind = escape(field["name"]), field["type"]
    attributes = f'name="{name}" data-type="{kind}"' + (" required" if field["required"] else "")
    label = f"{name}" + ("" if field["required"] else " (optional)")
    if kind == "boolean":
        options = "" if field["required"] else "<option></option>"
        for text in ("true", "false"):
            chosen = " selected" if example is (text == "true") else ""
            options += f"<option{chosen}>{text}</option>"
        return f"<label>{label}<select {attributes}>{options}</select></label>"
    number = kind not in ("string", "datetime")
    step = ' type="number" step="any"' if kind in ("float", "double") else ' type="number"' if number else ""
    value = "" if example is None else f' value="{escape(str(example))}"'
    return f"<label>{label}<input {attributes}{step}{value}></label>"


def _facts(model: dict[str, Any]) -> str:
    rows = [
        (escape(field["name"]), escape(field["type"]), "required" if field["required"] else "optional")
        for field in model["signature"]["inputs"]
    ]
    outputs = [
        (escape(str(output.get("name") or "prediction")), escape(str(output.get("type", ""))))
        for output in model["signature"]["outputs"] or []
    ]
    metrics = [
        (escape(name), escape(model["metrics_not_finite"][name]) if value is None else f"{value:.6g}")
        for name, value in sorted(model["metrics"].items())
    ]
    facts = [
        ("Run", f"<code>{escape(model['run_id'] or 'none')}</code>"),
        ("Alias points to", f"version {escape(model['alias_version'] or '?')}"),
        ("MLflow last answered", _time(model["polled_at"])),
    ]
    return (
        f"<h2>Model</h2>{_table(facts)}"
        + (f"<h2>Metrics of its training</h2>{_table(metrics)}" if metrics else "")
        + f"<h2>Inputs</h2>{_table(rows, ('Field', 'Type', ''))}"
        + (f"<h2>Outputs</h2>{_table(outputs, ('Field', 'Type'))}" if outputs else "")
    )


def _table(rows: Sequence[tuple[str, ...]], head: tuple[str, ...] = ()) -> str:
    """A table of cells that are HTML already."""
    titles = f"<tr>{''.join(f'<th>{title}</th>' for title in head)}</tr>" if head else ""
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="table"><table>{titles}{lines}</table></div>'


def _time(moment: str | None) -> str:
    return f"<time>{escape(moment.replace('T', ' ').replace('+00:00', ' UTC'))}</time>" if moment else "never"
