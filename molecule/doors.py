"""The tables of docs/security.md that say what may be done without a login, from where; and how a scenario tries them."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROBE = (ROOT / "molecule/doors_probe.py").read_text()
VISITORS = ("local user", "web page, cross-site", "web page, DNS rebinding", "container", "neighbour, by address", "neighbour, by route")
# How the program that tries the doors is to behave for a visitor.
AS = {"web page, cross-site": "cross-site", "web page, DNS rebinding": "rebinding"}
# A password that everybody knows is a login that everybody has.
KNOWN = ", by `admin`/`admin`"


def table(title: str, known_password: bool = False) -> dict[tuple[int, str], dict[str, str]]:
    """(port, part) -> visitor -> word; known_password: Airflow's administrator has the password that everybody knows."""
    text = (ROOT / "docs/security.md").read_text()
    rows = re.search(rf"<!-- doors: {title} -->\n(.*?)<!-- end of doors -->", text, re.DOTALL).group(1)
    head, _line, *body = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows.strip().splitlines()]
    assert tuple(head) == ("port", "part", *VISITORS), head
    found = {}
    for port, part, *cells in body:
        words = {visitor: (cell.removesuffix(KNOWN) if known_password or KNOWN not in cell else "nothing")
                 for visitor, cell in zip(VISITORS, cells, strict=True)}
        assert set(words.values()) <= {"closed", "nothing", "reads", "changes"}, (port, words)
        found |= {(int(number), part): words for number in port.split(", ")}
    return found


def tried(where: list[str], visitor: str, targets: list[tuple[str, str, int]], login: tuple[str, str] | None = None, path: str = "") -> list[str]:
    """A word for each target, (part, address, port), as a visitor finds it from where a `docker exec` of these words leads."""
    wanted = {"as": AS.get(visitor, "program"), "login": login, "path": path, "targets": targets}
    command = ["docker", *(word for container in where for word in ("exec", "--interactive", container, "docker"))][:-1]
    run = subprocess.run([*command, "python3", "-", json.dumps(wanted)], input=PROBE, text=True, capture_output=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def published(host: str) -> dict[int, tuple[str, str, int]]:
    """Published port -> (host's address that it is published at, service, port in the container) of a host's project."""
    script = "docker inspect $(docker ps --quiet --filter label=com.docker.compose.project=mlops)"
    seen = subprocess.run(["docker", "exec", host, "sh", "-c", script], text=True, capture_output=True, check=True).stdout
    return {int(binding["HostPort"]): (binding["HostIp"], container["Config"]["Labels"]["com.docker.compose.service"], int(inner.split("/")[0]))
            for container in json.loads(seen) for inner, bindings in (container["HostConfig"]["PortBindings"] or {}).items() for binding in bindings or []}


def routed(host: str) -> tuple[str, dict[str, str]]:
    """The subnet of the project's network on a host, and service -> its container's address there."""
    script = "docker network inspect mlops; docker inspect $(docker ps --quiet --filter network=mlops)"
    seen = subprocess.run(["docker", "exec", host, "sh", "-c", script], text=True, capture_output=True, check=True).stdout
    decoder = json.JSONDecoder()
    (network,), end = decoder.raw_decode(seen)
    containers = json.loads(seen[end:])
    return network["IPAM"]["Config"][0]["Subnet"], {
        container["Config"]["Labels"]["com.docker.compose.service"]: container["NetworkSettings"]["Networks"]["mlops"]["IPAddress"]
        for container in containers}


@contextlib.contextmanager
def stranger(scenario: str, network: str, *arguments: str):
    """A machine beside the test hosts, in no inventory; its name. Root there, so that it can set routes."""
    name = f"mlops-{scenario}-stranger"
    subprocess.run(["docker", "run", "--detach", "--rm", "--name", name, "--label", f"mlops.test={scenario}", "--network", network, *arguments,
                    "--cap-add", "NET_ADMIN", "--entrypoint", "sleep", "mlops-test/engine", "infinity"], text=True, capture_output=True, check=True)
    try:
        yield name
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=True)
