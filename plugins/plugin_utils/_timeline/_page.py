# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The timeline as one HTML page that loads nothing: a chart for the eye, a table with the same figures for everybody else."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

from ansible_collections.mlops.stack.plugins.plugin_utils._timeline._rows import Service, Timeline, Wait

# Of the chart, in its own units.
WIDTH, LABEL, RIGHT = 1000, 236, 124
ROW, HEADER, TOP, BAR = 26, 30, 34, 12
TICKS = 9
LABEL_CHARS, CODE_CHARS = 26, 16

STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --soft: #59636e; --line: #d9dee3; --band: #f4f6f8;
  --normal: #2a78b8; --wait: #b5d3ea; --path: #c2500a; --path-wait: #f4c6a3; --bad: #b3262e; --bad-wait: #efb6b9; }
@media (prefers-color-scheme: dark) { :root { --back: #14181d; --text: #e6eaee; --soft: #9aa5b1; --line: #323a44; --band: #1d232a;
  --normal: #5aa9e6; --wait: #284a66; --path: #f28c43; --path-wait: #6b3d1b; --bad: #f0737a; --bad-wait: #5f2b2f; } }
@media print { :root { --back: #fff; } .chart { overflow: visible; } }
body { margin: 0 auto; padding: 1.5rem; max-width: 70rem; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", Arial, sans-serif; }
h1 { margin: 0; font-size: 1.5rem; } h2 { margin: 2rem 0 .5rem; font-size: 1.1rem; } p { margin: .4rem 0; } .soft { color: var(--soft); }
.bad { color: var(--bad); } .chart, .figures { overflow-x: auto; } svg { display: block; min-width: 46rem; width: 100%; height: auto; }
svg text { fill: var(--text); font-size: 13px; } svg .soft { fill: var(--soft); } svg .bad { fill: var(--bad); }
.strong { font-weight: 600; }
.grid { stroke: var(--line); } .band { fill: var(--band); } .span { fill: var(--line); }
.lead { stroke: var(--soft); stroke-width: 2; } .dots { stroke-dasharray: 2 4; }
.silent { fill: var(--wait); } .warm { fill: var(--normal); } .dot { fill: var(--normal); stroke: var(--back); stroke-width: 1.5; }
.hollow { fill: var(--back); stroke: var(--normal); stroke-width: 2.5; }
.path .silent { fill: var(--path-wait); } .path .warm, .path .dot { fill: var(--path); }
.failed .silent { fill: var(--bad-wait); } .failed .warm { fill: var(--bad); }
.key { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; margin: .6rem 0 1rem; padding: 0; list-style: none; color: var(--soft); }
.key svg { display: inline-block; min-width: 0; width: 30px; height: 14px; margin-right: .4rem; vertical-align: -2px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; } caption { text-align: left; color: var(--soft); }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left; } thead th { border-bottom-width: 2px; }
tbody th { font-weight: 400; } .num { text-align: right; white-space: nowrap; } tr.path th, tr.path td { font-weight: 600; }
tr.path th:first-child { box-shadow: inset 4px 0 var(--path); }
"""


class Scale(NamedTuple):
    low: float
    high: float
    step: float

    def x(self, at: float) -> float:
        span = self.high - self.low
        return round(LABEL + (min(max(at, self.low), self.high) - self.low) / span * (WIDTH - LABEL - RIGHT), 1)


def scale(services: list[Service], waits: list[Wait]) -> Scale:
    """From what happened first to what happened last, in round steps."""
    times = [w.began for w in waits] + [t for s in services for t in (s.created, s.started, s.answered, s.ready) if t is not None]
    times += [s.until for s in services if s.ready is None]
    low, high = min(times, default=0.0), max(times, default=1.0)
    step = next(s for s in (m * 10**e for e in range(-2, 9) for m in (1, 2, 5)) if (high - low) / s <= TICKS)
    low = low // step * step
    return Scale(low, max(high, low + step), step)


def page(timeline: Timeline, services: list[Service]) -> str:
    """The whole document; well-formed XML too."""
    hosts = sorted({s.host for s in services})
    path = sorted((s for s in services if s.critical), key=lambda s: s.ready or 0.0)
    failed = [s for s in services if s.ready is None]
    text = [f"{len(services)} services on {len(hosts)} host{'' if len(hosts) == 1 else 's'}"]
    if failed:
        text.append(f'<span class="bad">{len(failed)} not ready</span>')
    elif services:
        text.append(f"all ready after {max(s.ready or 0.0 for s in services):.1f} s")
    lost = [f'<p class="bad">{escape(host)} became unreachable during a wait; what it had seen is lost.</p>'
            for host in timeline.unreachable]
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/><title>Timeline</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>",
        f"<style>{STYLE}</style></head><body><main><h1>Timeline</h1>",
        f'<p>{", ".join(text)}. <span class="soft">Seconds since the run began, {escape(timeline.began)}.</span></p>',
        *lost,
    ]
    if path:
        steps = " → ".join(f"{escape(_where(s, hosts))} {s.ready:.1f}" for s in path)
        parts.append(f'<p>Critical path: <strong>{steps}</strong> <span class="soft">({timeline.basis})</span></p>')
    parts += [_key(bool(path), bool(failed)), '<div class="chart">', _chart(timeline, services, hosts), "</div>", _table(services)]
    return "\n".join([*parts, "</main></body></html>", ""])


def _where(service: Service, hosts: list[str]) -> str:
    return service.name if len(hosts) == 1 else f"{service.host} {service.name}"


def _key(path: bool, failed: bool) -> str:
    def entry(shape: str, text: str, kind: str = "") -> str:
        return f'<li class="{kind}"><svg viewBox="0 0 30 14" aria-hidden="true">{shape}</svg>{text}</li>'

    block = '<rect class="{}" x="0" y="2" width="30" height="10" rx="2"/>'
    entries = [
        entry('<path class="lead" d="M0 7H30"/>', "created, not started"),
        entry('<path class="lead dots" d="M0 7H30"/>', "not asked yet"),
        entry(block.format("silent"), "asked, silent"),
        entry(block.format("warm"), "answers, not ready"),
        entry('<circle class="dot" cx="15" cy="7" r="6"/>', "ready"),
        entry('<circle class="dot hollow" cx="15" cy="7" r="5"/>', "ready when first asked"),
    ]
    if path:
        entries.append(entry(block.format("warm"), "critical path (▸)", "path"))
    if failed:
        entries.append(entry(block.format("warm"), "not ready (✕)", "failed"))
    return f'<ul class="key">{"".join(entries)}</ul>'


def _chart(timeline: Timeline, services: list[Service], hosts: list[str]) -> str:
    axis = scale(services, timeline.waits)
    body, y = [], TOP
    for host in hosts:
        waits = [w for w in timeline.waits if w.host == host]
        body.append(f'<rect class="band" x="0" y="{y}" width="{WIDTH}" height="{HEADER - 4}" rx="3"/>')
        body.append(f'<text class="strong" x="8" y="{y + 18}">{_label(host)}</text>')
        for wait in waits:
            left = axis.x(wait.began)
            width = max(axis.x(wait.began + wait.elapsed) - left, 2.0)
            note = f"wait on {escape(host)}: {wait.began:.1f} to {wait.began + wait.elapsed:.1f} s, {escape(wait.reason)}"
            body.append(f'<rect class="span" x="{left}" y="{y + 9}" width="{width:.1f}" height="8" rx="2"><title>{note}</title></rect>')
        y += HEADER
        for service in (s for s in services if s.host == host):
            body.append(_row(service, axis, y))
            y += ROW
    count = round((axis.high - axis.low) / axis.step + 0.499)
    ticks = [axis.low + i * axis.step for i in range(count + 1) if axis.low + i * axis.step <= axis.high + axis.step / 100]
    grid = [f'<path class="grid" d="M{axis.x(t)} {TOP - 8}V{y}"/>'
            f'<text class="soft" x="{axis.x(t)}" y="{TOP - 14}" text-anchor="middle">{round(t, 2):g}</text>' for t in ticks]
    title = f"When {len(services)} services started, answered and became ready"
    return (f'<svg viewBox="0 0 {WIDTH} {y + 6}" role="img" aria-labelledby="t d"><title id="t">{title}</title>'
            '<desc id="d">The table below holds the same figures.</desc>'
            f'<text class="soft" x="8" y="{TOP - 14}">seconds</text>{"".join(grid)}\n{"".join(body)}</svg>')


def _row(s: Service, axis: Scale, y: int) -> str:
    middle = y + ROW / 2 - 2
    end = s.until if s.ready is None else s.ready
    begin = s.started if s.started is not None else axis.low if s.ran_before else s.since
    asked = max(begin, s.since)
    told = end if s.answered is None or s.at_once else max(s.answered, asked)
    shapes = []
    if s.created is not None and s.started is not None:
        shapes.append(f'<path class="lead" d="M{axis.x(s.created)} {middle}H{axis.x(s.started)}"/>')
    if asked > begin or s.at_once:
        shapes.append(f'<path class="lead dots" d="M{axis.x(begin)} {middle}H{axis.x(end if s.at_once else asked)}"/>')
    if not s.at_once:
        shapes += [_bar("silent", axis.x(asked), axis.x(told), middle), _bar("warm", axis.x(told), axis.x(end), middle)]
    mark, after = "▸ " if s.critical else "", _cell(end, s.at_once)
    if s.ready is None:
        mark, after = "✕ ", _cut(s.code, CODE_CHARS)
    else:
        dot = 'class="dot hollow" r="5"' if s.at_once else 'class="dot" r="6"'
        shapes.append(f'<circle {dot} cx="{axis.x(end)}" cy="{middle}"/>')
    kind = "path" if s.critical else "failed" if s.ready is None else "row"
    weight = "strong" if s.critical else "bad" if s.ready is None else "plain"
    return (f'<g class="{kind}"><title>{escape(_sentence(s))}</title>'
            f'<text class="{weight}" x="20" y="{middle + 4.5}">{mark}{_label(s.name)}</text>'
            f'{"".join(shapes)}<text class="{weight}" x="{axis.x(end) + 11:.1f}" y="{middle + 4.5}">{escape(after)}</text></g>\n')


def _bar(kind: str, left: float, right: float, middle: float) -> str:
    if right - left < 0.1:
        return ""
    return f'<rect class="{kind}" x="{left}" y="{middle - BAR / 2}" width="{right - left:.1f}" height="{BAR}" rx="2"/>'


def _sentence(s: Service) -> str:
    told = [f"{word} {_cell(at, s.at_once and at == s.ready)} s" for word, at in
            (("created", s.created), ("started", s.started), ("first answer", s.answered), ("ready", s.ready)) if at is not None]
    before = ["ran before"] if s.ran_before else []
    return f"{s.name} on {s.host}: " + ", ".join(before + told + ([] if s.ready is not None else [f"{s.state} ({s.code})"]))


def _label(text: str) -> str:
    return escape(_cut(text, LABEL_CHARS))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _table(services: list[Service]) -> str:
    heads = ["Host", "Service", "Created", "Started", "First answer", "Ready", "Remark"]
    head = "".join(f'<th scope="col"{_numeric(name)}>{name}</th>' for name in heads)
    rows = []
    for s in services:
        started = "ran before" if s.ran_before else _cell(s.started)
        result = f'<span class="bad">{escape(s.state)}: {escape(s.code)}</span>' if s.ready is None else _cell(s.ready, s.at_once)
        remark = "critical path" if s.critical else "ready when first asked" if s.at_once else ""
        cells = [_cell(s.created), started, _cell(s.answered, s.at_once), result]
        service = escape(s.name)
        if s.container and s.container != s.name:
            service += f'<br/><span class="soft">{escape(s.container)}</span>'
        rows.append(f'<tr class="{"path" if s.critical else "row"}"><th scope="row">{escape(s.host)}</th><td>{service}</td>'
                    + "".join(f'<td class="num">{cell}</td>' for cell in cells) + f"<td>{remark}</td></tr>")
    return (f'<h2>Figures</h2><div class="figures"><table><caption>Seconds since the run began; – where nobody saw it</caption>'
            f"<thead><tr>{head}</tr></thead>\n<tbody>{chr(10).join(rows)}</tbody></table></div>")


def _numeric(name: str) -> str:
    return ' class="num"' if name in ("Created", "Started", "First answer", "Ready") else ""


def _cell(at: float | None, by: bool = False) -> str:
    return "–" if at is None else f"{'by ' if by else ''}{at:.1f}"
