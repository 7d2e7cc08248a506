"""Reads the heads of the migrations from the installed packages, while the image is built: heads.py OUTPUT."""

import ast
import json
import sys
import sysconfig
from pathlib import Path

SITE = Path(sysconfig.get_path("purelib"))
# Version table -> where its migrations lie. A provider with a table of its own that is added here is waited for too.
MIGRATIONS = {
    "alembic_version": "airflow/migrations/versions",
    "alembic_version_fab": "airflow/providers/fab/migrations/versions",
}


def revisions(directory: Path) -> dict[str, tuple[str, ...]]:
    """Return {revision: revisions it follows}, read without running the migrations."""
    found = {}
    for file in directory.glob("*.py"):
        values = {}
        for node in ast.parse(file.read_text()).body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            if getattr(target, "id", None) in ("revision", "down_revision") and node.value is not None:
                values[target.id] = ast.literal_eval(node.value)
        if "revision" in values:
            down = values.get("down_revision") or ()
            found[values["revision"]] = (down,) if isinstance(down, str) else tuple(down)
    return found


def heads() -> dict[str, dict]:
    result = {}
    for table, path in MIGRATIONS.items():
        known = revisions(SITE / path)
        tips = set(known) - {down for downs in known.values() for down in downs}
        if len(tips) != 1:
            sys.exit(f"{path}: one head is expected, found {sorted(tips)}")
        result[table] = {"head": tips.pop(), "known": sorted(known)}
    return result


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(heads()))
