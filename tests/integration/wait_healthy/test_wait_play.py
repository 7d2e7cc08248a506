"""A failed wait as the user of a playbook sees it: on the screen, in the result and in the report's files."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest
from wait_real import free_port

ROOT = pathlib.Path(__file__).resolve().parents[3]
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Wait
      mlops.stack.wait_healthy:
        checks: "{{ wanted }}"
        redact: ["card (?P<secret>[0-9-]+)"]
        timeout: 20
"""


@pytest.fixture
def play(tmp_path):
    """Run a play that waits for checks on this machine; what it printed and the directory of its report."""
    book, report = tmp_path / "play.yml", tmp_path / "report"
    book.write_text(PLAY)

    def call(*checks, options=()):
        given = {"wanted": checks, "mlops_report_dir": str(report)}
        (tmp_path / "vars.json").write_text(json.dumps(given))
        done = subprocess.run(
            [str(pathlib.Path(sys.executable).with_name("ansible-playbook")), "-i", "node,", "-c", "local", *options,
             "-e", f"ansible_python_interpreter={sys.executable}", "-e", f"@{tmp_path / 'vars.json'}", str(book)],
            cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr, report

    return call


def test_an_exit_fails_the_play_at_once_with_code_and_log(play, containers):
    name = containers.create("web", "echo starting; echo no config; sleep 4; exit 3", "--restart", "no")
    status, out, report = play({"name": "web", "type": "tcp", "host": "127.0.0.1", "port": free_port(), "container": name})
    assert status == 2 and f"web: container {name} exited (3), restart policy 'no'; last: refused" in out
    assert "no config" in out and f"docker logs --tail 100 {name}" in out
    told = json.loads((report / "dossier-node.json").read_text())
    failed = told["checks"]["web"]
    assert told["elapsed"] - failed["container"]["exits"][0]["at"] < 1
    assert failed["container"]["exit_code"] == 3 and failed["container"]["log_tail"][-1].endswith("no config")
    assert failed["cause"] in told["msg"] and failed["next"] == f"docker logs --tail 100 {name}"
    assert (report / "dossier-node.txt").read_text() == told["msg"] + "\n"
    assert {file.stat().st_mode & 0o777 for file in report.iterdir()} == {0o600}


def test_no_secret_is_seen_anywhere(play, containers, tmp_path):
    """Each secret is given in another way, repeated by the server and written to the container's log."""
    secrets = {way: f"{way}-s3cret" for way in ("query", "header", "login", "file", "body")}
    card = "4111-1111-1111-1111"  # long enough never to be part of a container's id or a time
    (tmp_path / "file").write_text(secrets["file"])
    port = free_port()
    script = f"""echo {' '.join(secrets.values())} card {card}; exec python3 -c '
import http.server, sys
class Echo(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        said = (self.path + " " + str(self.headers["X-Token"]) + " " + str(self.headers["Authorization"])).encode() + body
        sys.stderr.write(repr(said) + chr(10))
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
http.server.HTTPServer(("127.0.0.1", {port}), Echo).serve_forever()'"""
    name = containers.create("echo", script, "--network", "host")
    shared = {"type": "http", "container": name, "body_regex": "never", "timeout": 3}
    body = json.dumps({"password": secrets["body"]})
    checks = [
        {**shared, "url": f"http://127.0.0.1:{port}/?token={secrets['query']}", "body": body, "headers": {"X-Token": secrets["header"]}},
        {**shared, "name": "login", "url": f"http://127.0.0.1:{port}/", "body": "x", "username": "me", "password": secrets["login"]},
        {**shared, "name": "file", "url": f"http://127.0.0.1:{port}/", "body": "x", "username": "me", "password_file": str(tmp_path / "file")},
    ]
    status, out, report = play(*checks, options=["-vvv"])
    written = "".join(file.read_text() for file in report.iterdir())
    assert status == 2 and "3 of 3 checks not ready" in out and name in written
    for text in (out, written):
        assert "********" in text and [part for part in ("s3cret", card) if part in text] == []
