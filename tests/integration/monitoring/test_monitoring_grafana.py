"""The run gives Grafana's administrator the password that is wanted. Its image cannot be had here: a container stands in that takes the
password from its command line tool alone, as Grafana does once its database is there (docs.grafana.com, "admin_password: set once on first-run")."""

import subprocess
import time
import urllib.error
import urllib.request
import uuid

import pytest
import yaml
from monitoring_rules import ROOT
from stack_images import image
from test_monitoring_dashboards import PATIENCE, docker

# `grafana cli --help` and docs.grafana.com, "Reset admin password".
TOOL = """#!/bin/sh
[ "$*" = "cli --homepath /usr/share/grafana admin reset-admin-password --password-from-stdin" ] || exit 2
IFS= read -r password
printf 'admin:%s' "$password" > /state/login
"""
SERVER = """
import base64, http.server, pathlib
class Grafana(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = "Basic " + base64.b64encode(pathlib.Path("/state/login").read_bytes()).decode()
        self.send_response(200 if self.path == "/api/org" and self.headers["Authorization"] == wanted else 401)
        self.end_headers()
http.server.ThreadingHTTPServer(("0.0.0.0", 3000), Grafana).serve_forever()
"""


@pytest.fixture
def grafana(tmp_path):
    """Its project; its port; the file that holds its login."""
    project, state = f"mlops-test-{uuid.uuid4().hex[:12]}", tmp_path / "state"
    state.mkdir()
    login = state / "login"
    login.write_text("admin:that of the first start")
    (state / "grafana").write_text(TOOL)
    (state / "grafana").chmod(0o755)
    docker("run", "--detach", "--name", f"{project}-grafana-1", "--publish", "127.0.0.1::3000", "--volume", f"{state}:/state",
           "--volume", f"{state}/grafana:/usr/local/bin/grafana:ro", "--user", "0", "--entrypoint", "python3", image("python"), "-c", SERVER)
    try:
        port = docker("port", f"{project}-grafana-1", "3000/tcp").splitlines()[0].rpartition(":")[2]
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
                    break
            except urllib.error.HTTPError:
                break
            except OSError as error:
                assert time.monotonic() < end, f"it is not ready: {error}: {docker('logs', f'{project}-grafana-1')}"
            time.sleep(0.05)
        yield project, int(port), login
    finally:
        docker("rm", "--force", "--volumes", f"{project}-grafana-1")


def test_the_administrators_password_is_that_which_is_wanted(grafana, tmp_path):
    project, port, login = grafana
    wanted = "hush-0451 with'quotes\"and$HOME{b}"
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"monitoring": {"hosts": {"one": {
        "ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}", "mlops_project": project, "with_monitoring": True,
        "mlops_dir": str(tmp_path / "opt"), "monitoring_grafana_port": port, "monitoring_components": ["grafana"],
        "monitoring_grafana_password": wanted.replace("{", "{% raw %}{{% endraw %}")}}}}))
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "monitoring", "gather_facts": False, "tasks": [
        {"ansible.builtin.import_role": {"name": "mlops.stack.monitoring", "tasks_from": "reload"}}]}]))

    def run(*arguments: str) -> str:
        done = subprocess.run(["ansible-playbook", "-vvv", "--diff", "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml"), *arguments],
                              cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        assert done.returncode == 0, done.stdout
        assert "hush-0451" not in done.stdout + done.stderr
        return done.stdout.partition("PLAY RECAP")[2]

    before = login.read_text()
    run("--check")
    assert login.read_text() == before
    assert "changed=1 " in run()
    assert login.read_text() == f"admin:{wanted}"
    assert "changed=0 " in run()
