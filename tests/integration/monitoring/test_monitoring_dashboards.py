"""Dashboards and console pages: of one definition, taken by the stack's own Prometheus, and nothing in them that it refuses."""

import html.parser
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid

import pytest
from monitoring_expressions import MAY_BE_EMPTY, asked, dashboard_definition, expressions, refused
from monitoring_rules import ROOT
from stack_images import image

FILES = ROOT / "roles/monitoring/files"
NAMES = dashboard_definition.NAMES
# Passes in full only where something is broken.
PATIENCE = 60.0


def docker(*arguments):
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def prometheus():
    """The stack's Prometheus without any target, serving the console pages; its address."""
    name = f"mlops-test-{uuid.uuid4().hex[:12]}"
    docker("run", "--detach", "--name", name, "--publish", "127.0.0.1::9090", "--volume", f"{FILES}/consoles:/consoles:ro", "--tmpfs",
           "/data:mode=1777", image("prometheus"), "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/data",
           "--web.console.templates=/consoles", "--web.external-url=http://localhost/below/a/prefix")
    try:
        url = f"http://{docker('port', name, '9090/tcp').splitlines()[0]}/below/a/prefix"
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(f"{url}/-/ready", timeout=5):
                    break
            except OSError as error:
                assert time.monotonic() < end, f"{url} is not ready: {error}: {docker('logs', name)}"
            time.sleep(0.05)
        yield url
    finally:
        docker("rm", "--force", "--volumes", name)


class Page(html.parser.HTMLParser):
    """What a console page holds: the definition in it, and every address it names."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.definition, self.inside = [], None, False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.inside = found.get("id") == "page"
        self.addresses += [found[name] for name in ("href", "src", "action") if name in found]

    def handle_data(self, data):
        if self.inside:
            self.definition, self.inside = json.loads(data), False


@pytest.mark.parametrize("name", NAMES)
def test_prometheus_serves_the_page_as_it_was_written(prometheus, name):
    with urllib.request.urlopen(f"{prometheus}/consoles/{name}.html", timeout=30) as answer:
        page = Page(answer.read().decode())
    assert page.definition == Page((FILES / f"consoles/{name}.html").read_text()).definition
    assert page.definition["name"] == name
    assert [other["name"] for other in page.definition["pages"]] == list(NAMES)


def test_prometheus_understands_every_expression(prometheus):
    assert not refused(prometheus)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_loads_nothing_from_elsewhere(name):
    assert Page((FILES / f"consoles/{name}.html").read_text()).addresses == ["data:,"]


def test_both_renderings_ask_the_same():
    for name in NAMES:
        board = json.loads((FILES / f"dashboards/mlops-{name}.json").read_text())
        page = Page((FILES / f"consoles/{name}.html").read_text()).definition
        in_grafana = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
        in_console = [query["expr"] for row in page["rows"] for panel in row["panels"] for query in panel["queries"]]
        assert in_grafana == in_console and in_grafana


def test_grafana_finds_its_way():
    """The identifiers that links and provisioning rely on; panels do not overlap."""
    for name in NAMES:
        board = json.loads((FILES / f"dashboards/mlops-{name}.json").read_text())
        assert board["uid"] == f"mlops-{name}" and "id" not in board
        assert [link["url"] for link in board["links"]] == [f"/d/mlops-{other}" for other in NAMES]
        sources = [panel["datasource"]["uid"] for panel in board["panels"] if panel["type"] != "row"]
        assert set(sources) == {"mlops-prometheus"}
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        cells = [(x, y) for panel in board["panels"] for place in [panel["gridPos"]]
                 for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])]
        assert len(set(cells)) == len(cells) and max(x for x, _y in cells) < 24


def test_the_generator_says_what_is_not_current():
    command = [sys.executable, "roles/monitoring/dashboards/generate.py", "--check"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("wrong, says", [
    ({"kind": "pie"}, "kind is 'pie'"),
    ({"unit": "furlongs"}, "unit is 'furlongs'"),
    ({"above": {1: "warning"}, "below": {0: "critical"}}, "has above and below"),
    ({"above": {1: "bad"}}, "state is 'bad'"),
])
def test_a_wrong_definition_is_named(wrong, says):
    with pytest.raises(ValueError, match=says):
        dashboard_definition.panel({"title": "Broken", "expr": "up", **wrong})


@pytest.mark.parametrize("condition, question", [
    ("up < 1", "up < bool 1"),
    ('up{job=~"a|b"} == 1 unless on () x{y!="<"}', 'up{job=~"a|b"} == bool 1 and on () x{y!="<"}'),
    ("a >= 5 and b != 0", "a >= bool 5 and b != bool 0"),
])
def test_a_condition_becomes_a_question(condition, question):
    assert asked(condition) == question


def test_no_excuse_is_left_over():
    for part in MAY_BE_EMPTY:
        assert any(part in expr for _origin, expr in expressions()), f"no expression holds {part!r}"
