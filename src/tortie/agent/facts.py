"""What this host's kernel holds about packets between two addresses: what no calculation from the datastore can know.

It answers why a packet that policy allows does not come through: no interface or no carrier, policy that is not in
force yet, another route than the one that is meant, a next hop that does not answer; and why one passes that policy
denies now: a connection that is tracked already. Packets between the two that were dropped lately are told with it.

It is read when somebody asks, in a thread; nothing is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from itertools import islice

import msgspec

from tortie.conventions import ELEVATED_ROUTE_PROTOCOL, ROUTE_PROTOCOL
from tortie.dataplane.events import Event, Kind, Ring
from tortie.errors import Gone, UsageError
from tortie.intent.policy import Address
from tortie.kernel.netfilter import conntrack
from tortie.kernel.netfilter.conntrack import Connection, Filter, Status
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netlink import fib, link, neighbour
from tortie.kernel.netlink.route import TYPE_LOCAL, TYPE_UNICAST
from tortie.kernel.netlink.socket import NetlinkSocket
from tortie.status import Board

MOST_CONNECTIONS = 10
MOST_DROPS = 3

# include/uapi/linux/rtnetlink.h, RTPROT_*; our own
_WRITERS = {
    ROUTE_PROTOCOL: "tortie",
    ELEVATED_ROUTE_PROTOCOL: "tortie",
    2: "the kernel",
    3: "an administrator",
    4: "an administrator",
    9: "router advertisement",
    12: "BIRD",
    16: "DHCP",
}
_STATES = {
    neighbour.STATE_INCOMPLETE: "incomplete",
    neighbour.STATE_REACHABLE: "reachable",
    neighbour.STATE_STALE: "stale",
    neighbour.STATE_DELAY: "delay",
    neighbour.STATE_PROBE: "probe",
    neighbour.STATE_FAILED: "failed",
    neighbour.STATE_NOARP: "noarp",
    neighbour.STATE_PERMANENT: "permanent",
}


class End(msgspec.Struct, frozen=True, kw_only=True):
    """A workload of this node that has one of the addresses. Without its interface it neither `exists` nor is `up`."""

    endpoint: str
    address: str
    interface: str
    exists: bool
    up: bool  # with carrier
    state: str
    reason: str
    lacking: str  # of its policy in the kernel; empty when it is in force


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """Where the kernel would send a packet of its own to an address."""

    to: str
    routed: bool
    local: bool = False  # the host itself is meant
    interface: str = ""
    gateway: str = ""
    by: str = ""  # who wrote the route
    neighbour: str = ""  # the MAC of the next hop
    neighbour_state: str = ""  # as `ip neigh` calls it; empty: nobody asked for it yet


class Tracked(msgspec.Struct, frozen=True, kw_only=True):
    """A connection whose packets pass without a look at policy, but for the untracked and preDNAT ones."""

    protocol: int
    source: str
    source_port: int
    destination: str
    destination_port: int
    answered: bool
    expires_s: int


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, and how current policy is: up to which revision it holds, and that which was taken in last."""

    node: str
    revision: int
    enforced_revision: int
    ends: tuple[End, ...]
    hops: tuple[Hop, ...]  # to the source, to the destination
    connections: tuple[Tracked, ...]
    more_connections: bool
    drops: tuple[Event, ...]  # newest first


Lacking = Callable[[str], str]


async def facts_between(source: str, destination: str, board: Board, lacking: Lacking, ring: Ring | None) -> Facts:
    """`lacking` says what the policy of an endpoint, `namespace/name`, lacks. Raises UsageError and KernelError."""
    ends = (_address(source), _address(destination))
    if ends[0].version != ends[1].version:
        raise UsageError(f"query: {source} and {destination} are of different families")
    texts = tuple(map(str, ends))
    ours = [
        End(
            endpoint=name,
            address=text,
            interface=each.interface,
            exists=False,
            up=False,
            state=each.state,
            reason=each.reason,
            lacking=lacking(name),
        )
        for text in texts
        for name, each in board.endpoints.items()
        if text in each.addresses
    ]
    facts = Facts(
        node=board.node,
        revision=board.revision,
        enforced_revision=board.enforced_revision,
        ends=tuple(ours),
        hops=(),
        connections=(),
        more_connections=False,
        drops=() if ring is None else tuple(islice(_drops(ring, texts), MOST_DROPS)),
    )
    return await asyncio.to_thread(_with_kernels, facts, ends)


def _with_kernels(facts: Facts, ends: tuple[Address, Address]) -> Facts:
    with NetlinkSocket() as sock, NetfilterSocket() as tracking:
        connections = list(_connections(tracking, ends))
        return msgspec.structs.replace(
            facts,
            ends=tuple(_end(sock, each) for each in facts.ends),
            hops=tuple(_hop(sock, each) for each in ends),
            connections=tuple(map(_tracked, connections[:MOST_CONNECTIONS])),
            more_connections=len(connections) > MOST_CONNECTIONS,
        )


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise UsageError(f"query: {text!r} is no address") from None


def _drops(ring: Ring, ends: tuple[str, ...]) -> Iterator[Event]:
    """Newest first, in either direction."""
    for event in reversed(ring.since(0).events):
        if event.kind is Kind.DROP and {event.source, event.destination} == set(ends):
            yield event


def _end(sock: NetlinkSocket, end: End) -> End:
    try:
        found = link.get(sock, end.interface)
    except Gone:
        return end
    return msgspec.structs.replace(end, exists=True, up=found.running)


def _hop(sock: NetlinkSocket, to: Address) -> Hop:
    route = fib.lookup(sock, to.packed)
    if route is None or route.type not in (TYPE_LOCAL, TYPE_UNICAST):
        return Hop(to=str(to), routed=False)
    if route.type == TYPE_LOCAL:
        return Hop(to=str(to), routed=True, local=True)
    try:
        interface = link.get_by_index(sock, route.ifindex).name
    except Gone:
        interface = ""
    next_hop = route.gateway or to.packed
    beside = next((each for each in neighbour.dump(sock, ifindex=route.ifindex) if each.address == next_hop), None)
    return Hop(
        to=str(to),
        routed=True,
        interface=interface,
        gateway=str(ip_address(route.gateway)) if route.gateway else "",
        by=_WRITERS.get(route.protocol, f"protocol {route.protocol}"),
        neighbour=beside.mac if beside else "",
        neighbour_state=_STATES.get(beside.state, str(beside.state)) if beside else "",
    )


def _connections(sock: NetfilterSocket, ends: tuple[Address, Address]) -> Iterator[Connection]:
    """In either direction."""
    source, destination = (each.packed for each in ends)
    for pair in ((source, destination), (destination, source)):
        for piece in conntrack.walk(sock, Filter(ends=pair)):
            yield from piece


def _tracked(connection: Connection) -> Tracked:
    first = connection.original
    return Tracked(
        protocol=first.protocol,
        source=str(ip_address(first.source)),
        source_port=first.source_port,
        destination=str(ip_address(first.destination)),
        destination_port=first.destination_port,
        answered=bool(connection.status & Status.SEEN_REPLY),
        expires_s=connection.timeout_s,
    )
