"""A packet as far as it is known: what nobody knows is None, and a rule that asks for it may or may not match.

It is one of TCP: a firewall that lets only echo requests through would else look open to all.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Literal, NamedTuple

from tortie.doctor.network import PREFIXES, Network

Hook = Literal["prerouting", "input", "forward", "output", "postrouting"]

BGP_PORT = 179
# Interfaces of a kind that are tried: what rules do to thousands shows with two. A packet takes 0.4 s for 10,000 rules.
SAMPLE = 2


class Interface(NamedTuple):
    """By name and index, as rules ask for either."""

    name: str
    ifindex: int


NONE = Interface("", 0)  # as in this hook
TO_COME = 2**31 - 1  # the index of an interface that is not there yet


class Packet(NamedTuple):
    """The first packet of a connection, without marks, and with an address that nobody translated."""

    way: str  # for the user: whose packets these are
    hook: Hook
    family: Literal[4, 6]
    incoming: Interface = NONE
    outgoing: Interface = NONE
    source: bytes | None = None
    destination: bytes | None = None
    protocol: int = socket.IPPROTO_TCP
    port: int | None = None  # destination

    @property
    def judged(self) -> bool:
        """Where tortie has a chain in this hook, the packet ends there: policy accepts it, or drops it."""
        return self.hook in ("forward", "input") and self.port is None


class Ways(NamedTuple):
    """Between whom packets pass."""

    workloads: tuple[tuple[Interface, tuple[bytes, ...]], ...]  # with its addresses
    uplinks: tuple[Interface, ...]


# In the order in which they are told.
WAYS = FROM, TO, BETWEEN, BGP_IN, BGP_OUT, TO_HOST, FROM_HOST = (
    "from workloads",
    "to workloads",
    "between workloads",
    "of BGP sessions that peers open",
    "of BGP sessions that this host opens",
    "from workloads to this host",
    "from this host to workloads",
)


def ways(network: Network) -> Ways:
    """Before the first workload, one that could come."""
    known = [
        (Interface(each.name, each.ifindex), network.routed.get(each.ifindex, ()))
        for each in network.workloads[:SAMPLE]
    ]
    uplinks = [Interface(each.name, each.ifindex) for each in network.uplinks[:SAMPLE]]
    return Ways(
        tuple(known or [(Interface(f"{prefix}0", TO_COME), ()) for prefix in PREFIXES]),
        tuple(uplinks or [Interface("eth0", TO_COME)]),
    )


def packets(among: Ways) -> Iterator[Packet]:
    """What must pass for workloads to reach each other and the world, and for BGP."""
    families: tuple[Literal[4, 6], ...] = (4, 6)
    for family in families:
        for name, addresses in among.workloads:
            own = _address(addresses, family)
            for uplink in among.uplinks:
                yield Packet(FROM, "prerouting", family, name, source=own)
                yield Packet(FROM, "forward", family, name, uplink, source=own)
                yield Packet(FROM, "postrouting", family, NONE, uplink, source=own)
                yield Packet(TO, "prerouting", family, uplink, destination=own)
                yield Packet(TO, "forward", family, uplink, name, destination=own)
                yield Packet(TO, "postrouting", family, NONE, name, destination=own)
            for other, others in among.workloads:
                if other != name:
                    there = _address(others, family)
                    yield Packet(BETWEEN, "forward", family, name, other, own, there)
            yield Packet(TO_HOST, "input", family, name, source=own)
            yield Packet(FROM_HOST, "output", family, NONE, name, destination=own)
        for uplink in among.uplinks:
            yield Packet(BGP_IN, "input", family, uplink, port=BGP_PORT)
            yield Packet(BGP_OUT, "output", family, NONE, uplink, port=BGP_PORT)


def _address(addresses: tuple[bytes, ...], family: int) -> bytes | None:
    return next((each for each in addresses if len(each) == (4 if family == 4 else 16)), None)
