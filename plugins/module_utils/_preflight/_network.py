# Copyright (c) mlops.stack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""By which names and addresses a host is known. Without those of its containers' networks, which come and go."""

from __future__ import annotations

import array
import contextlib
import fcntl
import ipaddress
import os
import socket
import struct
import threading
from collections.abc import Iterable, Iterator

SYSFS = "/sys/class/net"
IF_INET6 = "/proc/net/if_inet6"
SIOCGIFCONF = 0x8912  # linux/sockios.h
ROW = 40 if struct.calcsize("P") == 8 else 32  # struct ifreq
MOST = 1024  # addresses that are asked for
NAME = 16  # IFNAMSIZ
# Flags of an IPv6 address that does not last: temporary, tentative, deprecated (linux/if_addr.h).
PASSING = 0x01 | 0x40 | 0x20
# Kinds of a bridge's port that lead out of the host, as uevent tells them; a card has a device beside.
UPLINKS = ("bond", "vlan", "wlan")
SECONDS = 3.0


def ipv4_addresses() -> Iterator[tuple[str, str]]:
    """(interface, address) of each IPv4 address (netdevice(7))."""
    room = array.array("B", bytes(ROW * MOST))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        answer = fcntl.ioctl(probe, SIOCGIFCONF, struct.pack("iL", len(room), room.buffer_info()[0]))
    rows = room.tobytes()[:struct.unpack("iL", answer)[0]]
    for start in range(0, len(rows), ROW):
        label = rows[start:start + NAME].split(b"\0")[0].decode()
        yield label.split(":")[0], socket.inet_ntoa(rows[start + NAME + 4:start + NAME + 8])


def ipv6_addresses(text: str) -> Iterator[tuple[str, str]]:
    """(interface, address) of each lasting address in the text of /proc/net/if_inet6 (IPv6 HOWTO, 11.1.5)."""
    for row in text.splitlines():
        address, _index, _length, _scope, flags, name = row.split()
        if not int(flags, 16) & PASSING:
            yield name, str(ipaddress.IPv6Address(int(address, 16)))


def leads_out(name: str, sysfs: str = SYSFS) -> bool:
    """Whether an interface is the host's own: any but loopback and a bridge to which containers and guests alone are connected."""
    ports = os.path.join(sysfs, name, "brif")
    return name != "lo" and (not os.path.isdir(ports) or any(_is_uplink(port, sysfs) for port in os.listdir(ports)))


def _is_uplink(port: str, sysfs: str) -> bool:
    here = os.path.join(sysfs, port)
    if os.path.exists(os.path.join(here, "device")):
        return True
    with open(os.path.join(here, "uevent"), encoding="ascii") as handle:
        return any(row in [f"DEVTYPE={kind}" for kind in UPLINKS] for row in handle.read().split())


def own_addresses(found: Iterable[tuple[str, str]], sysfs: str = SYSFS) -> list[str]:
    """Of pairs (interface, address) the addresses that others may know the host by, sorted."""
    known = {address: ipaddress.ip_address(address) for name, address in found if leads_out(name, sysfs)}
    return [text for text, address in sorted(known.items(), key=lambda row: (row[1].version, int(row[1])))
            if not (address.is_loopback or address.is_link_local)]


def addresses() -> list[str]:
    """Addresses of this host that others may know it by, sorted."""
    found = list(ipv4_addresses())
    if os.path.exists(IF_INET6):
        with open(IF_INET6, encoding="ascii") as handle:
            found += ipv6_addresses(handle.read())
    return own_addresses(found)


def names(seconds: float = SECONDS) -> list[str]:
    """The host's name, and the full one where it is told in time (hostname --fqdn asks in the same way)."""
    short = socket.gethostname().lower()
    found = [short]

    def ask() -> None:
        with contextlib.suppress(OSError, UnicodeError):  # it has no other name
            found.extend(row[3].lower().rstrip(".") for row in socket.getaddrinfo(short, None, flags=socket.AI_CANONNAME))

    asked = threading.Thread(target=ask, daemon=True)
    asked.start()
    asked.join(seconds)
    return sorted({name for name in list(found) if name and not name.startswith("localhost")})
