"""Hostile requests, of every kind at once: whoever means well is answered meanwhile, and memory stays under the limit that the stack sets."""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
import yaml
from regmodel_attack import BODIES, MB, Attack
from regmodel_docker import HERE, docker
from regmodel_services import Service
from stack_images import ROOT

LIMIT = yaml.safe_load((ROOT / "roles/regmodel/defaults/main.yml").read_text())["regmodel_memory"]
ROWS = [{"a": 1.0, "b": 2.0}]
KINDS = [name for name, *_rest in Attack("http://127.0.0.1:1", 0).kinds()]


class Confined(Service):
    """A RegModel with the memory that the stack gives it."""

    options = (*Service.options, "--memory", LIMIT, "--memory-swap", LIMIT)

    def peak(self) -> int:
        """The most memory that a process of it has had resident, in bytes."""
        found = self.run("sh", "-c", "grep -h VmHWM /proc/[0-9]*/status")
        return max(int(line.split()[1]) for line in found.splitlines()) * 1024


@pytest.fixture(scope="module")
def service(models, shared):
    models.set_alias("steps", 1, alias="attack")
    # So many rows that a body may be as large as any.
    one = Confined(shared, models.uri, REGMODEL_MODEL_ALIAS="attack", REGMODEL_MAX_ROWS="100000")
    yield one.start()
    one.close()


def seconds_of_predictions(service, going_on):
    """How long each prediction takes, of clients that come anew and one that stays, as long as going_on() is true."""
    session, taken = requests.Session(), []
    while going_on() or len(taken) < 20:
        for client in (session, requests):
            started = time.perf_counter()
            answer = client.post(f"{service.url}/predict", json={"inputs": ROWS}, timeout=30)
            taken.append(time.perf_counter() - started)
            assert answer.status_code == 200, answer.text
            assert answer.json()["predictions"] == pytest.approx([1005.0])
        assert service.get("/health").status_code == 200
    return taken


def attacked(service, seconds, *kinds):
    """(how long predictions took before, during the attack, the statuses that the attackers saw)"""
    before = seconds_of_predictions(service, lambda: False)
    command = [sys.executable, str(Path(HERE) / "regmodel_attack.py"), service.url, str(seconds), *kinds]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attack:
        during = seconds_of_predictions(service, lambda: attack.poll() is None)
        assert attack.stdout
        seen = json.loads(attack.stdout.read())
    assert attack.returncode == 0
    return before, during, seen


def assert_unharmed(service, before, during):
    assert service.state("OOMKilled") == "false"
    assert docker("inspect", "--format", "{{.RestartCount}}", service.id) == "0"
    assert service.peak() < 0.75 * int(docker("inspect", "--format", "{{.HostConfig.Memory}}", service.id))
    # The attackers have cores of this machine too, and a client's own time is in both.
    assert statistics.median(during) < 20 * statistics.median(before) + 0.2
    assert sorted(during)[int(len(during) * 0.95)] < 20 * max(before) + 1
    assert "Traceback" not in service.output()


def test_predictions_are_answered_while_every_kind_of_attack_goes_on(service):
    before, during, seen = attacked(service, 12)
    assert set(BODIES) <= set(seen)
    assert_unharmed(service, before, during)


@pytest.mark.parametrize(("body", "kind", "count"), [
    ("keys", "unknown_key", 1000), ("wide", "too_large", 1), ("deep", "json_invalid", 1), ("rows", "missing", 1000),
    ("not UTF-8", "json_invalid", 1), ("half a character", "unknown_field", 3), ("small", "missing", 1000),
])
def test_a_hostile_body_is_answered(service, body, kind, count):
    answer = requests.post(f"{service.url}/predict", data=BODIES[body](), timeout=30)
    assert (answer.status_code, answer.json()["count"]) == (422, count)
    assert answer.json()["detail"][0]["type"] == kind
    assert len(answer.json()["detail"]) == min(count, 50)


def test_a_compressed_body_is_refused(service):
    answer = requests.post(f"{service.url}/predict", data=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}, timeout=30)
    assert (answer.status_code, "Content-Encoding gzip" in answer.json()["detail"]) == (415, True)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_answered_while_one_kind_goes_on(service, kind):
    before, during, _seen = attacked(service, 15, kind)
    assert_unharmed(service, before, during)


@pytest.mark.full
def test_predictions_are_answered_for_two_minutes_of_all_kinds(service):
    before, during, _seen = attacked(service, 120)
    assert_unharmed(service, before, during)
    later = service.peak()
    before, during, _seen = attacked(service, 60)
    assert_unharmed(service, before, during)
    assert service.peak() < later + 64 * MB
