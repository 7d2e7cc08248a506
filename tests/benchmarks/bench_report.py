"""The benchmark's arithmetic, tables and plot."""

from __future__ import annotations

import math
import statistics
from typing import Any, NamedTuple

READY_TIMES = (1, 5, 20, 60)
COUNTS = (1, 10, 100)


class Cell(NamedTuple):
    """All samples of one waiter with ``count`` targets and one ready time (seconds; 0: ready before it began)."""

    waiter: str
    kind: str
    ours: bool
    count: int
    ready: float
    # Task end minus the moment when the last target was ready; for ready time 0 minus the task's start.
    overshoot: list[float]
    # For containers: task end minus the last health event's stamp.
    after_event: list[float]


class Promise(NamedTuple):
    what: str
    wanted: str
    found: str
    holds: bool


def percentile(values: list[float], percent: float) -> float:
    """Nearest rank: the smallest value that at least ``percent`` percent of them do not exceed. Raises ValueError on none."""
    if not values:
        raise ValueError("a percentile of no values")
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def probe_bound(elapsed: float, attempt: float) -> float:
    """The promised overshoot in seconds of a probe whose target was ready ``elapsed`` seconds after the wait began."""
    return max(0.020, min(0.02 * elapsed, 0.5)) + attempt


def paired_ratio(pairs: list[tuple[float, float]]) -> float:
    """Median of the ratios second / first, pair by pair: what slows a pair slows both."""
    return statistics.median(second / first for first, second in pairs)


def seconds(value: float) -> str:
    """Two significant digits, as a person reads them."""
    if abs(value) < 0.995:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if abs(value) < 99.5 else f"{value:.0f} s"


def markdown_row(fields: list[Any]) -> str:
    return "| " + " | ".join(str(field) for field in fields) + " |"


def table(cells: list[Cell], kind: str, count: int, figure: str = "overshoot") -> list[str]:
    """A table of medians, a line a waiter; behind a peer's figure how many times ours it is."""
    chosen = [cell for cell in cells if cell.kind == kind and cell.count == count and getattr(cell, figure)]
    times = sorted({cell.ready for cell in chosen})
    ours = {cell.ready: statistics.median(getattr(cell, figure)) for cell in chosen if cell.ours}
    heads = ["already ready" if not time else f"{time:g} s" for time in times]
    lines = [markdown_row(["waiter", *heads]), "| --- |" + " ---: |" * len(times)]
    for waiter in sorted({cell.waiter for cell in chosen}, key=lambda name: (not name.startswith("wait_healthy"), name)):
        fields = [waiter]
        for time in times:
            found = next((cell for cell in chosen if cell.waiter == waiter and cell.ready == time), None)
            if not found:
                fields.append("–")
                continue
            median = statistics.median(getattr(found, figure))
            ratio = f" (×{median / ours[time]:.1f})" if not found.ours and ours.get(time, 0) > 0 else ""
            fields.append(seconds(median) + ratio)
        lines.append(markdown_row(fields))
    return lines


def markdown(cells: list[Cell], promises: list[Promise], alone: dict[str, Any], about: dict[str, Any], plot: str) -> str:
    """All of a run; ``about`` is the machine and ``alone`` the samples of the module alone, by name."""
    facts = [f"- {name.replace('_', ' ')}: {value}" for name, value in about.items()]
    lines = ["# wait_healthy and its peers", "", *facts, "", f"![overshoot]({plot})", ""]
    lines += ["## Promises", "", "| promise | wanted | found | |", "| --- | --- | --- | --- |"]
    lines += [markdown_row([one.what, one.wanted, one.found, "kept" if one.holds else "**not kept**"]) for one in promises]
    lines += ["", "## The module alone", "", "| what | samples | median | 95th percentile |", "| --- | ---: | ---: | ---: |"]
    for name, one in alone.items():
        lines.append(markdown_row([name, len(one["samples"]), seconds(one["median"]), seconds(one["p95"])]))
    for kind, figure, title in (
        ("http", "overshoot", "HTTP: from the last target's 200 to the task's end"),
        ("tcp", "overshoot", "TCP: from the last port's opening to the task's end"),
        ("docker", "overshoot", "Containers: from the last application's readiness to the task's end"),
        ("docker", "after_event", "Containers: from Docker's last health event to the task's end"),
    ):
        for count in COUNTS:
            rows = table(cells, kind, count, figure)
            if len(rows) > 2:
                lines += ["", f"## {title}, {count} {'check' if count == 1 else 'checks'}", "", *rows]
    return "\n".join([*lines, ""])


COLOURS = {"http": "#1f6fb2", "tcp": "#2e8b57", "docker": "#b5541c"}
DASHES = ("6 3", "2 3")
LOW, HIGH = 0.01, 100.0
WIDTH, HEIGHT, PLOT, LEFT, TOP = 960, 430, 250, 60, 60


def _y(value: float) -> float:
    share = math.log10(min(max(value, LOW), HIGH) / LOW) / math.log10(HIGH / LOW)
    return TOP + PLOT * (1 - share)


def svg(cells: list[Cell]) -> str:
    """Median overshoot over ready time, logarithmic, a panel for each number of targets."""
    waited = [cell for cell in cells if cell.ready and cell.overshoot]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="20" font-size="15">From ready to returned (median, whole task; lower is better)</text>',
    ]
    width = (WIDTH - LEFT - 20) / len(COUNTS)
    for panel, count in enumerate(COUNTS):
        left = LEFT + panel * width
        xs = {time: left + width * (index + 0.5) / (len(READY_TIMES) + 0.5) for index, time in enumerate(READY_TIMES)}
        parts.append(f'<text x="{left}" y="{TOP - 12}">{count} {"check" if count == 1 else "checks"}</text>')
        for exponent in range(-2, 3):
            y = _y(10.0**exponent)
            parts.append(f'<line x1="{left}" x2="{left + width - 25:.0f}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>')
            if not panel:
                parts.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{10.0**exponent:g} s</text>')
        parts += [f'<text x="{x:.0f}" y="{TOP + PLOT + 18}" text-anchor="middle">{time} s</text>' for time, x in xs.items()]
        for waiter, (colour, dash) in styles(waited).items():
            points = [(xs[cell.ready], _y(statistics.median(cell.overshoot)))
                      for cell in sorted(waited, key=lambda cell: cell.ready) if cell.waiter == waiter and cell.count == count]
            line = " ".join(f"{x:.0f},{y:.1f}" for x, y in points)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')
            parts += [f'<circle cx="{x:.0f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    parts.append(f'<text x="{WIDTH / 2:.0f}" y="{TOP + PLOT + 38}" text-anchor="middle">ready time of the last target</text>')
    for index, (waiter, (colour, dash)) in enumerate(styles(waited).items()):
        x, y = LEFT + 225 * (index % 4), TOP + PLOT + 68 + 22 * (index // 4)
        line = f'x1="{x}" x2="{x + 30}" y1="{y - 4}" y2="{y - 4}"'
        parts.append(f'<line {line} stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')
        parts.append(f'<text x="{x + 36}" y="{y}">{waiter}</text>')
    return "\n".join([*parts, "</svg>", ""])


def styles(cells: list[Cell]) -> dict[str, tuple[str, str]]:
    """Colour and dashes of each waiter: a colour a kind, ours as a full line."""
    found: dict[str, tuple[str, str]] = {}
    for kind, colour in COLOURS.items():
        peers = iter(DASHES)
        for cell in cells:
            if cell.kind == kind and cell.waiter not in found:
                found[cell.waiter] = (colour, "none" if cell.ours else next(peers))
    return found
