"""What `tortie node init` writes: the Node of this host.

Invariants: what was not asked for is kept, unknown fields included: an address is detected once, and again only when
asked; one of another Node is refused; a second run writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_interface
from pathlib import Path
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from tortie.access import Access
from tortie.cli.host_addresses import ELSEWHERE, Held, HostError, held_addresses
from tortie.cli.node_address import (
    Destination,
    Method,
    detect,
    kernels_choice,
    parse_method,
    store_destinations,
)
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


class Wish(NamedTuple):
    """What the user says of the address of one IP version, as Calico's `IP` and `IP_AUTODETECTION_METHOD` do."""

    address: Interface | None = None
    detect: bool = False  # anew, also where one is stored
    never: bool = False  # none is looked for
    method: Method | None = None


class Wanted(NamedTuple):
    """What the user asks for; None leaves it as it is."""

    ipv4: Wish
    ipv6: Wish
    as_number: AsNumber | None


class Found(NamedTuple):
    """The addresses to write, and why these."""

    ipv4: IPv4Interface | None
    ipv6: IPv6Interface | None
    why: Mapping[Address, str]
    warnings: list[str]


class Written(NamedTuple):
    """What was done, and what is odd about it."""

    done: str
    cluster: str  # the GUID of the cluster that it was written to
    warnings: list[str]


class Options(NamedTuple):
    """The words of the command line or of Calico's environment."""

    ip: str | None = None
    ip6: str | None = None
    method: str = ""
    method6: str = ""
    as_number: str | None = None


def parse_wanted(options: Options) -> Wanted:
    """Raises UsageError."""
    try:
        number = None if options.as_number is None else AsNumber.from_json(options.as_number)
    except ValueError as error:
        raise UsageError(f"--as {options.as_number}: {error}") from error
    return Wanted(
        _parse("--ip", options.ip, options.method, IPv4Interface, "172.18.203.125/24"),
        _parse("--ip6", options.ip6, options.method6, IPv6Interface, "2001:db8::125/64"),
        number,
    )


def _parse(option: str, text: str | None, method: str, family: type[Family], example: str) -> Wish:
    """An address with its prefix length; to a bare one the interface that holds it gives its own."""
    try:
        parsed_method = parse_method(method)
    except UsageError as error:
        raise UsageError(f"{option}-autodetection-method: {error}") from None
    match text:
        case None | "":
            return Wish(method=parsed_method)
        case "autodetect":
            return Wish(detect=True, method=parsed_method)
        case "none":
            return Wish(never=True)
    try:
        parsed = family(text)
    except ValueError:
        reason = f"must be an address with prefix length, such as {example}, or autodetect, or none"
        raise UsageError(f"{option} {text}: {reason}") from None
    if parsed.is_multicast or parsed.is_loopback or parsed.is_unspecified or parsed.is_link_local:
        raise UsageError(f"{option} {text}: cannot be a node's address, since other nodes do not reach it")
    return Wish(parsed if "/" in text else family(_completed(parsed.ip, held_addresses())))


def initialise(access: Access, name: str, wanted: Wanted) -> Written:
    """Writes the Node."""
    return asyncio.run(_initialise(access, name, wanted))


def foreseen(access: Access, name: str, wanted: Wanted) -> str:
    """What `initialise` would do; nothing is written."""
    return asyncio.run(_foreseen(access, name, wanted))


async def _foreseen(access: Access, name: str, wanted: Wanted) -> str:
    key = ResourceKey("Node", "", name)
    held = held_addresses()
    if (path := access.local_file) is not None and not path.exists():
        found = _found(NodeBgp(), wanted, held, _destinations((), access.url))
        return f"create {key}, and the datastore {path}: {_words(_merged(None, wanted, found), found, held)}"
    async with opened(access) as resources:
        before = await _find(resources, key)
        stored = before.spec.bgp if before else None
        found = _found(stored or NodeBgp(), wanted, held, _destinations(await _others(resources, name), access.url))
        bgp = _merged(stored, wanted, found)
        await _refuse_addresses_of_others(resources, key, bgp)
    words = _words(bgp, found, held)
    if before is None:
        return f"create {key}: {words}"
    return f"{'leave' if before.spec.bgp == bgp else 'update'} {key}: {words}"


async def _initialise(access: Access, name: str, wanted: Wanted) -> Written:
    key = ResourceKey("Node", "", name)
    held = held_addresses()
    async with opened(access, create=True) as resources:
        await resources.ensure_initialised()
        before = await _find(resources, key)
        stored = before.spec.bgp if before else None
        found = _found(stored or NodeBgp(), wanted, held, _destinations(await _others(resources, name), access.url))
        bgp = _merged(stored, wanted, found)
        await _refuse_addresses_of_others(resources, key, bgp)
        if before is None:
            after = await resources.create(new("Node", name, NodeSpec(bgp=bgp)))
            done = "created"
        else:
            after = await resources.modify(
                key, lambda node: with_spec(node, replace(node.spec, bgp=_merged(node.spec.bgp, wanted, found)))
            )
            done = "unchanged" if after.revision == before.revision else "updated"
        cluster = (await resources.get(CLUSTER_INFORMATION)).spec.cluster_guid
    warnings = [*found.warnings, *_oddities(bgp, found, held)]
    return Written(f"{key} {done}: {_words(bgp, found, held)}", cluster, warnings)


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


async def _others(resources: Resources, name: str) -> list[tuple[Address, str]]:
    """The addresses of this node's BGP peers and of the other nodes."""
    addresses: list[tuple[Address, str]] = []
    for peer in (await resources.list("BGPPeer")).items:
        if isinstance(peer, Resource) and peer.spec.peer_ip is not None and peer.spec.node in ("", name):
            addresses.append((peer.spec.peer_ip.address, f"towards {peer.key}"))
    for node in (await resources.list("Node")).items:
        if isinstance(node, Resource) and node.key.name != name and node.spec.bgp is not None:
            addresses += [(each.ip, f"towards {node.key}") for each in _addresses(node.spec.bgp)]
    return addresses


def _destinations(others: Iterable[tuple[Address, str]], url: str) -> dict[int, list[Destination]]:
    """Whom this node speaks to, by IP version: those, then the datastore, and everybody else."""
    addresses = list(others)
    return {
        version: [
            *(Destination(str(address), words) for address, words in addresses if address.version == version),
            *store_destinations(url),
            Destination(ELSEWHERE[version], "by the default route"),
        ]
        for version in (4, 6)
    }


def _found(
    stored: NodeBgp, wanted: Wanted, held: Sequence[Held], destinations: Mapping[int, Sequence[Destination]]
) -> Found:
    """What is asked for, else what is stored, else what the host has: IPv6 only if asked for, or without IPv4."""
    why: dict[Address, str] = {}
    warnings: list[str] = []
    failures: list[str] = []

    def detected(version: int, wish: Wish, kept: Interface | None) -> Interface | None:
        try:
            if wish.method is not None:
                chosen = detect(version, wish.method, held)
            else:
                chosen = kernels_choice(version, held, destinations[version])
        except HostError as error:
            if kept is None:
                failures.append(str(error))
            else:
                warnings.append(f"the Node keeps {kept}: {error}")
            return kept
        why[chosen.held.address.ip] = chosen.why
        return chosen.held.address

    ipv4 = wanted.ipv4.address or stored.ipv4_address
    ipv6 = wanted.ipv6.address or stored.ipv6_address
    if ipv4 is not None and ipv4 == stored.ipv4_address and not wanted.ipv4.detect:
        warnings += _another_choice(ipv4, held, destinations[4])
    if wanted.ipv4.detect or (ipv4 is None and ipv6 is None and not wanted.ipv4.never):
        ipv4 = detected(4, wanted.ipv4, ipv4)
    if wanted.ipv6.detect or (ipv4 is None and ipv6 is None and not wanted.ipv6.never):
        ipv6 = detected(6, wanted.ipv6, ipv6)
        if wanted.ipv6.detect and ipv6 is None:
            raise HostError(failures[-1])
    if ipv4 is None and ipv6 is None:
        raise HostError("; ".join(failures) or "a node needs an address: give --ip CIDR or --ip6 CIDR")
    return Found(
        IPv4Interface(ipv4) if ipv4 is not None else None,
        IPv6Interface(ipv6) if ipv6 is not None else None,
        why,
        warnings,
    )


def _another_choice(kept: Interface, held: Sequence[Held], destinations: Sequence[Destination]) -> Iterator[str]:
    """What stands in the Node is not changed unasked, at no time."""
    try:
        chosen = kernels_choice(4, held, destinations)
    except HostError:
        return
    if chosen.held.address.ip != kept.ip:
        other = chosen.held.address.ip
        yield f"the Node keeps its address, but {other} is used {chosen.why}: --ip {other} would change it"


def _merged(stored: NodeBgp | None, wanted: Wanted, found: Found) -> NodeBgp:
    bgp = stored or NodeBgp()
    as_number = bgp.as_number if wanted.as_number is None else wanted.as_number
    return replace(bgp, ipv4_address=found.ipv4, ipv6_address=found.ipv6, as_number=as_number)


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


def _words(bgp: NodeBgp, found: Found, held: Iterable[Held]) -> str:
    interfaces = {each.address.ip: f" on {each.interface}" for each in held}
    parts = [
        f"{address}{interfaces.get(address.ip, '')}{f' ({found.why[address.ip]})' if address.ip in found.why else ''}"
        for address in _addresses(bgp)
    ]
    return ", ".join([*parts, "AS of the cluster" if bgp.as_number is None else f"AS {bgp.as_number}"])


def _oddities(bgp: NodeBgp, found: Found, held: Sequence[Held]) -> Iterator[str]:
    here = {each.address.ip for each in held}
    for address in _addresses(bgp):
        if address.ip not in here:
            yield f"no interface of this host has {address.ip}: other nodes will not reach it"
