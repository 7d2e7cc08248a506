"""The project's own static rules: how roles wait, what they declare, and how large a file may grow."""

from __future__ import annotations

import graphlib
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
# wait_healthy is how this project waits; these wait by the clock or for a port that says nothing.
TASK_KEYWORDS = {"until", "retries", "delay"}
MODULES = {"pause", "wait_for", "wait_for_connection"}
# Modules of this collection that call Docker's client.
DOCKER_MODULES = {"mlops.stack.template_tree", "mlops.stack.airflow_secret_digests"}
TASK_LISTS = ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always")
LARGEST = [  # first pattern that matches; lines
    ("molecule/*/molecule.yml", 15),
    ("roles/*/defaults/main.yml", 50),
    ("roles/*/tasks/main.yml", 60),
    ("*.py", 350), ("*.yml", 350), ("*.j2", 350), ("*.yaml", 350),
]
# Templates of YAML and JSON; readers of the first expand $ in values.
EXPANDED = ("roles/*/templates/services.yaml.j2", "roles/images/templates/build.yaml.j2", "roles/monitoring/templates/grafana/**/*.yml.j2")
RENDERED = (*EXPANDED, "roles/*/templates/**/*.yml.j2", "roles/*/templates/**/*.yaml.j2", "roles/*/templates/**/*.json.j2")
OUTPUT = re.compile(r"\{% raw %\}.*?\{% endraw %\}|\{#.*?#\}|\{\{(?P<value>.*?)\}\}(?P<key>:)?", re.DOTALL)
LEFT_OPEN = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


class Loader(yaml.SafeLoader):
    """YAML with Ansible's own tags read as plain values."""


for tag in ("!unsafe", "!vault"):
    Loader.add_constructor(tag, lambda loader, node: loader.construct_scalar(node))


def load(path: pathlib.Path) -> Any:
    return yaml.load(path.read_text(), Loader)


def files() -> list[pathlib.Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True)
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return sorted(path for path in paths if path.is_file() and not path.is_symlink())


def tasks_in(entries: Any) -> Iterator[dict[str, Any]]:
    """Every task of a play or task list, blocks unfolded."""
    for entry in entries or []:
        if isinstance(entry, dict):
            yield entry
            for key in TASK_LISTS:
                yield from tasks_in(entry.get(key))


def bad_tasks(paths: list[pathlib.Path]) -> Iterator[str]:
    """Tasks that wait by the clock, that the inventory can make root against their word, or that the environment leads elsewhere."""
    used = docker_variables()
    for path in paths:
        inside = path.relative_to(ROOT).parts
        if path.suffix not in (".yml", ".yaml") or not (inside[0] == "playbooks" or (inside[0] == "roles" and inside[2] in ("tasks", "handlers"))):
            continue
        yield from bad_docker_tasks(path, load(path), used)
        for task in tasks_in(load(path)):
            names = {key.rpartition(".")[2] for key in task}
            for word in sorted((names & MODULES) | (TASK_KEYWORDS & task.keys())):
                yield f"{path.relative_to(ROOT)}: task {task.get('name')!r} uses {word}; wait with mlops.stack.wait_healthy"
            # Another answers in the place of the stack's own services where the host has a proxy.
            if any(key == "ansible.builtin.uri" and "url" in task[key] and "use_proxy" not in task[key] for key in task):
                yield f"{path.relative_to(ROOT)}: task {task.get('name')!r} asks by the host's proxy; say use_proxy"
            if task.get("become") is False:
                yield f"{path.relative_to(ROOT)}: task {task.get('name')!r} has become: false, which ansible_become beats; set that in its vars"
        if re.search(r"\bsleep\b", re.sub(r"#.*", "", path.read_text())):
            yield f"{path.relative_to(ROOT)}: sleep; wait with mlops.stack.wait_healthy"


def docker_variables() -> list[str]:
    """Names of the roles' variables that are a command of Docker's."""
    rows = [row for path in ROOT.glob("roles/*/vars/**/*.yml") for row in (load(path) or {}).items()]
    return [name for name, value in rows if re.search(r"""^\['docker',|\[['"]docker['"], """, str(value))]


def bad_docker_tasks(path: pathlib.Path, entries: Any, used: list[str], inherited: str = "") -> Iterator[str]:
    """Tasks with Docker's client that the user's environment could lead elsewhere: COMPOSE_PROJECT_NAME, DOCKER_CONTEXT, ..."""
    for entry in entries or []:
        if not isinstance(entry, dict):
            continue
        environment = str(entry.get("environment", inherited))
        command = next((str(value) for key, value in entry.items() if key.rpartition(".")[2] in ("command", "shell")), "")
        client = (re.search(r"(^|[^\w./-])docker ", command) or re.search(r"""\[['"]docker['"],""", command)
                  or any(re.search(rf"\b{name}\b", command) for name in used) or DOCKER_MODULES & entry.keys()
                  or any(key.startswith("community.docker.") for key in entry))
        if client and "DOCKER_HOST" not in environment and "__mlops_docker_environment" not in environment:
            yield f"{path.relative_to(ROOT)}: task {entry.get('name')!r} calls Docker without environment: \"{{{{ __mlops_docker_environment }}}}\""
        for key in TASK_LISTS:
            yield from bad_docker_tasks(path, entry.get(key), used, environment)


def free_plays(paths: list[pathlib.Path]) -> Iterator[str]:
    """Plays whose hosts would not wait for each other where ANSIBLE_STRATEGY says so."""
    for path in [path for path in paths if path.parent == ROOT / "playbooks" and path.suffix == ".yml"]:
        for play in load(path):
            if "hosts" in play and play.get("strategy") != "linear":
                yield f"{path.relative_to(ROOT)}: play {play.get('name')!r} does not say strategy: linear"


def differences(role: pathlib.Path) -> Iterator[str]:
    """Where a role's argument specs and its defaults do not say the same."""
    specs = load(role / "meta" / "argument_specs.yml")["argument_specs"]
    defaults: dict[str, Any] = {}
    for path in sorted([*role.glob("defaults/main.yml"), *role.glob("defaults/main/*.yml")]):
        defaults.update(load(path) or {})
    defaults = {name: value for name, value in defaults.items() if not name.startswith("__")}
    options: dict[str, dict[str, Any]] = {}
    for entry in specs.values():
        options.update(entry.get("options", {}))
    for name in sorted(defaults.keys() - options.keys()):
        yield f"{name} is in defaults and in no argument spec"
    for name, option in sorted(options.items()):
        if option.get("required"):
            if name in defaults:
                yield f"{name} is required by its argument spec and has a default"
        elif name not in defaults:
            yield f"{name} is in the argument specs and not in defaults"
        elif "{{" in str(defaults[name]):
            if "default" in option:
                yield f"{name} is computed in defaults; its argument spec cannot give a default"
        elif option.get("default") != defaults[name]:
            yield f"{name} is {defaults[name]!r} in defaults and {option.get('default')!r} in its argument spec"


def role_rules() -> Iterator[str]:
    for role in sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir()):
        missing = [name for name in ("README.md", "meta/argument_specs.yml", "meta/main.yml", "defaults/main.yml", "tasks/main.yml")
                   if not (role / name).exists() and not (role / name).with_suffix("").is_dir()]
        yield from (f"roles/{role.name}: {name} is missing" for name in missing)
        if "meta/argument_specs.yml" not in missing:
            yield from (f"roles/{role.name}: {difference}" for difference in differences(role))


def scenario_rules() -> Iterator[str]:
    """A scenario without tests would pass without a word."""
    for scenario in sorted(path.parent for path in ROOT.glob("molecule/*/molecule.yml")):
        if not (scenario / "converge.yml").is_file():
            yield f"molecule/{scenario.name}: converge.yml is missing"
        if not list(scenario.glob("tests/test_*.py")):
            yield f"molecule/{scenario.name}: no tests/test_*.py"


def unencoded(text: str, expanded: bool) -> Iterator[tuple[int, str]]:
    """(line, value) of each value in a template that the encoder of its format does not end: one day a quote, a # or a $ is in it."""
    for found in OUTPUT.finditer(text):
        value = found["value"]
        if value is None or value.strip().startswith(("environment(", "volumes(")):
            continue  # not a value, or a macro whose value is looked at itself
        encoder = "mlops.stack.in_expanded_yaml" if expanded and not found["key"] else "mlops.stack.in_yaml"
        alone = text[found.start() - 1] in " \n[{}" if found.start() else True
        if not alone or not re.search(rf"\|\s*({encoder}|to_nice_json)\s*$", value):
            yield text.count("\n", 0, found.start()) + 1, f"{{{{{value}}}}} does not stand alone and end in | {encoder}"


def encoding_rules() -> Iterator[str]:
    templates = sorted({path for pattern in RENDERED for path in ROOT.glob(pattern)})
    for path in templates:
        name = path.relative_to(ROOT)
        expanded = path in {path for pattern in EXPANDED for path in ROOT.glob(pattern)}
        yield from (f"{name}:{line}: {what}" for line, what in unencoded(path.read_text(), expanded))
    header = load(ROOT / "roles/mlops/vars/main/main.yml")["__mlops_compose_header"]
    yield from (f"__mlops_compose_header:{line}: {what}" for line, what in unencoded(header, True))


def circle_rules() -> Iterator[str]:
    """Folders of the plugins' own modules that need each other, each by its modules or by those of folders in between."""
    for base in ("module_utils", "plugin_utils"):
        needs: dict[str, set[str]] = {}
        for path in (ROOT / "plugins" / base).glob("*/*.py"):
            needs.setdefault(path.parent.name, set()).update(re.findall(rf"^from [\w.]+\.{base}\.(_\w+)[. ]", path.read_text(), re.MULTILINE))
        try:
            graphlib.TopologicalSorter({folder: others - {folder} for folder, others in needs.items()}).prepare()
        except graphlib.CycleError as error:
            yield f"plugins/{base}: folders that need each other: {' needs '.join(reversed(error.args[1]))}"


def text_rules(paths: list[pathlib.Path]) -> Iterator[str]:
    for path in paths:
        name = path.relative_to(ROOT)
        limit = next((lines for pattern, lines in LARGEST if name.match(pattern)), None)
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        if limit and len(lines) > limit:
            yield f"{name}: {len(lines)} lines; at most {limit}"
        if path != pathlib.Path(__file__).resolve():
            yield from (f"{name}:{number}: left open: {line.strip()[:80]}" for number, line in enumerate(lines, 1) if LEFT_OPEN.search(line))


def main() -> int:
    paths = files()
    found = [*bad_tasks(paths), *free_plays(paths), *role_rules(), *scenario_rules(), *encoding_rules(), *circle_rules(), *text_rules(paths)]
    print("\n".join(found) or "lint_rules: nothing found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
