#!/usr/bin/env python
"""What more hosts cost the control side: site.yml over 1, 3 and 10 hosts that have all they want, on one machine.

Hosts are containers with an Engine, an SSH server and an address of their own. The first has the whole stack, each further one is a
worker of it. Each count is converged once, then run again several times; a run that changes anything ends the benchmark.
Writes .build/benchmarks/hosts.md and prints it.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import time

import yaml
from bench_report import markdown_row, seconds

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOST = ROOT / "molecule" / "shared" / "host"
WORK = ROOT / ".build" / "benchmarks" / "hosts"
SCENARIO = "benchmark-hosts"  # label of all that is made
NETWORK = "mlops-benchmark"
KEY = WORK / "ssh"
COUNTS = (1, 3, 10)
ENGINE_SECONDS = 60


def name_of(number: int) -> str:
    return f"mlops-bench-{number}"


def address_of(number: int) -> str:
    return f"10.78.0.{10 + number}"


def inventory(count: int) -> pathlib.Path:
    """An inventory of the first so many hosts; its secrets lie beside it."""
    hosts = {name_of(number): {"ansible_host": address_of(number)} for number in range(1, count + 1)}
    first = {"hosts": {name_of(1): None}}
    content = {"all": {
        "hosts": hosts,
        "children": {**dict.fromkeys(("infra", "mlflow", "regmodel", "airflow"), first), "airflow_worker": {"hosts": dict.fromkeys(hosts)}},
        "vars": {
            "ansible_python_interpreter": "/usr/bin/python3", "ansible_ssh_private_key_file": str(KEY), "airflow_worker_concurrency": 1,
            "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ControlPersist=600s"}}}
    path = WORK / "hosts.yml"
    path.write_text(yaml.safe_dump(content))
    return path


def start(number: int) -> None:
    """A host whose Engine has the stack's images and answers."""
    name = name_of(number)
    subprocess.run([HOST / "clone", name, SCENARIO], check=True)
    subprocess.run([HOST / "run", name, SCENARIO, "mlops-test/engine", name, NETWORK, address_of(number), f"{KEY}.pub"], check=True)
    deadline = time.monotonic() + ENGINE_SECONDS
    while subprocess.run(["docker", "exec", name, "docker", "version"], capture_output=True, check=False).returncode:
        if time.monotonic() > deadline:
            raise SystemExit(f"the Engine of {name} does not answer after {ENGINE_SECONDS} s")
        time.sleep(0.2)


def run(path: pathlib.Path, changes: bool) -> tuple[float, float]:
    """(wall, controller's CPU) seconds of one run of site.yml. A run that may not change anything and does ends the benchmark."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(["ansible-playbook", "--inventory", path, ROOT / "site.yml"], cwd=ROOT, capture_output=True, text=True, check=False)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    recap = re.findall(r"changed=(\d+) +unreachable=(\d+) +failed=(\d+)", done.stdout)
    if done.returncode or not recap or (not changes and any(int(changed) for changed, _unreachable, _failed in recap)):
        raise SystemExit(f"{path}: exit status {done.returncode}, recap {recap}:\n{done.stdout[-4000:]}{done.stderr[-1000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def table(found: dict[int, list[tuple[float, float]]]) -> str:
    """Medians by number of hosts, and their ratios to one host."""
    rows = ["| hosts | run that changes nothing | to one host | CPU of the controller | to one host |", "| ---: | ---: | ---: | ---: | ---: |"]
    medians = {count: [statistics.median(column) for column in zip(*samples, strict=True)] for count, samples in found.items()}
    for count, (wall, cpu) in medians.items():
        rows.append(markdown_row([count, seconds(wall), f"×{wall / medians[1][0]:.2f}", seconds(cpu), f"×{cpu / medians[1][1]:.2f}"]))
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="runs that change nothing, for each number of hosts (default: %(default)s)")
    arguments = parser.parse_args()
    subprocess.run(["ansible-playbook", "molecule/shared/machine.yml"], cwd=ROOT, check=True)
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY], check=True)
    found: dict[int, list[tuple[float, float]]] = {}
    started = 0
    try:
        for count in COUNTS:
            for number in range(started + 1, count + 1):
                start(number)
            started = count
            path = inventory(count)
            run(path, changes=True)
            found[count] = [run(path, changes=False) for _number in range(arguments.runs)]
            print(json.dumps({"hosts": count, "samples": found[count], "load": os.getloadavg()[0]}), flush=True)
    finally:
        subprocess.run([HOST / "remove", SCENARIO], check=True)
    (WORK.parent / "hosts.md").write_text(table(found) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
