"""The callback in real runs of ansible-playbook, against HTTP servers on loopback that come up in a known order."""

import json
import os
import pathlib
import stat
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.etree import ElementTree

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
SECRET = "Swordfish-4711"
# Seconds between one server's first success and the next one's: more than the callback takes for one moment.
GAP = 1.5


class Web(ThreadingHTTPServer):
    """Refuses connections until it listens, answers 503 to the first three requests, then 200.

    What follows its first 200 for the path ``on`` comes a gap later: nothing hangs on how fast the machine is.
    """

    daemon_threads = True

    def __init__(self, listen=True, then=None, on="/"):
        super().__init__(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self.server_bind()
        self.then, self.on, self.asked, self.lock = then, on, 0, threading.Lock()
        self.seen = threading.Event()
        if listen:
            self.listen()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/"

    def listen(self):
        self.server_activate()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def answer(self, path):
        self.seen.set()
        with self.lock:
            self.asked += 1
            if self.asked <= 3:
                return 503
            if self.then and path == self.on:
                threading.Timer(GAP, self.then).start()
                self.then = None
            return 200


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(self.server.answer(self.path))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def web():
    made = []

    def start(**options):
        made.append(Web(**options))
        return made[-1]

    yield start
    for server in made:
        # Only a server that serves can be told to stop.
        if server.asked:
            server.shutdown()
        server.server_close()


def http(name, url):
    return {"name": name, "type": "http", "url": url, "headers": {"Authorization": f"Bearer {SECRET}"}}


def wait(**arguments):
    return {"name": "Wait", "mlops.stack.wait_healthy": arguments}


def play(tmp_path, tasks, *arguments, hosts=("one",), **variables):
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": dict.fromkeys(hosts, LOCAL), "vars": variables}}))
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"name": "Play", "hosts": "all", "gather_facts": False, "tasks": tasks}]))
    done = subprocess.run(
        ["ansible-playbook", "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml"), *arguments], cwd=ROOT, capture_output=True,
        text=True, stdin=subprocess.DEVNULL, env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}, check=False)
    # Ansible only warns of a callback that raises, or that it cannot find.
    assert "callback" not in done.stdout.lower() + done.stderr.lower(), done.stdout + done.stderr
    return done


def timeline_in(done):
    """What was printed below the banner."""
    assert done.stdout.count("TIMELINE *") == 1, done.stdout + done.stderr
    return done.stdout.partition("TIMELINE *")[2].splitlines()[1:]


def test_services_of_two_hosts_and_what_each_waited_for(tmp_path, web):
    # Host two asks this one when it asks for the worker, and the worker does not listen before that.
    beacon, worker = web(), web(listen=False)
    beacon.asked = 3
    api = web(listen=False, then=lambda: beacon.seen.wait(60) and worker.listen())
    # Not before the second wait asks, and that asks for both at the same time.
    db = web(then=api.listen, on="/again")
    (tmp_path / "checks/stack").mkdir(parents=True)
    (tmp_path / "checks/stack/checks.json").write_text(json.dumps([http("db", db.url + "again"), http("<api>", api.url)]))
    tasks = [
        {**wait(checks=[http("db", db.url)], timeout=60), "when": "inventory_hostname == 'one'"},
        {"name": "All", "mlops.stack.wait_healthy": {"checks": "{{ mine }}", "checks_from": "{{ from }}", "timeout": 60},
         "vars": {"mine": "{{ [] if inventory_hostname == 'one' else theirs }}",
                  "from": "{{ checks if inventory_hostname == 'one' else omit }}"}},
    ]
    theirs = [http("beacon", beacon.url), http("worker", worker.url)]
    done = play(tmp_path, tasks, hosts=("one", "two"), theirs=theirs, checks=str(tmp_path / "checks"),
                mlops_report_dir="{{ inventory_dir }}/made/report")
    assert done.returncode == 0, done.stdout
    report = tmp_path / "made/report"
    shown = timeline_in(done)
    assert [line.split()[1:3] for line in shown if line.startswith(">")] == [["one", "db"], ["one", "<api>"], ["two", "worker"]]
    assert shown[-1] == f"chart: {report}/timeline.html"

    document = json.loads((report / "timeline.json").read_text())
    on_path = [(row["host"], row["name"]) for row in document["critical_path"]["services"]]
    assert on_path == [("one", "db"), ("one", "<api>"), ("two", "worker")]
    by = {row["name"]: row for row in document["services"]}
    assert by["db"]["ready"] + GAP <= by["<api>"]["ready"] and by["worker"]["answered"] < by["worker"]["ready"]
    # The second wait found the database ready, which it was since the first.
    assert len(document["waits"]) == 3 and by["db"]["at_once"] is False and by["db"]["ready"] < document["waits"][1]["began"]
    page = (report / "timeline.html").read_text()
    assert "&lt;api&gt;" in page and ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n")).find(".//table") is not None
    for path in report.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and SECRET not in path.read_text(), path
    assert sorted(path.name for path in report.iterdir()) == ["timeline.html", "timeline.json"]


def test_a_wait_of_the_roles_knows_what_waits_for_what(tmp_path, web):
    mlflow = web(listen=False)
    chance = web(listen=False, then=mlflow.listen)
    postgres = web(then=chance.listen)
    checks = {"mlflow": mlflow, "regmodel-backend": chance, "postgres-airflow": postgres}
    (tmp_path / "checks.json").write_text(json.dumps([http(name, server.url) for name, server in checks.items()]))
    role = {"name": "Wait", "ansible.builtin.import_role": {"name": "mlops.stack.mlops", "tasks_from": "healthy"}}
    done = play(tmp_path, [role], mlops_checks_from=str(tmp_path))
    assert done.returncode == 0, done.stdout
    shown = timeline_in(done)
    assert [line.split()[2] for line in shown if line.startswith(">")] == ["postgres-airflow", "mlflow"]
    assert shown[0].endswith("known to wait for") and shown[-1].startswith("critical path: postgres-airflow ")


def test_all_ready_at_once_is_one_line_and_still_written(tmp_path, web):
    one, two = web(), web()
    one.asked = two.asked = 3
    # A loop is two waits; the variable from the command line.
    looped = {**wait(checks=[{"type": "http", "name": "{{ item.name }}", "url": "{{ item.url }}"}]),
              "loop": [{"name": "x", "url": one.url}, {"name": "y", "url": two.url}]}
    done = play(tmp_path, [looped], "-e", f"mlops_report_dir={tmp_path}/report")
    assert done.returncode == 0 and timeline_in(done)[0].startswith("2 services on 1 host were ready at once ("), done.stdout
    assert json.loads((tmp_path / "report/timeline.json").read_text())["critical_path"]["services"] == []


def test_a_failed_wait_shows_what_failed_and_why(tmp_path, web):
    done = play(tmp_path, [wait(checks=[http("good", web().url), http("closed", web(listen=False).url)], timeout=1.5)])
    assert done.returncode == 2
    shown = timeline_in(done)
    assert "failed (refused)" in next(line for line in shown if "closed" in line) and not any(">" in line for line in shown)
    assert next(line for line in shown if "good" in line).split()[-1].replace(".", "").isdigit()


def test_without_a_wait_nothing_is_printed(tmp_path):
    debug = {"name": "Say", "ansible.builtin.debug": {"msg": "hello"}}
    hidden = {**wait(checks=[{"type": "tcp", "host": "127.0.0.1", "port": 1, "timeout": 0.1}]), "no_log": True, "ignore_errors": True}
    done = play(tmp_path, [debug, hidden], mlops_report_dir=str(tmp_path / "report"))
    assert done.returncode == 0 and "TIMELINE" not in done.stdout and not (tmp_path / "report").exists()


def test_a_directory_that_cannot_be_made_is_named(tmp_path, web):
    (tmp_path / "file").write_text("")
    done = play(tmp_path, [wait(checks=[http("x", web().url)])], mlops_report_dir=f"{tmp_path}/file/report")
    assert done.returncode == 0 and timeline_in(done)
    assert f"{tmp_path}/file/report" in done.stderr.replace("\n", "") and "mlops_report_dir" in done.stderr
