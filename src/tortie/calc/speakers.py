"""Nodes as BGP speakers: their addresses, AS numbers, ports and clusters, with the cluster's defaults filled in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from typing import NamedTuple

from tortie.intent.bgp import Address, BgpProblem
from tortie.model.kind import DEFAULT_AS_NUMBER
from tortie.model.kinds.bgpconfiguration import BGPConfigurationSpec
from tortie.model.kinds.node import NodeSpec
from tortie.model.resource import Resource, ResourceKey

BGP_PORT = 179  # RFC 4271

Interface = IPv4Interface | IPv6Interface


class Speaker(NamedTuple):
    """One node. `interfaces` has its usable addresses by IP version."""

    key: ResourceKey
    labels: Mapping[str, str]
    interfaces: Mapping[int, Interface]
    as_number: int
    port: int
    cluster_id: IPv4Address | None  # set: a route reflector

    @property
    def name(self) -> str:
        return self.key.name

    @property
    def addresses(self) -> tuple[Address, ...]:
        return tuple(self.interfaces[version].ip for version in sorted(self.interfaces))


class Speakers:
    """The nodes that have a place in BGP, the oldest first, then by name.

    So of two with one address the one that was there first keeps its sessions, whatever the newcomer says of itself.
    """

    def __init__(self, nodes: Iterable[Resource[NodeSpec]], configurations: Mapping[str, BGPConfigurationSpec]) -> None:
        """`configurations` by their names: `default`, and `node.<name>` for the port of one node."""
        self._configurations = configurations
        self.problems: list[BgpProblem] = []
        self._by_name = {node.key.name: self._speaker(node) for node in sorted(nodes, key=_age)}
        self._owners: dict[Address, list[Speaker]] = {}
        for speaker in self:
            for address in speaker.addresses:
                self._owners.setdefault(address, []).append(speaker)
        self.problems.extend(self._shared_addresses())

    def __iter__(self) -> Iterator[Speaker]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Speaker:
        """The node of that name; one that does not exist has no addresses."""
        absent = Speaker(ResourceKey("Node", "", name), {}, {}, DEFAULT_AS_NUMBER, BGP_PORT, None)
        return self._by_name.get(name, absent)

    def owner(self, address: Address) -> Speaker | None:
        """The node with this address; of several the oldest, so that all nodes pick the same."""
        return self._owners.get(address, [None])[0]

    def _speaker(self, node: Resource[NodeSpec]) -> Speaker:
        default = self._configurations.get("default")
        own = self._configurations.get(f"node.{node.key.name}")
        bgp = node.spec.bgp
        return Speaker(
            key=node.key,
            labels=node.metadata.labels,
            interfaces=dict(self._interfaces(node)),
            as_number=(bgp and bgp.as_number) or (default and default.as_number) or DEFAULT_AS_NUMBER,
            port=(own and own.listen_port) or (default and default.listen_port) or BGP_PORT,
            cluster_id=bgp.route_reflector_cluster_id if bgp else None,
        )

    def _interfaces(self, node: Resource[NodeSpec]) -> Iterator[tuple[int, Interface]]:
        bgp = node.spec.bgp
        for interface in (bgp.ipv4_address, bgp.ipv6_address) if bgp else ():
            if interface is not None and is_speakable(interface.ip):
                yield interface.version, interface
            elif interface is not None:
                self.problems.append(BgpProblem(node.key, f"no BGP with {interface.ip}: not an address of one host"))

    def _shared_addresses(self) -> Iterator[BgpProblem]:
        for address, speakers in self._owners.items():
            for speaker in speakers if len(speakers) > 1 else ():
                others = ", ".join(str(other.key) for other in speakers if other is not speaker)
                yield BgpProblem(speaker.key, f"its address {address} is also that of {others}: give it another")


def _age(node: Resource[NodeSpec]) -> tuple[str, ResourceKey]:
    return node.metadata.creation_timestamp, node.key


def is_speakable(address: Address) -> bool:
    """A session with this address is possible. IPv6 link-local would need an interface, which no field names."""
    local = address.version == 6 and address.is_link_local
    return not (local or address.is_unspecified or address.is_multicast or address.is_loopback)
