"""Addresses that more than one has, and pools that overlap."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network

from tortie.datastore.check.facts import Facts, mapping, text, texts
from tortie.datastore.check.findings import Finding, problem
from tortie.model.addresses import Network
from tortie.model.resource import ResourceKey

Address = IPv4Address | IPv6Address
_NODE_FIELDS = ("ipv4Address", "ipv6Address")
_TUNNEL_FIELDS = ("ipv4VXLANTunnelAddr", "ipv6VXLANTunnelAddr")


def check(facts: Facts) -> Iterator[Finding]:
    holders: dict[Address, list[tuple[ResourceKey, str]]] = defaultdict(list)
    for address, key, path in used(facts):
        holders[address].append((key, path))
    for address, having in holders.items():
        first = having[0][0]
        for key, path in having[1:]:
            if key != first:
                yield problem(key, path, f"{address} is also an address of {first}")
    yield from _overlaps(facts)


def used(facts: Facts) -> Iterator[tuple[Address, ResourceKey, str]]:
    """The addresses of endpoints and nodes, with the fields that say so."""
    for key, spec in facts.of_kind("WorkloadEndpoint"):
        for place, value in texts(spec.get("ipNetworks")):
            if (address := _address(value)) is not None:
                yield address, key, f"spec.ipNetworks[{place}]"
    for key, spec in facts.of_kind("Node"):
        bgp = mapping(spec.get("bgp"))
        for name in _NODE_FIELDS:
            if (address := _address(text(bgp.get(name)))) is not None:
                yield address, key, f"spec.bgp.{name}"


def tunnels(facts: Facts) -> Iterator[Address]:
    """The addresses of nodes' tunnels, which IPAM gives out too."""
    for _, spec in facts.of_kind("Node"):
        values = [text(mapping(spec.get("bgp")).get("ipv4IPIPTunnelAddr"))]
        values += [text(spec.get(name)) for name in _TUNNEL_FIELDS]
        wireguard = mapping(spec.get("wireguard"))
        values += [text(wireguard.get(f"interfaceIPv{version}Address")) for version in (4, 6)]
        yield from (address for value in values if (address := _address(value)) is not None)


def pools(facts: Facts) -> dict[ResourceKey, Network]:
    """The pools whose prefix can be read."""
    found = {}
    for key, spec in facts.of_kind("IPPool"):
        try:
            found[key] = ip_network(text(spec.get("cidr")))
        except ValueError:
            continue
    return found


def _overlaps(facts: Facts) -> Iterator[Finding]:
    def place(item: tuple[ResourceKey, Network]) -> tuple[int, int, int]:
        return item[1].version, int(item[1].network_address), item[1].prefixlen

    # Prefixes contain each other or have nothing in common, so in this order one that overlaps follows a container.
    containers: list[tuple[ResourceKey, Network]] = []
    for key, network in sorted(pools(facts).items(), key=place):
        while containers and not containers[-1][1].overlaps(network):
            containers.pop()
        if containers:
            other, around = containers[-1]
            yield problem(key, "spec.cidr", f"{network} overlaps with {around} of {other}")
        containers.append((key, network))


def _address(value: str) -> Address | None:
    try:
        return ip_interface(value).ip if value else None
    except ValueError:
        return None
