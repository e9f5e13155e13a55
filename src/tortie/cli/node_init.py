"""What `tortie node init` writes: the Node of this host.

Invariants: what was not asked for is kept, unknown fields included; an address of another Node is refused; a second
run writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_interface
from pathlib import Path
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from tortie.access import Access
from tortie.cli.host_addresses import Held, HostError, default_source, held_addresses
from tortie.cli.store import opened
from tortie.cli.whole_file import whole_file
from tortie.datastore.cluster import CLUSTER_INFORMATION
from tortie.datastore.resources import Resources
from tortie.errors import AlreadyExists, NotFound, UsageError
from tortie.model.encode import new, with_spec
from tortie.model.kinds.node import NodeBgp, NodeSpec
from tortie.model.resource import Resource, ResourceKey
from tortie.model.scalars import AsNumber

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Family = TypeVar("Family", IPv4Interface, IPv6Interface)


class Wanted(NamedTuple):
    """What the user asks for; None leaves it as it is."""

    ipv4: IPv4Interface | None
    ipv6: IPv6Interface | None
    as_number: AsNumber | None


class Written(NamedTuple):
    """What was done, and what is odd about it."""

    done: str
    cluster: str  # the GUID of the cluster that it was written to
    warnings: list[str]


def parse_wanted(ip: str | None, ip6: str | None, as_number: str | None) -> Wanted:
    """The options of the command line; raises UsageError."""
    try:
        number = None if as_number is None else AsNumber.from_json(as_number)
    except ValueError as error:
        raise UsageError(f"--as {as_number}: {error}") from error
    return Wanted(
        None if ip is None else _parse("--ip", ip, IPv4Interface, "172.18.203.125/24"),
        None if ip6 is None else _parse("--ip6", ip6, IPv6Interface, "2001:db8::125/64"),
        number,
    )


def _parse(option: str, text: str, family: type[Family], example: str) -> Family:
    """An address with its prefix length; to a bare one the interface that holds it gives its own."""
    try:
        parsed = family(text)
    except ValueError:
        raise UsageError(f"{option} {text}: must be an address with prefix length, such as {example}") from None
    if parsed.is_multicast or parsed.is_loopback or parsed.is_unspecified or parsed.is_link_local:
        raise UsageError(f"{option} {text}: cannot be a node's address, since other nodes do not reach it")
    return parsed if "/" in text else family(_completed(parsed.ip, held_addresses()))


def initialise(access: Access, name: str, wanted: Wanted) -> Written:
    """Writes the Node."""
    return asyncio.run(_initialise(access, name, wanted))


async def _initialise(access: Access, name: str, wanted: Wanted) -> Written:
    key = ResourceKey("Node", "", name)
    held = held_addresses()
    async with opened(access, create=True) as resources:
        await resources.ensure_initialised()
        before = await _find(resources, key)
        bgp = _merged(before.spec.bgp if before else None, wanted, held)
        await _refuse_addresses_of_others(resources, key, bgp)
        if before is None:
            after = await resources.create(new("Node", name, NodeSpec(bgp=bgp)))
            done = "created"
        else:
            after = await resources.modify(
                key, lambda node: with_spec(node, replace(node.spec, bgp=_merged(node.spec.bgp, wanted, held)))
            )
            done = "unchanged" if after.revision == before.revision else "updated"
        cluster = (await resources.get(CLUSTER_INFORMATION)).spec.cluster_guid
    return Written(f"{key} {done}: {_words(bgp, held)}", cluster, list(_oddities(bgp, wanted, held)))


def accept_cluster(file: Path, cluster: str) -> None:
    """Tells the agent of this host, running or not, that the host belongs to this cluster; it takes the file away."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as new:
            new.write(f"{cluster}\n".encode())
    except OSError as error:
        raise HostError(f"{file}: {error.strerror}: run this as root, on the host that is meant") from error


async def _find(resources: Resources, key: ResourceKey) -> Resource[NodeSpec] | None:
    try:
        return await resources.get(key)
    except NotFound:
        return None


def _merged(stored: NodeBgp | None, wanted: Wanted, held: Iterable[Held]) -> NodeBgp:
    """What is asked for, else what is stored, else the address of the default route: IPv6 only without IPv4."""
    bgp = stored or NodeBgp()
    ipv4 = wanted.ipv4 or bgp.ipv4_address
    ipv6 = wanted.ipv6 or bgp.ipv6_address
    if ipv4 is None and ipv6 is None:
        ipv4 = _of_default_route(IPv4Interface, default_source(4), held)
        ipv6 = None if ipv4 else _of_default_route(IPv6Interface, default_source(6), held)
    if ipv4 is None and ipv6 is None:
        raise HostError("this host has no default route to take its address from: give --ip CIDR or --ip6 CIDR")
    as_number = bgp.as_number if wanted.as_number is None else wanted.as_number
    return replace(bgp, ipv4_address=ipv4, ipv6_address=ipv6, as_number=as_number)


def _of_default_route(family: type[Family], source: Address | None, held: Iterable[Held]) -> Family | None:
    return None if source is None or source.is_link_local else family(_completed(source, held))


def _completed(address: Address, held: Iterable[Held]) -> Interface:
    """The address with the prefix length of the interface that holds it; of full length when none does."""
    return next((each.address for each in held if each.address.ip == address), ip_interface(address))


async def _refuse_addresses_of_others(resources: Resources, key: ResourceKey, bgp: NodeBgp) -> None:
    own = {address.ip for address in _addresses(bgp)}
    for node in (await resources.list(key.kind)).items:
        if isinstance(node, Resource) and node.key != key and node.spec.bgp is not None:
            for address in _addresses(node.spec.bgp):
                if address.ip in own:
                    raise AlreadyExists(
                        f"{address.ip} is the address of {node.key} already: give this host another with --ip or "
                        f"--ip6, or delete that Node if it is this host under an old name"
                    )


def _addresses(bgp: NodeBgp) -> list[Interface]:
    return [address for address in (bgp.ipv4_address, bgp.ipv6_address) if address is not None]


def _words(bgp: NodeBgp, held: Iterable[Held]) -> str:
    interfaces = {each.address.ip: each.interface for each in held}
    parts = [
        f"{address} on {interfaces[address.ip]}" if address.ip in interfaces else str(address)
        for address in _addresses(bgp)
    ]
    return ", ".join([*parts, "AS of the cluster" if bgp.as_number is None else f"AS {bgp.as_number}"])


def _oddities(bgp: NodeBgp, wanted: Wanted, held: Sequence[Held]) -> Iterator[str]:
    here = {each.address.ip for each in held}
    for address in _addresses(bgp):
        if address.ip not in here:
            yield f"no interface of this host has {address.ip}: other nodes will not reach it"
    source = default_source(4)
    if bgp.ipv4_address is not None and wanted.ipv4 is None and source not in (None, bgp.ipv4_address.ip):
        yield f"the Node keeps its address, but the default route leaves from {source}: --ip {source} would change it"
