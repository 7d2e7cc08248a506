# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory as a whole: groups, addresses, and what one part needs of another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ansible.module_utils.parsing.convert_bool import BOOLEANS_FALSE
from ansible_collections.mlops.stack.plugins.plugin_utils._dotenv import nearest
from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._shapes import is_address, is_loopback
from ansible_collections.mlops.stack.plugins.plugin_utils._preflight._targets import address_of

Groups = Mapping[str, list[str]]
Look = Callable[[str, str], Any]


def size_problems(limits: Iterable[Mapping[str, Any]], groups: Groups) -> Iterator[str]:
    """Groups whose parts run once, with more hosts than one, or with none where the stack wants one."""
    for row in limits:
        hosts = groups.get(row["name"]) or []
        if len(hosts) > row["at_most"]:
            yield "group %s holds %s; its parts run once: keep at most %d host in it" % (row["name"], ", ".join(hosts), row["at_most"])
        elif len(hosts) < row["at_least"]:
            yield "group %s is empty; add the host that its parts shall run on to it" % row["name"]


def name_problems(known: Iterable[str], groups: Groups) -> Iterator[str]:
    """Groups whose name is a misspelling of one of the stack's, unless their hosts are in that one as well."""
    known = list(known)
    for name, hosts in groups.items():
        near = None if name in known or name in ("all", "ungrouped") else nearest(name, known)
        if near and not set(hosts) <= set(groups.get(near) or []):
            yield "group %s is not one of the stack's; did you mean %s?" % (name, near)


def need_problems(needs: Iterable[Mapping[str, Any]], groups: Groups, look: Look) -> Iterator[str]:
    """Parts without what they need: neither a host of the inventory has it, nor does a variable say where it is.

    needs: rows with group, of (the group that has what is needed), what (in words), unless (variables, of which one is enough), and
    optionally port (a variable that goes with the first of them).
    """
    for row in [row for row in needs if not groups.get(row["of"])]:
        lacking = [host for host in groups.get(row["group"]) or [] if not any(look(host, name) for name in row["unless"])]
        if lacking:
            yield "group %s has %s and group %s has no host, so there is no %s; add a host to %s, or set %s to where it is" % (
                row["group"], ", ".join(lacking), row["of"], row["what"], row["of"], row["unless"][0])
        for host in groups.get(row["group"]) or []:
            if row.get("port") and look(host, row["unless"][0]) and not look(host, row["port"]):
                yield "%s has %s and no %s, and without a host in group %s no port is known; set %s" % (
                    host, row["unless"][0], row["port"], row["of"], row["port"])


def address_problems(hosts: list[str], look: Look) -> Iterator[str]:
    """Addresses that other hosts cannot use. hosts: those with a part of the stack."""
    if len(hosts) < 2:
        return
    seen: dict[str, str] = {}
    for host in hosts:
        where = address_of(host, look)
        if is_loopback(where):
            yield "%s has the address %s, where every other host finds itself; set mlops_address to one that the others reach" % (host, where)
        elif where in seen:
            yield "%s and %s have the same address, %s; set mlops_address of each to its own" % (seen[where], host, where)
        elif ":" in where:
            yield "%s has the address %s; hosts of the stack reach each other by IPv4: set mlops_address to such an address" % (host, where)
        seen.setdefault(where, host)
        bind = str(look(host, "mlops_bind") or "")
        if bind and is_loopback(bind):
            yield "%s publishes its ports on %s, where no other host reaches them; set mlops_bind to an address of the host" % (host, bind)
        elif bind and not is_address(where) and not is_loopback(where) and str(look(host, "mlops_firewall")).lower() not in BOOLEANS_FALSE:
            # Where nothing is set, mlops_bind is the name too, and that is told already.
            yield ("%s has the address %s, which is a name, and the firewall knows addresses; set mlops_address to the one that it calls the "
                   "others from" % (host, where))


def inventory_problems(stack: Mapping[str, Any], groups: Groups, look: Look) -> tuple[list[str], list[str]]:
    """(problems, warnings) of the inventory.

    stack: known (the stack's groups), sizes, needs, and build_host (the host that builds images, or nothing).
    look: (host, variable) -> its value, or None where the inventory does not set it.
    """
    hosts = list(dict.fromkeys(host for name in stack["known"] for host in groups.get(name) or []))
    problems = [*name_problems(stack["known"], groups), *size_problems(stack["sizes"], groups), *need_problems(stack["needs"], groups, look),
                *address_problems(hosts, look)]
    if not hosts:
        problems.append("no host is in a group of the stack (%s); put at least one host into them" % ", ".join(stack["known"]))
    if stack.get("build_host") and stack["build_host"] not in groups["all"]:
        problems.append("images_build_host is %s, which is not in the inventory; give it the inventory's name of a host" % stack["build_host"])
    idle = [host for host in groups["all"] if host not in hosts]
    # On purpose where a host shall be emptied, so no problem.
    warnings = ["in no group of the stack, so that nothing runs there: %s" % ", ".join(idle)] if idle and hosts else []
    return problems, warnings
