# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shapes that variables' values have, by the variables' names: ports, memory, addresses. No message holds a value."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ansible_collections.mlops.stack.plugins.module_utils._preflight._checks import is_address
from ansible_collections.mlops.stack.plugins.plugin_utils._dotenv import NAME

# The Engine's least (docs.docker.com, "Resource constraints": 6m).
LEAST_MEMORY = 6 * 2**20
UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?")
DURATION = r"0|([0-9]+(ms|[smhdwy]))+"


def is_port(value: Any) -> bool:
    return str(value).isdecimal() and 1 <= int(value) <= 65535


def memory_bytes(value: Any) -> int | None:
    """The bytes of a size as Compose reads it (github.com/docker/go-units, RAMInBytes), or None where it is none."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([kmgtp]?)(?:i?b)?", str(value), re.IGNORECASE)
    return int(float(found[1]) * UNITS[found[2].lower()]) if found else None


def is_memory(value: Any) -> bool:
    return (memory_bytes(value) or 0) >= LEAST_MEMORY


def is_network(value: Any) -> bool:
    """An address, or a network as address/prefix without bits below the prefix."""
    try:
        ipaddress.ip_network(str(value))
    except ValueError:
        return False
    return True


def is_host(value: Any) -> bool:
    return bool(HOST_NAME.fullmatch(str(value))) or is_address(value)


def is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback if is_address(host) else host.split(".")[0] == "localhost"


def is_elsewhere(value: Any) -> bool:
    """A name or an address that programs in containers can use."""
    return is_host(value) and not is_loopback(str(value))


def is_url(value: Any) -> bool:
    return bool(re.fullmatch(r"https?://[^\s/?#]+([/?#]\S*)?", str(value)))


def is_url_elsewhere(value: Any) -> bool:
    """A URL that programs in containers can use."""
    return is_url(value) and not is_loopback(urlsplit(str(value)).hostname or "")


def matches(pattern: str) -> Callable[[Any], bool]:
    compiled = re.compile(pattern)
    return lambda value: bool(compiled.fullmatch(str(value)))


class Shape(NamedTuple):
    """names: what the variable's whole name matches; holds: whether a value is right; wanted: that in words; each: it is a list of such."""

    names: str
    holds: Callable[[Any], bool]
    wanted: str
    each: bool = False


# distribution/reference: a registry, if any, then the parts of a path, a tag and a digest.
is_image = matches(r"(([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
                   r"(:\w[\w.-]{0,127})?(@sha256:[0-9a-f]{64})?")
# What nftables' language has words for, or hosts have tables for already: the firewall's table is called as the project.
TABLES = ("filter|nat|mangle|raw|security|firewalld|inet|ip|ip6|arp|bridge|netdev|log|monitor|table|chain|rule|set|map|element|"
          "add|delete|list|flush|define|include|type|hook|policy|accept|drop|reject|meta|ct|fib")
HOST = "a name or an address alone, without scheme, port or path"
# The first whose names match counts. A dictionary's values have the shape each.
SHAPES = [
    Shape(r"mlflow_public_url", matches(r"https?://[^/?#@\s]+/?"),
          "a URL without a path, such as https://mlflow.example.org (below a path, every client of it would have to add that)"),
    Shape(r".*_public_url", matches(r"https?://[^/?#@\s]+(/[\w.~/-]*)?"), "a URL, such as https://example.org/name"),
    Shape(r"mlflow_admin_password", matches(r"[^\x00-\x1f\x7f]{12,}"), "at least 12 characters on one line"),
    Shape(r"regmodel_api_key", matches(r"[^\x00-\x20\x7f]+"), "one line without a space"),
    Shape(r"regmodel_allowed_flavors", matches(r"[a-z][a-z0-9_]*|sklearn:[A-Za-z_][\w.]*"),
          "a flavor of MLflow such as sklearn or python_function, or sklearn: and a format or a type, such as sklearn:cloudpickle", each=True),
    Shape(r".*_port|mlops_ports", is_port, "a port, 1 to 65535"),
    Shape(r".*_memory", is_memory, "a size of 6m or more as Compose writes it, such as 512m or 2g"),
    Shape(r"mlops_min_memory_mib|mlops_min_free_mib", matches("[0-9]+"), "a number of MiB"),
    Shape(r".*_tracking_uri|airflow_execution_api_url", is_url_elsewhere,
          "a URL that starts with http:// or https:// and is not localhost, which in a container is the container"),
    Shape(r".*_ur[il]|images_debian_mirror", is_url, "a URL that starts with http:// or https://"),
    Shape(r"mlops_(allowed|client)_sources", is_network, "an address or a network, such as 10.0.0.0/24", each=True),
    Shape(r"images_build_host", matches(r"\S+"), "the inventory's name of a host"),
    Shape(r".*_(db|redis|postgres)_host", is_elsewhere, HOST + ", and not localhost, which in a container is the container"),
    Shape(r".*_host|mlops_address", is_host, HOST),
    Shape(r".*_smarthost", matches(r"[^\s/:]+:[0-9]{1,5}"), "host:port"),
    Shape(r"images_registry_mirror|images_registry_prefix", matches(r"[^\s/:]+(:[0-9]{1,5})?(/[^\s:]+)?"), "host[:port][/path], without a scheme"),
    Shape(r".*_image", is_image, "an image's name, such as registry.example.org/mlflow:3"),
    Shape(r".*_uid|mlops_image_uids", matches("[0-9]{1,10}"), "a user id"),
    Shape(r".*_(workers|concurrency|max_connections)", matches("[1-9][0-9]*"), "a whole number of 1 or more"),
    Shape(r".*_(timeout|seconds)", lambda value: float(value) > 0, "a number of seconds above 0"),
    Shape(r"monitoring_(.*_interval|group_wait|retention_time|alert_for)", matches(DURATION), "a time as Prometheus writes it, such as 30s or 5m"),
    Shape(r"monitoring_retention_size", matches("0|[0-9]+[KMGTPE]?B"), "a size as Prometheus writes it, such as 8GB"),
    Shape(r"mlops_dir", matches(r"/[^\s:]*[^\s:/]/?"), "an absolute path without spaces, below /"),
    Shape(r"mlops_project", matches(rf"(?!({TABLES})\Z)[a-z][a-z0-9_-]*"),
          "lower-case letters, digits, - and _, as Compose names a project, a letter first, and no word of nftables such as filter, which names its table too"),
    Shape(r"monitoring_email_.*", matches(r"[^@\n]+@[^@\s]+"), "an e-mail address"),
]


def environment_problems(name: str, given: Mapping[Any, Any]) -> Iterator[tuple[str, Any, str]]:
    """The same of an environment, or of one for each of several services."""
    for key, value in given.items():
        if isinstance(value, Mapping):
            yield from environment_problems(f"{name}.{key}", value)
        elif isinstance(value, (list, tuple)):
            yield f"{name}.{key}", value, "text, a number, or true or false"
        elif not NAME.match(str(key)):
            yield name, key, "names of letters, digits and _ that do not start with a digit"


def shape_problems(name: str, value: Any) -> Iterator[tuple[str, Any, str]]:
    """(where, found, wanted) for each value that has not the shape which its variable's name tells. An empty text is not given."""
    if re.fullmatch(r"\w+_environment", name) and isinstance(value, Mapping):
        yield from environment_problems(name, value)
        return
    shape = next((shape for shape in SHAPES if re.fullmatch(shape.names, name)), None)
    if shape is None:
        return
    if isinstance(value, Mapping):
        rows = [("%s.%s" % (name, key), item) for key, item in value.items()]
    elif shape.each and isinstance(value, list):
        rows = [("%s[%d]" % (name, number), item) for number, item in enumerate(value)]
    else:
        rows = [(name, value)]
    for where, item in rows:
        if item not in ("", None) and (isinstance(item, (bool, Mapping, list)) or not shape.holds(item)):
            yield where, item, shape.wanted
