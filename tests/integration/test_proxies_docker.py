"""Proxies that Docker's client gives to every container: a real one on the containers' network, which says what it was asked for."""

import json
import os
import subprocess

import pytest
import yaml
from ansible_collections.mlops.stack.plugins.action.template_tree import complete_services
from stack_images import image

PROJECT = f"proxies-test-{os.getpid()}"
ANSWER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = ("{} " + self.path).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("", {}), Handler).serve_forever()
"""
# As soon as it answers: names resolve once the container is there, and its program listens a moment later.
ASK = """
import sys, time, urllib.error, urllib.request
end = time.monotonic() + 60
while True:
    try:
        print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())
        break
    except urllib.error.URLError:
        if time.monotonic() > end:
            raise
"""


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """What a service of the project is answered by a URL."""
    path = tmp_path_factory.mktemp("proxies")
    (path / "config.json").write_text(json.dumps({"proxies": {"default": {"httpProxy": "http://proxy:3128", "noProxy": "of-the-team"}}}))
    service = {"image": image("python"), "init": True, "stop_grace_period": "1s"}
    stack = {"server": {**service, "entrypoint": ["python3", "-c", ANSWER.format("server:", 8000)]},
             "client": {**service, "entrypoint": ["sleep", "infinity"]}}
    completed = complete_services(yaml.safe_dump({"services": stack}), {}, {}, "", "test", {"given": True, "no_proxy": "of-the-team", "direct": ["server"]})
    document = yaml.safe_load(completed)
    document["services"]["proxy"] = {**service, "entrypoint": ["python3", "-c", ANSWER.format("proxy:", 3128)]}
    document["services"]["as-docker-has-it"] = stack["client"]
    document["services"]["server"]["networks"] = {"default": {"aliases": ["of-the-team"]}}
    (path / "compose.yaml").write_text(yaml.safe_dump(document))

    def compose(*words: str) -> str:
        done = subprocess.run(["docker", "compose", "--project-directory", path, "--project-name", PROJECT, *words],
                              env={**os.environ, "DOCKER_CONFIG": str(path)}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    try:
        compose("up", "--detach")
        yield lambda service, url: compose("exec", "-T", service, "python3", "-c", ASK, url)
    finally:
        compose("down", "--timeout", "1")


@pytest.mark.parametrize("service, url, answer", [
    ("as-docker-has-it", "http://server:8000/x", "proxy: http://server:8000/x"),  # or this would say nothing
    ("client", "http://server:8000/x", "server: /x"),
    ("client", "http://of-the-team:8000/x", "server: /x"),
    ("client", "http://elsewhere.example/x", "proxy: http://elsewhere.example/x"),
])
def test_the_proxy_is_asked_for_what_is_outside_alone(ask, service, url, answer):
    assert ask(service, url) == answer
