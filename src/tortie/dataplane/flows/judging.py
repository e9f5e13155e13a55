"""What becomes of a tracked connection: its first packet, judged again as if it came now.

Connection tracking keeps the addresses and ports as they were sent, and as the other end answers: so what was
translated shows in the answer's. It keeps no interface. Whoever has the source address, or is where the answer goes,
sent the packet.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import NamedTuple, Protocol

from tortie.intent.bulk import BulkJudge
from tortie.intent.indexed import IndexedState
from tortie.intent.packet import ICMP, ICMPV6, SYN, TCP, WITH_PORTS, Fib, Flow, Packet, Route
from tortie.intent.policy import Address
from tortie.intent.verdict import Destination
from tortie.kernel.netfilter.conntrack import Connection, Tuple

# The interface of what came from where no route leads back. No interface has this name.
_SOMEWHERE = "*"


class Routes(Protocol):
    """Who knows where addresses lead, and which ones the host has."""

    def route(self, address: Address) -> Route | None: ...

    def held(self, interface: str) -> frozenset[Address]: ...


class Origin(NamedTuple):
    """By where a packet came, and from which MAC; without an interface the host sent it."""

    interface: str
    mac: str = ""


class FlowJudge:
    """Judges by the state as it is; what it found of addresses is remembered until `renew`."""

    def __init__(self, state: IndexedState, judge: BulkJudge, routes: Routes) -> None:
        self._state = state
        self._judge = judge
        self._routes = routes
        self._origins: dict[bytes, list[Origin]] = {}
        self._allowed_sources: dict[bytes, bool] = {}

    def renew(self, routes: Routes) -> None:
        self._routes = routes
        self._origins.clear()
        self._allowed_sources.clear()

    def concerns(self, connection: Connection) -> bool:
        """Whether one of our endpoints has a say: a workload at one of its ends, or any host endpoint."""
        if self._state.host_endpoints:
            return True
        owners, floating = self._state.owners, self._state.insides
        ends = _addresses(connection)
        if any(end in owners or end in floating for end in ends):
            return True
        return bool(self._state.spoofers) and any(self._is_allowed_source(end) for end in ends)

    def denied(self, connection: Connection) -> bool:
        """Whether no way by which its first packet may have come here would be open to it now."""
        if connection.master is not None:
            connection = Connection(connection.master, _answer(connection.master))
        became = _became(connection)
        destination = address(connection.reply.source)
        leads_to = self._route(self._state.inside(destination) or destination)
        routes = [leads_to] if leads_to else []
        if became is not None and (before := self._route(address(connection.original.destination))):
            routes.append(before)
        out = leads_to.interface if leads_to else _SOMEWHERE
        origins = self._origins_of(connection.original.source)
        # What came by an interface hardly leaves by it again, if it may have come by another.
        likely = [origin for origin in origins if origin.interface != out] or origins
        held = {}
        if self._state.host_endpoints:
            names = {out, *(origin.interface for origin in likely)}
            held = {name: self._routes.held(name) for name in names if name}
        fib = Fib(routes=tuple(routes), addresses=held)
        return all(
            self._judge.verdict(first_packet(connection, origin), Flow.NEW, fib, became).action != "accept"
            for origin in likely
        )

    def is_leftover(self, connection: Connection) -> bool:
        """Whether it is of a workload that was here once: of a pool, and now both its ends are in one direction."""
        source, destination = address(connection.original.source), address(connection.reply.source)
        if not any(end in pool.network for pool in self._state.pools for end in (source, destination)):
            return False
        towards = [self._routes.route(end) for end in (source, destination)]
        names = {route.interface if route else _SOMEWHERE for route in towards}
        if names == {""}:
            return False  # of the host with itself
        return len(names) == 1 or _SOMEWHERE in names or any(self._state.governs(name) for name in names)

    def _route(self, destination: Address) -> Route | None:
        """To our endpoints by what is intended: a route may be missing while the interface has no carrier."""
        owner = self._state.owner(destination.packed)
        if owner is None:
            return self._routes.route(destination)
        return _host_route(destination, owner.interface)

    def _origins_of(self, source: bytes) -> list[Origin]:
        found = self._origins.get(source)
        if found is None:
            found = self._origins[source] = self._find_origins(address(source))
        return found

    def _find_origins(self, source: Address) -> list[Origin]:
        state = self._state
        owner = state.owner(source.packed)
        if owner is not None:
            return [Origin(owner.interface, owner.mac)]
        route = self._routes.route(source)
        interface = route.interface if route else _SOMEWHERE
        workload = state.workload(interface)
        return [
            Origin(interface, workload.mac if workload else ""),
            *(
                Origin(each.interface, each.mac)
                for each in state.spoofers.values()
                if each.interface != interface and any(source in network for network in each.allowed_sources)
            ),
        ]

    def _is_allowed_source(self, packed: bytes) -> bool:
        found = self._allowed_sources.get(packed)
        if found is None:
            nets = (network for each in self._state.spoofers.values() for network in each.allowed_sources)
            found = self._allowed_sources[packed] = any(address(packed) in network for network in nets)
        return found


def _became(connection: Connection) -> Destination | None:
    """What its destination was translated to, by whomever."""
    sent, answer = connection.original, connection.reply
    if (sent.destination, sent.destination_port) == (answer.source, answer.source_port):
        return None
    return Destination(address(answer.source), answer.source_port if sent.protocol in WITH_PORTS else None)


def first_packet(connection: Connection, origin: Origin) -> Packet:
    """As it was sent."""
    sent = connection.original
    protocol = sent.protocol
    with_ports = protocol in WITH_PORTS
    is_icmp = protocol in (ICMP, ICMPV6)
    return Packet(
        source=address(sent.source),
        destination=address(sent.destination),
        protocol=protocol,
        source_port=sent.source_port if with_ports else None,
        destination_port=sent.destination_port if with_ports else None,
        icmp_type=sent.icmp_type if is_icmp else None,
        icmp_code=sent.icmp_code if is_icmp else None,
        tcp_flags=SYN if protocol == TCP else None,
        interface=origin.interface,
        source_mac=origin.mac,
    )


def touches(connection: Connection, addresses: set[bytes]) -> bool:
    return not addresses.isdisjoint(_addresses(connection))


def _addresses(connection: Connection) -> tuple[bytes, bytes, bytes]:
    """Of its ends, inside and outside of a translation of the destination."""
    return connection.original.source, connection.original.destination, connection.reply.source


def _answer(sent: Tuple) -> Tuple:
    return sent._replace(
        source=sent.destination,
        destination=sent.source,
        source_port=sent.destination_port,
        destination_port=sent.source_port,
    )


@lru_cache(maxsize=65536)
def address(packed: bytes) -> Address:
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


@lru_cache(maxsize=4096)
def _host_route(destination: Address, interface: str) -> Route:
    return Route(ip_network(destination), interface)
