"""By which addresses a host is known: those of its containers' networks come and go, and are not among them."""

import pytest
from ansible_collections.mlops.stack.plugins.module_utils._preflight._network import addresses, ipv4_addresses, ipv6_addresses, leads_out, names, own_addresses

LASTING, TEMPORARY, LINK = "20010db8000000000000000000000007", "20010db80000000000000000000000ff", "fe80000000000000004206fffeff13df"
IF_INET6 = f"{LASTING} 02 40 00 80     eth0\n{TEMPORARY} 02 40 00 01     eth0\n{LINK} 03 40 20 80  docker0\n"


@pytest.fixture
def sysfs(tmp_path):
    """A host with a card in a bridge of its own, a bridge of Docker, one of guests, a bond, and an empty bridge."""
    for bridge, ports in {"br0": ["eth1"], "docker0": ["veth1"], "virbr0": ["vnet0"], "br1": ["bond0"], "br-empty": []}.items():
        (tmp_path / bridge / "brif").mkdir(parents=True)
        for port in ports:
            (tmp_path / bridge / "brif" / port).touch()
    for name, event in {"eth0": "INTERFACE=eth0\n", "eth1": "INTERFACE=eth1\n", "veth1": "INTERFACE=veth1\n", "vnet0": "INTERFACE=vnet0\n",
                        "bond0": "DEVTYPE=bond\nINTERFACE=bond0\n", "lo": "INTERFACE=lo\n"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "uevent").write_text(event)
    (tmp_path / "eth1/device").mkdir()
    return str(tmp_path)


@pytest.mark.parametrize("name, own", [("eth0", True), ("br0", True), ("br1", True), ("lo", False), ("docker0", False), ("virbr0", False),
                                       ("br-empty", False)])
def test_an_interface_of_the_host_leads_out(sysfs, name, own):
    assert leads_out(name, sysfs) == own


def test_addresses_are_sorted_and_those_of_containers_left_out(sysfs):
    found = [("eth0", "10.0.0.12"), ("eth0", "10.0.0.2"), ("br0", "192.168.1.5"), ("docker0", "172.17.0.1"), ("lo", "127.0.0.1"), ("eth0", "169.254.7.7"),
             *ipv6_addresses(IF_INET6)]
    assert own_addresses(found, sysfs) == ["10.0.0.2", "10.0.0.12", "192.168.1.5", "2001:db8::7"]


def test_this_machine_knows_itself():
    assert ("lo", "127.0.0.1") in list(ipv4_addresses())
    assert addresses() == addresses() and not {"127.0.0.1", "::1"} & set(addresses())
    assert names() == names() and all(name and name == name.lower() and not name.startswith("localhost") for name in names())
