"""Writes the dashboards for Grafana and the console pages of Prometheus; --check fails where a file is not current."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import console_page
import grafana_json
from dashboard_definition import HERE, dashboards

FILES = HERE.parent / "files"


def rendered() -> dict[Path, str]:
    """Every file that there should be, and its text."""
    files = {}
    for dashboard in dashboards():
        files[FILES / "dashboards" / f"{dashboard.uid}.json"] = grafana_json.render(dashboard)
        files[FILES / "consoles" / f"{dashboard.name}.html"] = console_page.render(dashboard)
    return files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 where a file is not current")
    check = parser.parse_args().check
    wanted = rendered()
    present = {path for folder in ("dashboards", "consoles") for path in (FILES / folder).glob("*")}
    stale = sorted(path for path in wanted.keys() | present if not path.is_file() or path.read_text() != wanted.get(path))
    for path in stale:
        if not check and path in wanted:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted[path])
        elif not check:
            path.unlink()
        done = "not current; run make dashboards" if check else "written" if path in wanted else "removed"
        print(f"{path.relative_to(FILES.parents[2])}: {done}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
