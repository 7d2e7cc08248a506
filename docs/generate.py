"""Writes the variable table of each role's README from its argument specs; --check fails where one is not current."""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import sys

import yaml

ROLES = pathlib.Path(__file__).resolve().parent.parent / "roles"
BEGIN, END = "<!-- variables: written by docs/generate.py -->", "<!-- end of variables -->"


def plain(text: str | list[str]) -> str:
    """A description in Ansible's markup as Markdown."""
    text = " ".join(text) if isinstance(text, list) else text
    return re.sub(r"\b[COVMP]\(([^)]*)\)", r"`\1`", text).replace("|", "\\|")


def table(role: pathlib.Path) -> str:
    """The role's public variables as a Markdown table."""
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]
    lines = ["| variable | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, option in specs["main"]["options"].items():
        default = f"`{json.dumps(option['default'])}`" if "default" in option else ("wanted" if option.get("required") else "see `defaults/`")
        lines.append(f"| `{name}` | {option['type']} | {default} | {plain(option['description'])} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 where a table is not current")
    check = parser.parse_args().check
    stale = []
    for role in sorted(path.parent.parent for path in ROLES.glob("*/meta/argument_specs.yml")):
        readme = role / "README.md"
        text = readme.read_text() if readme.exists() else f"# {role.name}\n\n{BEGIN}\n{END}\n"
        head, _marker, rest = text.partition(BEGIN)
        wanted = f"{head}{BEGIN}\n{table(role)}\n{END}{rest.partition(END)[2]}"
        if wanted != text or not readme.exists():
            stale.append(str(readme.relative_to(ROLES.parent)))
            if not check:
                readme.write_text(wanted)
    if check and stale:
        print("not current (run `make docs`): " + ", ".join(stale), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
