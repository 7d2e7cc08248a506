# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that read the inventory's groups: which roles a host has, and where it finds a part of the stack."""

from __future__ import annotations

import functools
import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

Groups = Mapping[str, list[str]]  # the inventory's, with their hosts


def endpoint(
    service: Mapping[str, Any], groups: Groups, hostvars: Mapping[str, Any], inventory_hostname: str, default_port: int | str, probe_host: str = "127.0.0.1",
) -> dict[str, Any]:
    """Host and port by which containers on inventory_hostname reach a part of the stack.

    service: dict with group, service (container name), port (container port) and variable (name of the variable
    that moves the published port). Returns {"host": str, "port": int, "published": "host:port"}, the last for programs on
    the host itself, which reach its own ports at probe_host. The first host of the group wins unless this host is in it.
    Raises when the group is empty.
    """
    members = groups.get(service["group"]) or []
    if not members:
        raise AnsibleFilterError(
            "no host is in group %(group)s, so nothing says where %(service)s is: add a host to the group, "
            "or set the variable that asked for it to the external service's address" % service)
    peer = inventory_hostname if inventory_hostname in members else members[0]
    return _seen_from(inventory_hostname, peer, service, hostvars, default_port, probe_host)


def _seen_from(
    here: str, peer: str, service: Mapping[str, Any], hostvars: Mapping[str, Any], default_port: int | str, probe_host: str = "127.0.0.1",
) -> dict[str, Any]:
    """Where programs on the host here find the part on the host peer."""
    port = int(hostvars[peer].get(service["variable"]) or default_port)
    if peer == here:
        return {"host": service["service"], "port": service["port"], "published": "%s:%d" % (probe_host, port)}
    host = address_of(hostvars[peer]) or peer
    return {"host": host, "port": port, "published": "%s:%d" % (host, port)}


def address_of(variables: Mapping[str, Any]) -> Any:
    """Address by which other hosts reach the one with these variables, as the default of mlops_address has it."""
    return variables.get("mlops_address") or variables.get("ansible_host") or variables.get("inventory_hostname")


def bridge_name(project: str, network: str = "") -> str:
    """Name of the bridge of a project's network, its default one or the named one: Linux takes 15 characters, so a long one is cut and told
    apart by a digest."""
    name = f"{project}-{network}" if network else project
    return name if len(name) <= 15 else f"{name[:8]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _in_url(host: str) -> str:
    """A name or address as a URL and a Host header have it."""
    return f"[{host}]" if ":" in host else host


def host_headers(hosts: list[str], port: int | str) -> list[str]:
    """Host headers by which browsers and clients ask a port of a host, each once, for its names and addresses. Port 80 is left out."""
    end = "" if int(port) == 80 else f":{port}"
    return list(dict.fromkeys(_in_url(str(host).lower()) + end for host in hosts if host))


def page_host(bind: str, variables: Mapping[str, Any], own: str = "") -> str:
    """Where people open a host's pages, as a URL has it. bind: where its ports are published; variables: the host's; own: the address that it
    calls others from. A port on all addresses is opened at the one that the inventory has, or else at the host's own."""
    if bind not in ("0.0.0.0", "::"):
        return _in_url(bind)
    given = [str(variables.get(name) or "") for name in ("mlops_address", "ansible_host")]
    known = [host for host in [*given, own] if host and host not in ("localhost", "::1") and not host.startswith("127.")]
    return _in_url(known[0]) if known else "127.0.0.1"


def scrape_targets(
    services: Mapping[str, Any], groups: Groups, hostvars: Mapping[str, Any], inventory_hostname: str, default_ports: Mapping[str, int],
) -> dict[str, list[dict[str, Any]]]:
    """Where Prometheus on inventory_hostname finds each part on every host that has it.

    services: part -> dict as endpoint takes it; default_ports: part -> port (int). Returns part -> list of
    {"targets": ["host:port"], "labels": {"instance": the inventory's name of the host}}, as file_sd_configs wants it.
    """
    found = {}
    for part, service in services.items():
        seen = {peer: _seen_from(inventory_hostname, peer, service, hostvars, default_ports[part]) for peer in groups.get(service["group"]) or []}
        found[part] = [{"targets": ["%s:%d" % (where["host"], where["port"])], "labels": {"instance": peer}} for peer, where in seen.items()]
    return found


def subject_alt_name(name: str) -> str:
    """A host's name or address (str) as a certificate's subjectAltName has it: "IP:10.0.0.1" or "DNS:db.internal" (RFC 5280, 4.2.1.6)."""
    try:
        return "IP:%s" % ipaddress.ip_address(name)
    except ValueError:
        return "DNS:%s" % name


def roles_of(role_groups: Mapping[str, Iterable[str]], groups: Groups, inventory_hostname: str) -> list[str]:
    """Roles (list of str, in the order of role_groups) one of whose groups holds inventory_hostname."""
    return [role for role, names in role_groups.items()
            if any(inventory_hostname in (groups.get(name) or []) for name in names)]


def secret_file(content: str, uid: int) -> dict[str, Any]:
    """A secret as template_tree takes it: its content (str) and the uid (int) of the user that reads it."""
    return {"content": content, "uid": uid}


def secret_files(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Secrets as template_tree takes them, from name -> [uid (int) of the user that reads it, content (str)]."""
    return {name: secret_file(content, uid) for name, (uid, content) in values.items()}


def published_ports(
    roles: Iterable[str], role_ports: Mapping[str, Mapping[str, str]], default_ports: Mapping[str, int], address: str, variables: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Ports that a host with these roles publishes: list of {"name", "address", "port"}.

    role_ports: role -> {key in default_ports: name of the variable that moves the port}.
    """
    return [{"name": variable, "address": address, "port": variables.get(variable) or default_ports[key]}
            for role in roles for key, variable in role_ports.get(role, {}).items()]


def named_files(names: Iterable[str], variables: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Files that variables name: list of {"name", "path"} for those of names that are set and not empty."""
    return [{"name": name, "path": variables[name]} for name in names if variables.get(name)]


def given_images(wanted: Iterable[str], variables: Mapping[str, str], images: Mapping[str, str], here: Mapping[str, Any]) -> dict[str, str]:
    """The images that the user gives in place of the stack's own: short name -> image.

    wanted: short names of the images that the host runs; variables: short name -> variable that names another image; images: short
    name -> image (mlops_images), which may be somebody else's too; here: the host's variables, without roles' defaults.
    """
    found = {name: str(here.get(variables.get(name, "")) or images[name]) for name in wanted}
    return {name: image for name, image in found.items() if image != images[name] or not image.startswith("mlops/")}


def given(
    names: Mapping[str, Any], dotenv: Mapping[str, str], hostvars: Mapping[str, Any], groups: Groups, inventory_hostname: str,
) -> dict[str, Any]:
    """What the user gives of names: {name: {"value", "source": "variable" or ".env"}}; those that are not given are left out.

    names: name in .env -> dict with variable and group. A variable counts where this host sets it, or else a host of the group, so
    that the host that makes a database and the one that uses it agree. dotenv: dict of str to str. An empty value is not given.
    """
    found = {}
    look = functools.cache(lambda host: hostvars[host])  # each look gathers all of the host's variables
    for name, row in names.items():
        hosts = dict.fromkeys([inventory_hostname, *(groups.get(row["group"]) or [])])
        values = [value for value in (look(host).get(row["variable"]) for host in hosts) if value not in (None, "")]
        if values:
            found[name] = {"value": values[0], "source": "variable"}
        elif dotenv.get(name):
            found[name] = {"value": dotenv[name], "source": ".env"}
    return found


def problems(hosts: Sequence[str], hostvars: Mapping[str, Any], results: Iterable[str], essential: Iterable[str] = ()) -> list[str]:
    """All problems that the registered variables named results hold on the hosts, as lines "- host: problem".

    Those of the controller stand first, and each is told once with all hosts that have it. A host that did not answer is a
    problem where it is one of the essential, or where none of the hosts answers; so is one outside of the run (--limit) that others cannot
    reach.
    """
    found = [(host, hostvars[host].get(result) or {}) for host in hosts for result in results]
    shared = {"- controller: %s" % problem: None for _host, what in found for problem in what.get("controller_problems", [])}
    silent = {host: what["no_answer"] for host, what in found if what.get("no_answer")}
    told = silent if len(silent) == len(hosts) else {host: why for host, why in silent.items() if host in essential}
    settled = {host for host, what in found if what.get("settled")}
    outside = set(essential).difference(hosts)

    def counts(host: str, peer: str, dropped: bool) -> bool:
        """Whether it matters to the run that the host cannot reach a place on the peer, or on no host of the inventory."""
        if peer not in hosts:
            return not peer or peer in outside
        # What is on a host that did not answer needs no second word. The firewall of one that was set up before a new one came lets that
        # in when the run gets there.
        return peer not in silent and not (dropped and peer in settled and host not in settled)

    same: dict[str, list[str]] = {}
    for host, what in found:
        unreached = [row["problem"] + ("; a run without --limit lets a new host in" if row["dropped"] and row["peer"] in outside else "")
                     for row in what.get("unreached", []) if counts(host, row["peer"], row["dropped"])]
        for problem in [*what.get("problems", []), *unreached]:
            same.setdefault(problem, []).append(host)
    return (list(shared)
            + ["- %s: does not answer (%s); bring it up, or correct ansible_host, ansible_user and the key it is reached with" % (host, why)
               for host, why in told.items()]
            + ["- %s: %s" % (", ".join(hosts), problem) for problem, hosts in same.items()])


class FilterModule:
    """Filters of the collection that read groups, ports and registered problems."""

    def filters(self) -> dict[str, Any]:
        return {"endpoint": endpoint, "roles_of": roles_of, "secret_file": secret_file, "secret_files": secret_files,
                "scrape_targets": scrape_targets, "subject_alt_name": subject_alt_name, "address_of": address_of,
                "bridge_name": bridge_name, "host_headers": host_headers, "page_host": page_host,
                "published_ports": published_ports,
                "named_files": named_files, "given": given, "given_images": given_images, "problems": problems}
