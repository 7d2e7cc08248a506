# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host can say of itself before anything is changed: ports, addresses, space, memory, Engine and Compose."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.mlops.stack.plugins.module_utils._docker._cli import Docker

# Host ports of a container, if it runs.
PUBLISHED = "{{if .State.Running}}{{range .NetworkSettings.Ports}}{{range .}}{{.HostPort}} {{end}}{{end}}{{end}}"


def port_problem(wanted: Mapping[str, Any], ours: Any) -> str | None:
    """Why a port cannot be published, or None. ours: output of docker ps with the project's published ports."""
    address, port = wanted["address"], wanted["port"]
    if not 1 <= port <= 65535:
        return "%s is %d; a port is 1 to 65535" % (wanted["name"], port)
    if not is_address(address):
        return None
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                if ":%d->" % port in ours:
                    return None
                return "%s: port %d on %s is in use by another program; stop it or set %s to a free port" % (
                    wanted["name"], port, address, wanted["name"])
            if error.errno == errno.EADDRNOTAVAIL:  # bind_problem tells it once for all ports
                return None
            return "%s: cannot bind port %d on %s: %s" % (wanted["name"], port, address, error.strerror)
    return None


def proxied_ports(proc: str = "/proc") -> set[tuple[str, str]]:
    """(Process, host port) of the Engine's proxies."""
    found = set()
    for number in os.listdir(proc):
        if not number.isdigit():
            continue
        try:
            with open(os.path.join(proc, number, "cmdline"), encoding="utf-8", errors="replace") as handle:
                arguments = handle.read().split("\0")
        except OSError:  # it has ended
            continue
        if os.path.basename(arguments[0]) == "docker-proxy" and "-host-port" in arguments:
            found.add((number, arguments[arguments.index("-host-port") + 1]))
    return found


def port_problems(ports: list[dict[str, Any]], docker: Docker, project: str) -> tuple[list[str], list[str]]:
    """(Why ports cannot be published, which of them the Engine keeps for nobody and what the run does about it).

    An Engine whose power is cut while it starts a container (26.1: between the port and the container's state) gives that port to no container
    any more, not to this one either, and not once this one is removed. project: the filter of docker ps for the project's containers.
    """
    running = docker("ps", "--filter", project, "--format", "{{.Ports}}") or ""
    taken = [(port, problem) for port in ports for problem in [port_problem(port, running)] if problem]
    if not taken:
        return [], []
    before = proxied_ports()
    # Unlike ps, inspect waits for a container that is being started.
    ours, every = _published(docker, "--filter", project), _published(docker)
    kept = {port for _process, port in before & proxied_ports()} - every
    strangers = _strangers(docker, project)
    problems, mended = [], []
    for port, problem in taken:
        if str(port["port"]) in kept:
            told = (f"{port['name']}: Docker Engine keeps port {port['port']} for no container that runs, as it does where the power was cut while it "
                    "started one, and gives it back only when it is restarted; ")
            if strangers:
                problems.append(told + f"other containers run here ({', '.join(strangers[:4])}), so restart it when that suits them "
                                       "(systemctl restart docker), then run again")
            else:
                mended.append(told + "a run of site.yml does that before it starts services")
        elif str(port["port"]) not in ours:
            problems.append(problem)
    return problems, mended


def _published(docker: Docker, *which: str) -> set[str]:
    """Host ports of containers that run."""
    containers = (docker("ps", "--all", "--quiet", *which) or "").split()
    return set((docker("inspect", "--format", PUBLISHED, *containers) or "").split()) if containers else set()


def _strangers(docker: Docker, project: str) -> list[str]:
    """Containers that run and are not the project's."""
    ours = set((docker("ps", "--filter", project, "--format", "{{.Names}}") or "").split())
    return sorted(set((docker("ps", "--format", "{{.Names}}") or "").split()) - ours)


def is_address(value: Any) -> bool:
    """Whether a value, as text, is an IPv4 or IPv6 address, without brackets."""
    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        return False
    return True


def has_address(address: str) -> bool:
    """Whether this host has an address."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def own_address() -> str:
    """The address that this host calls others from, or nothing. Connecting a datagram socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return probe.getsockname()[0]


def bind_problem(bind: str) -> str | None:
    """Why ports cannot be published on this address, or None."""
    if not bind or (is_address(bind) and has_address(bind)):
        return None
    own = own_address()
    fix = "set mlops_bind (or mlops_address, which it follows) to an address of this host%s" % (", such as %s" % own if own else "")
    if not is_address(bind):
        return "mlops_bind is %s, which is a name, and ports are published on addresses; %s" % (bind, fix)
    return "this host does not have the address %s, which mlops_bind says; %s" % (bind, fix)


def address_warning(address: str, bind: str) -> str | None:
    """What may be wrong with the address that other hosts use, or None: a translated one is right and not the host's own."""
    if address == bind or not is_address(address) or has_address(address):
        return None
    return "this host does not have the address %s, which mlops_address says; that is right only where it is translated on the way" % address


def numbers(version: str) -> list[int]:
    """A version's leading numbers, such as [20, 10, 24] of 20.10.24+dfsg1; none where it starts with none."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return [int(part) for part in found.group(1).split(".")] if found else []


def lacking_products(engine: str, compose: str, oldest: str) -> list[str]:
    """Which of Docker Engine and Compose is missing, does not answer or is too old. engine, compose: versions as they say them; oldest: Compose's."""
    lacking = ["Docker Engine"] if not engine else []
    if not compose.strip() or numbers(compose) < numbers(oldest):
        lacking.append("Docker Compose %s or later" % oldest)
    return lacking


def compose_problem(lacking: Sequence[str], os_release: str, distributions: Iterable[str]) -> str | None:
    """Why products that are lacking cannot be installed here, or None. os_release: the file's text."""
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    here = "%s %s" % (fields.get("ID", "").strip('"\'').capitalize(), fields.get("VERSION_ID", "").strip('"\'').split(".")[0])
    if not lacking or here in distributions:
        return None
    return "%s is missing here and is known to install on %s only, while this is %s; install it by other means, or set docker_packages_from to docker" % (
        " and ".join(lacking), ", ".join(distributions), here)


def free_mib(path: str) -> tuple[int, str]:
    """Free space for root's data where path lies or will lie: (MiB, existing directory)."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize // 1048576, path


def memory_mib(meminfo: str) -> int:
    """The host's memory in MiB, from the text of /proc/meminfo."""
    kib = dict(line.split(":", 1) for line in meminfo.splitlines())["MemTotal"].split()[0]
    return int(kib) // 1024


def memory_problem(have: int, need: int) -> str | None:
    """Why the memory (MiB) will not do, or None."""
    if have >= need:
        return None
    return "the host has %d MiB of memory and its roles need %d; give it more, move a role to another host, or set mlops_min_memory_mib" % (have, need)


def engine_problem(version: str, oldest: str) -> str | None:
    """Why the Engine that runs will not do, or None. version: as docker version tells it, such as 20.10.24+dfsg1."""
    if not oldest or not numbers(version) or numbers(version) >= numbers(oldest):
        return None
    return "Docker Engine %s runs here and %s or later is needed; upgrade it (an Engine that runs is never replaced)" % (version, oldest)
