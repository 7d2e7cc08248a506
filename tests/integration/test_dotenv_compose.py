"""What to_dotenv writes, as Docker Compose reads it."""

import itertools
import json
import string
import subprocess

from ansible_collections.mlops.stack.plugins.filter.dotenv import to_dotenv

CHARACTERS = string.printable[:95] + "é"


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
