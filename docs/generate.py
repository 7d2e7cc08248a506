"""Writes what is told twice: the variable table of each role's README from its argument specs, .env.example and its table in
docs/configuration.md from roles/mlops/vars/main/dotenv.yml. --check fails where one is not current."""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import sys
from collections.abc import Iterator
from typing import Any

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROLES = ROOT / "roles"
BEGIN, END = "<!-- variables: written by docs/generate.py -->", "<!-- end of variables -->"
EXAMPLE_HEAD = """\
# Values of the stack, all optional; written by docs/generate.py. To use it: install -m 0600 .env.example inventory/local/.secrets/.env
# Then take the "# " off the lines that you give a value. An Ansible variable wins over its line here.
"""


def plain(text: str | list[str]) -> str:
    """A description in Ansible's markup as Markdown."""
    text = " ".join(text) if isinstance(text, list) else text
    return re.sub(r"\b[COVMP]\(([^)]*)\)", r"`\1`", text).replace("|", "\\|")


def table(role: pathlib.Path) -> str:
    """The role's public variables as a Markdown table."""
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]
    lines = ["| variable | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, option in next(iter(specs.values()))["options"].items():
        default = f"`{json.dumps(option['default'])}`" if "default" in option else ("wanted" if option.get("required") else "see `defaults/`")
        lines.append(f"| `{name}` | {option['type']} | {default} | {plain(option['description'])} |")
    return "\n".join(lines)


def dotenv_names() -> dict[str, dict[str, Any]]:
    """What .env may hold, by name."""
    return yaml.safe_load((ROLES / "mlops/vars/main/dotenv.yml").read_text())["__mlops_dotenv_names"]


def otherwise(row: dict[str, Any]) -> str:
    """What holds where a name is not given."""
    if "default" not in row:
        return "generated"
    return row.get("otherwise") or (f"`{row['default']}`" if row["default"] else "none")


def dotenv_table() -> str:
    """The names of .env as a Markdown table."""
    lines = ["| name in `.env` | variable | not given | meaning |", "| --- | --- | --- | --- |"]
    for name, row in dotenv_names().items():
        lines.append(f"| `{name}` | `{row['variable']}` | {otherwise(row)} | {'Secret. ' if row.get('secret') else ''}{plain(row['meaning'])} |")
    return "\n".join(lines)


def dotenv_example() -> str:
    """An environment file with every name, each commented out."""
    lines = [EXAMPLE_HEAD]
    for name, row in dotenv_names().items():
        text = f"\n# {row['meaning']} Not given: {otherwise(row)}.\n# Wanted: {row['wanted']}.\n"
        lines.append(f"{text.replace('`', '')}# {name}=\n")
    return "".join(lines)


def between(text: str, content: str) -> str:
    """Text with the content between the two marks."""
    head, _marker, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n{content}\n{END}{rest.partition(END)[2]}"


def wanted_files() -> Iterator[tuple[pathlib.Path, str]]:
    """Every file with what it must hold."""
    for role in sorted(path.parent.parent for path in ROLES.glob("*/meta/argument_specs.yml")):
        readme = role / "README.md"
        yield readme, between(readme.read_text() if readme.exists() else f"# {role.name}\n\n{BEGIN}\n{END}\n", table(role))
    guide = ROOT / "docs/configuration.md"
    yield guide, between(guide.read_text(), dotenv_table())
    yield ROOT / ".env.example", dotenv_example()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 where a file is not current")
    check = parser.parse_args().check
    stale = []
    for path, wanted in wanted_files():
        if not path.exists() or path.read_text() != wanted:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(wanted)
    if check and stale:
        print("not current (run `make docs`): " + ", ".join(stale), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
