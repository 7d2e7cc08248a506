# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DAG files that Airflow 3 cannot load: what ruff says of them on the controller, and what Airflow itself says, in one line a file."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

# The image's own Python. ruff's rules for Airflow 3, and files that cannot be read; --ignore-noqa: Airflow reads no such comment either.
RUFF = ("check", "--isolated", "--no-cache", "--preview", "--select", "AIR3,E902", "--ignore-noqa", "--target-version", "py313",
        "--output-format", "json", "--quiet")
# Rules for what Airflow 3 still takes.
WORKS = ("AIR304", "AIR311", "AIR312", "AIR321")
TOLD = 4  # findings of one file that are told
LINE = re.compile(r'^\s*File "([^"]+)", line (\d+)', re.MULTILINE)


class NoRuff(Exception):
    """ruff is not on the controller, or does not run; the text says what to do."""


class Finding(NamedTuple):
    """What ruff says of one place."""

    line: int
    code: str
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


def findings(directory: str) -> dict[str, list[Finding]]:
    """Each Python file below the directory of which ruff says anything: relative name -> findings. Raises NoRuff."""
    root = os.path.realpath(os.path.expanduser(directory))
    try:
        from ruff import find_ruff_bin

        done = subprocess.run([find_ruff_bin(), *RUFF, root], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except (ImportError, OSError) as error:
        raise NoRuff(f"ruff is not on the controller ({error}); install it with pip, at the version of this collection's requirements.txt") from error
    # 1: it has found something.
    if done.returncode not in (0, 1):
        raise NoRuff(f"ruff ended with {done.returncode} ({' '.join(done.stderr.decode(errors='replace').split())[:300]})")
    found: dict[str, list[Finding]] = {}
    for row in json.loads(done.stdout):
        # Of what still works, the code says so.
        parts = [row["message"].partition("; It still works")[0], (row.get("fix") or {}).get("message") or ""]
        name = os.path.relpath(row["filename"], root)
        text = "; ".join(part.strip(" ;.") for part in parts if part)
        found.setdefault(name, []).append(Finding(row["location"]["row"], row["code"] or "invalid-syntax", text))
    return found


def _told(rows: list[Finding]) -> str:
    rest = len(rows) - TOLD
    return "; ".join(map(str, rows[:TOLD])) + (f"; and {rest} more" if rest > 0 else "")


def dag_warnings(directory: str, every: bool) -> Iterator[str]:
    """What is to be said of a team's folder of DAGs before it is delivered. every: also what Airflow 3 still takes."""
    if not directory or not os.path.isdir(os.path.expanduser(directory)):
        return  # told as a file that is not there
    try:
        found = findings(directory)
    except NoRuff as error:
        yield f"airflow_dags_dir was not looked at for what Airflow 3 cannot load: {error}"
        return
    for name, rows in sorted(found.items()):
        broken = [row for row in rows if row.code not in WORKS]
        if broken:
            yield f"airflow_dags_dir: {name} does not fit Airflow 3: {_told(broken)}"
        if every and len(broken) < len(rows):
            yield f"airflow_dags_dir: {name} uses what Airflow 3 will drop: {_told([row for row in rows if row.code in WORKS])}"


def import_warning(row: Mapping[str, Any], found: list[Finding]) -> str:
    """One file that Airflow could not load. row: bundle, file and error, which is a traceback or a sentence; found: what ruff says of the file."""
    text = str(row["error"])
    lines = [line for path, line in LINE.findall(text) if path.endswith(f"/{row['file']}")]
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "without a word")
    broken = [finding for finding in found if finding.code.startswith("AIR") and finding.code not in WORKS]
    return "".join([
        f"Airflow cannot load {row['file']}",
        f", line {lines[-1]}" if lines else "",
        f": {last}",
        f". For Airflow 3, {_told(broken)}" if broken else "",
    ])
