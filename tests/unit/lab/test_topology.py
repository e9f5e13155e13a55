"""Topology files: what is accepted, and how each mistake is named."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml

from tortie.errors import InvalidResource
from tortie.lab import topology
from tortie.lab.command import SHIPPED
from tortie.lab.topology import Topology, parse, renamed, render

GOOD = """
name: two
subnets:
  - {name: rack, prefixes: [192.0.2.0/24, "2001:db8::/64"]}
  - {name: far, prefixes: [198.51.100.0/25]}
router: {name: gateway, addresses: [192.0.2.1, "2001:db8::1", 198.51.100.1], bgp: {peers: [a], as: 65000}}
machines:
  - {name: internet, addresses: [198.51.100.80]}
hosts:
  - {name: a, addresses: [192.0.2.10, "2001:db8::10"], as: 65001}
  - {name: b, addresses: [192.0.2.11], route_reflector: 244.0.0.1, dhcp: {interface: ns-1, address: 10.65.0.1/16}}
workloads:
  - {name: w, host: a, addresses: [10.65.0.21, "2001:db8:65::21"]}
  - {name: v, host: b, addresses: [10.65.0.22], tap: {interface: tap0, gateway: [10.65.0.1/16]}}
"""


def good() -> Topology:
    return parse(GOOD, "good.yaml")


def changed(**sections: Any) -> str:
    return yaml.safe_dump(yaml.safe_load(GOOD) | sections)


def host(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "a", "addresses": ["192.0.2.10"]} | fields, {"name": "b", "addresses": ["192.0.2.11"]}]


def workload(**fields: Any) -> list[dict[str, Any]]:
    return [
        {"name": "w", "host": "a", "addresses": ["10.65.0.21"]} | fields,
        {"name": "v", "host": "b", "addresses": ["10.65.0.22"], "tap": {"interface": "tap0"}},
    ]


def subnets(*prefixes: str) -> list[dict[str, Any]]:
    return [{"name": f"s{index}", "prefixes": [prefix]} for index, prefix in enumerate(prefixes)]


MISTAKES: dict[str, tuple[str, list[str]]] = {
    "not YAML": ("hosts: [", ["object: is not YAML"]),
    "not a mapping": ("- a", ["object: Expected `object`, got `array`"]),
    "unknown key": (changed(host=[]), ["object: Object contains unknown field `host`"]),
    "unknown key inside": (
        changed(hosts=[{"name": "a", "addresses": [], "adress": 1}]),
        ["hosts[0]: Object contains unknown field `adress`"],
    ),
    "missing key": (changed(hosts=[{"name": "a"}]), ["hosts[0]: Object missing required field `addresses`"]),
    "wrong type": (changed(hosts="a"), ["hosts: Expected `array`, got `str`"]),
    "name too long": (changed(hosts=host(name="a" * 13)), ["hosts[0].name: Expected `str` matching regex"]),
    "lab name with a hyphen": (changed(name="a-b"), ["name: Expected `str` matching regex"]),
    "name twice": (
        changed(machines=[{"name": "w", "addresses": ["198.51.100.80"]}]),
        ["workloads[0].name: is the name of something else in this lab (got w)"],
    ),
    "name of the fabric": (
        changed(machines=[{"name": "fabric", "addresses": ["198.51.100.80"]}]),
        ["machines[0].name: is the name of something else in this lab (got fabric)"],
    ),
    "name of the router twice": (
        changed(machines=[{"name": "gateway", "addresses": ["198.51.100.80"]}]),
        ["router.name: is the name of something else in this lab (got gateway)"],
    ),
    "no prefix": (
        changed(subnets=subnets("192.0.2.300/24")),
        ["subnets[0].prefixes[0]: is not a prefix: '192.0.2.300/24' does not appear to be"],
    ),
    "prefix with host bits": (
        changed(subnets=subnets("192.0.2.1/24")),
        ["subnets[0].prefixes[0]: is not a prefix: 192.0.2.1/24 has host bits set (got 192.0.2.1/24)"],
    ),
    "prefix not canonical": (
        changed(subnets=subnets("2001:DB8::/64")),
        ["subnets[0].prefixes[0]: must be written 2001:db8::/64 (got 2001:DB8::/64)"],
    ),
    "prefixes overlap": (
        changed(subnets=subnets("192.0.2.0/24", "198.51.100.0/24", "192.0.2.128/25")),
        ["subnets[2].prefixes[0]: overlaps 192.0.2.0/24 (got 192.0.2.128/25)"],
    ),
    "host without address": (changed(hosts=host(addresses=[])), ["hosts[0].addresses: must hold at least one address"]),
    "host outside every subnet": (
        changed(hosts=host(addresses=["203.0.113.1"])),
        ["hosts[0].addresses[0]: must lie in one of the subnets (got 203.0.113.1)"],
    ),
    "host in two subnets": (
        changed(hosts=host(addresses=["2001:db8::10", "198.51.100.7"])),
        ["hosts[0].addresses: must lie in one subnet (got 2001:db8::10, 198.51.100.7)"],
    ),
    "two addresses of a family": (
        changed(hosts=host(addresses=["192.0.2.10", "192.0.2.12"])),
        ["hosts[0].addresses: must hold at most one address of a family (got 192.0.2.10, 192.0.2.12)"],
    ),
    "address with prefix length": (
        changed(hosts=host(addresses=["192.0.2.10/24"])),
        ["hosts[0].addresses[0]: must be an IPv4 or IPv6 address without a prefix length (got 192.0.2.10/24)"],
    ),
    "address twice": (
        changed(hosts=host(addresses=["192.0.2.1"])),
        ["router.addresses[0]: is used twice (got 192.0.2.1)"],
    ),
    "router outside every subnet": (
        changed(router={"name": "gateway", "addresses": ["203.0.113.1"]}),
        ["router.addresses[0]: must lie in one of the subnets (got 203.0.113.1)"],
    ),
    "router twice in a subnet": (
        changed(router={"name": "gateway", "addresses": ["192.0.2.1", "192.0.2.2"]}),
        ["router.addresses[1]: must be the router's only address in its subnet and family (got rack, IPv4)"],
    ),
    "router peers with nobody known": (
        changed(router={"name": "gateway", "addresses": ["192.0.2.1"], "bgp": {"peers": ["w"]}}),
        ["router.bgp.peers[0]: must be the name of a host (got w)"],
    ),
    "router peers out of reach": (
        changed(router={"name": "gateway", "addresses": ["198.51.100.1"], "bgp": {"peers": ["a"]}}),
        ["router.bgp.peers[0]: must be a host in a subnet of the router (got a)"],
    ),
    "AS number 0": (changed(hosts=host(**{"as": 0})), ["hosts[0].as: Expected `int` >= 1"]),
    "cluster id": (
        changed(hosts=host(route_reflector="::1")),
        ["hosts[0].route_reflector: must be a cluster id such as 244.0.0.1 (got ::1)"],
    ),
    "DHCP address without prefix": (
        changed(hosts=host(dhcp={"interface": "ns-1", "address": "10.65.0.1"})),
        ["hosts[0].dhcp.address: must be an address with its prefix length, such as 10.65.0.1/16 (got 10.65.0.1)"],
    ),
    "workload on no host": (
        changed(workloads=workload(host="internet")),
        ["workloads[0].host: must be the name of a host (got internet)"],
    ),
    "workload's address taken": (
        changed(workloads=workload(addresses=["10.65.0.22"])),
        ["workloads[1].addresses[0]: is the address of another workload (got 10.65.0.22)"],
    ),
    "workload's address is none": (
        changed(workloads=workload(addresses=["10.65.0"])),
        ["workloads[0].addresses[0]: must be an IPv4 or IPv6 address without a prefix length (got 10.65.0)"],
    ),
    "TAP name too long": (
        changed(workloads=workload(tap={"interface": "tap0123456789012"})),
        ["workloads[0].tap.interface: Expected `str` matching regex"],
    ),
    "TAP taken": (
        changed(workloads=workload(host="b", tap={"interface": "tap0"})),
        ["workloads[1].tap.interface: is the TAP of another workload on this host (got b: tap0)"],
    ),
    "multicast MAC": (
        changed(workloads=workload(tap={"interface": "tap1", "mac": "01:00:5e:00:00:01"})),
        ["workloads[0].tap.mac: Expected `str` matching regex"],
    ),
    "gateway of another subnet": (
        changed(workloads=workload(tap={"interface": "tap1", "gateway": ["10.66.0.1/16"]})),
        ["workloads[0].tap.gateway[0]: must have an address of the workload in its subnet (got 10.66.0.1/16)"],
    ),
    "unknown guest": (
        changed(workloads=workload(tap={"interface": "tap1", "guest": "kvm"})),
        ["workloads[0].tap.guest: Invalid enum value 'kvm'"],
    ),
    "two mistakes": (
        changed(hosts=host(route_reflector="one"), workloads=workload(host="c")),
        ["workloads[0].host: must be the name of a host (got c)", "hosts[0].route_reflector: must be a cluster id"],
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_with_its_path(case: str) -> None:
    text, expected = MISTAKES[case]
    with pytest.raises(InvalidResource) as caught:
        parse(text, "bad.yaml")
    problems = [str(problem) for problem in caught.value.problems]
    assert [problem[: len(want)] for problem, want in zip(problems, expected, strict=True)] == expected
    assert str(caught.value).startswith("topology bad.yaml: ")


def test_a_good_topology_reads_back_equal() -> None:
    assert parse(render(good()), "again") == good()


@pytest.mark.parametrize("file", sorted(entry.name for entry in SHIPPED.iterdir()))
def test_a_topology_that_comes_with_tortie_is_good_and_named_as_its_file(file: str) -> None:
    text = (SHIPPED / file).read_text()
    assert parse(text, file).name == file.removesuffix(".yaml")


def test_members_are_hosts_router_machines_and_workloads() -> None:
    assert good().members() == ("a", "b", "gateway", "internet", "w", "v")


@pytest.mark.parametrize(
    ("address", "on_link", "gateway"),
    [
        ("192.0.2.10", "192.0.2.10/24", "192.0.2.1"),
        ("2001:db8::10", "2001:db8::10/64", "2001:db8::1"),
        ("198.51.100.80", "198.51.100.80/25", "198.51.100.1"),
    ],
)
def test_subnet_and_gateway_follow_from_the_address(address: str, on_link: str, gateway: str) -> None:
    assert good().on_link(address) == on_link
    assert good().gateway_of(address) == gateway


def test_without_a_router_there_is_no_gateway() -> None:
    alone = msgspec.structs.replace(good(), router=None)
    assert alone.gateway_of("192.0.2.10") is None


def test_a_tap_without_mac_gets_one_that_depends_on_the_name_alone() -> None:
    first = topology.Workload(name="v", host="a", addresses=("10.65.0.1",), tap=topology.Tap(interface="tap0"))
    second = topology.Workload(name="v", host="b", addresses=("10.65.0.2",), tap=topology.Tap(interface="tap1"))
    other = topology.Workload(name="u", host="a", addresses=("10.65.0.1",), tap=topology.Tap(interface="tap0"))
    assert first.mac == second.mac != other.mac
    assert first.mac.startswith("fa:16:3e:")


def test_a_lab_can_be_renamed_within_the_rules() -> None:
    assert renamed(good(), "three") == msgspec.structs.replace(good(), name="three")
    with pytest.raises(InvalidResource, match="name: Expected `str` matching regex"):
        renamed(good(), "Three!")
