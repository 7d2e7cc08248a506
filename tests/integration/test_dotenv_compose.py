"""What to_dotenv writes, as Docker Compose reads it; and what teams write, read as Compose reads it."""

import itertools
import json
import os
import string
import subprocess

import pytest
from ansible_collections.mlops.stack.plugins.filter.dotenv import from_dotenv, to_dotenv
from ansible_collections.mlops.stack.plugins.plugin_utils._dotenv import entries
from dotenv_files import ALL

CHARACTERS = string.printable[:95] + "é"


def by_compose(path, text: str) -> dict[str, str] | None:
    """The variables of an environment file as Compose reads them, in an empty environment; None where it refuses the file."""
    (path / "service.env").write_text(text)
    (path / "compose.yaml").write_text("services: {a: {image: a, env_file: [service.env]}}")
    done = subprocess.run(["docker", "compose", "--project-directory", path, "config", "--format", "json"], capture_output=True, text=True, check=False,
                          env={"PATH": os.environ["PATH"], "HOME": str(path)})
    # Compose writes $ as $$, so that its output can be its input.
    return None if done.returncode else {
        name: value.replace("$$", "$") for name, value in json.loads(done.stdout)["services"]["a"].get("environment", {}).items()}


@pytest.mark.parametrize("name", ALL)
def test_files_as_teams_have_them_are_read_as_compose_reads_them(tmp_path, name):
    assert from_dotenv(ALL[name]) == by_compose(tmp_path, ALL[name])


# A text for the value of V, after A=one, E= (empty), and S='it $A'.
VALUES = ["$A", "${A}", "x${A}y$A", "$$A", "$$", "$${A}", "a$$b", "${A:-x}", "${N:-x}", "${N-x}", "${E:-x}", "${E-x}", "${A:+x}",
          "${N:+x}", "${E:+x}", "${E+x}", "${A:?no}", "${N:-${A}}", "${N:-${N:-$A}}", "${N:-a}b}", "${S}", "$S", "'$A'", "'$$A'", '"$A"',
          '"${N:-x y}"', '"$$A"', '"\\$A"', '"\\\\$A"', "\\$A", '"a\\tb$A"', "${N:-}", "x # $N", "${A}#c", '"$A" # c', "$A_", "$AB",
          "${N}", "$N", "${A", "$", "$1", "${1}", "${A:?}", "${N:?no}", "a$", "${}", "$-", "${A.}", '"a$"']


def test_references_mean_what_they_mean_to_compose_or_are_told(tmp_path):
    found = {}
    for number, value in enumerate(VALUES):
        folder = tmp_path / str(number)
        folder.mkdir()
        text = f"A=one\nE=\nS='it $A'\nV={value}\n"
        entry = next(entry for entry in entries(text) if entry.name == "V")
        read = by_compose(folder, text)
        # What has no value in the file is told; Compose takes it as empty, or refuses it.
        if not entry.wrong and (read is None or read["V"] != entry.value):
            found[value] = (entry.value, read and read["V"])
        if entry.wrong and read is not None and "N" not in value and value != "$AB" and value != "$A_":
            found[value] = ("told", read["V"])
    assert found == {}


def test_compose_reads_back_every_printable_character(tmp_path):
    values = [*CHARACTERS, *(a + b for a, b in itertools.product(CHARACTERS, "\\'\"$#x ")), *(a + b for a, b in itertools.product("\\'\"$# ", CHARACTERS)),
              "\\\\$x'", "end\\", "\\'", "$\\\\", "${A}\\", CHARACTERS, CHARACTERS[::-1]]
    variables = {f"V{number}": value for number, value in enumerate(values)}
    (tmp_path / "service.env").write_text(to_dotenv(variables))
    (tmp_path / "compose.yaml").write_text("services: {a: {image: a, env_file: [service.env]}}")
    done = subprocess.run(["docker", "compose", "--project-directory", tmp_path, "config", "--format", "json"], capture_output=True, text=True, check=True)
    # Compose writes $ as $$, so that its output can be its input.
    read = {name: value.replace("$$", "$") for name, value in json.loads(done.stdout)["services"]["a"]["environment"].items()}
    assert {name: (values, read[name]) for name, values in variables.items() if read[name] != values} == {}
