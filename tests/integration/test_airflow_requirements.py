"""Which index a team's requirement for Airflow's image comes from, with the image's own uv."""

from __future__ import annotations

import functools
import http.server
import json
import pathlib
import subprocess
import threading
import zipfile
from collections.abc import Iterator

import pytest
from pip._internal.models.index import PyPI
from stack_images import ROOT, image

FILES = ROOT / "roles/images/files"
LABEL = "mlops.stack.test=airflow_requirements"


def publish(index: pathlib.Path, version: str) -> None:
    """Put a version of the package team-features on an index."""
    folder = index / "simple/team-features"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"team_features-{version}-py3-none-any.whl"
    info = f"team_features-{version}.dist-info"
    with zipfile.ZipFile(folder / name, "w") as wheel:
        wheel.writestr("team_features.py", f"VERSION = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: team-features\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    (folder / "index.html").write_text("".join(f'<a href="{path.name}">{path.name}</a>\n' for path in sorted(folder.glob("*.whl"))))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Quiet."""


@pytest.fixture
def indexes(tmp_path: pathlib.Path) -> Iterator[dict[str, str]]:
    """A team's index, and a public one that has a higher version under the same name, as URLs."""
    servers, urls = [], {}
    for name, version in {"team": "1.0", "public": "9.9"}.items():
        publish(tmp_path / name, version)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path / name))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        urls[name] = f"http://127.0.0.1:{server.server_address[1]}/simple"
    yield urls
    for server in servers:
        server.shutdown()
        server.server_close()


def installed(pip: str, tmp_path: pathlib.Path) -> str:
    """The version of team-features that install-extra installs with pip's configuration."""
    (tmp_path / "pip").write_text(f"[global]\n{pip}\n")
    (tmp_path / "lock").write_text("")
    script = ("uv venv --quiet --offline /tmp/venv && python -I /install-extra /tmp/venv /lock"
              " && /tmp/venv/bin/python -c 'import team_features as t; print(t.VERSION)'")
    done = subprocess.run(
        ["docker", "run", "--rm", "--label", LABEL, "--network", "host", "--env", "REQUIREMENTS=team-features", "--env", "PATH=/opt/uv/bin:/usr/bin:/bin",
         "--volume", f"{FILES}/airflow/install-extra:/install-extra:ro", "--volume", f"{FILES}/build/install-locked:/opt/uv/bin/install-locked:ro",
         "--volume", f"{tmp_path}/pip:/run/secrets/pip:ro", "--volume", f"{tmp_path}/lock:/lock:ro", "--entrypoint", "sh", image("builder"), "-c", script],
        capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def test_a_package_of_the_same_name_on_a_public_index_is_not_taken(indexes, tmp_path):
    assert installed(f"index-url = {indexes['public']}\nextra-index-url = {indexes['team']}", tmp_path) == "1.0"


def test_what_the_team_does_not_have_comes_from_the_next_index(indexes, tmp_path):
    (tmp_path / "team/simple/team-features/index.html").unlink()
    (tmp_path / "team/simple/team-features").rename(tmp_path / "team/simple/other")
    assert installed(f"index-url = {indexes['public']}\nextra-index-url = {indexes['team']}", tmp_path) == "9.9"


@pytest.mark.parametrize(("default", "extra", "order"), [
    (PyPI.simple_url, "https://team.example/simple", ["https://team.example/simple", PyPI.simple_url]),
    ("https://team.example/simple", PyPI.simple_url, ["https://team.example/simple", PyPI.simple_url]),
    ("", "https://team.example/simple", ["https://team.example/simple", PyPI.simple_url]),
    ("https://mirror.example/simple", "https://a.example/simple\n    https://b.example/simple",
     ["https://a.example/simple", "https://b.example/simple", "https://mirror.example/simple"]),
])
def test_pypi_is_asked_last_wherever_it_stands(default, extra, order, tmp_path):
    (tmp_path / "pip").write_text("[global]\n" + (f"index-url = {default}\n" if default else "") + f"extra-index-url = {extra}\n")
    script = ("import json, runpy; env = runpy.run_path('/install-extra')['environment']()\n"
              "print(json.dumps([*env['UV_INDEX'].split(), env['UV_DEFAULT_INDEX']]))")
    done = subprocess.run(
        ["docker", "run", "--rm", "--label", LABEL, "--volume", f"{FILES}/airflow/install-extra:/install-extra:ro",
         "--volume", f"{FILES}/build/install-locked:/opt/uv/bin/install-locked:ro", "--volume", f"{tmp_path}/pip:/run/secrets/pip:ro",
         "--entrypoint", "/opt/uv/bin/python", image("builder"), "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == order
