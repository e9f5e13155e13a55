"""The kernel tables that routing one workload takes, in the order in which they are written.

A row lives in one of these tables under a key; a table's rows are compared by value. Writing goes down the list
and deleting goes up, so a workload's packets meet the right sysctls, MAC and responder before its route
attracts any, and the route goes first when it leaves.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

import msgspec

Address = IPv4Address | IPv6Address


class Kind(IntEnum):
    """The tables, in writing order."""

    SYSCTL = 0
    MAC = 1
    ADDRESS = 2
    ASKED = 3  # responder: what it knows of each address
    ANSWER = 4  # responder: the MAC it answers with, by interface
    FILTER = 5  # responder: the program on the interface
    NEIGHBOUR = 6
    ROUTE = 7
    GATE = 8  # what closes an interface until policy does


class RowKey(msgspec.Struct, frozen=True, gc=False):
    """A table, and a key in it. There are many, and a named tuple takes four times as long to make."""

    table: Kind
    key: Hashable


Rows = dict[RowKey, Hashable]


class AddressKey(NamedTuple):
    """An address on an interface."""

    ifindex: int
    address: Address
    prefix_length: int


class AskedKey(NamedTuple):
    """An address that somebody may ask for; ifindex 0 stands for every workload interface."""

    ifindex: int
    address: Address


class Asked(IntEnum):
    """What the responder does with a question for an address; those it does not know are answered, probes dropped."""

    OWN = 1  # the workload's own: never answered
    HELD = 2  # the host's: probes are answered too, since it is in use


class NeighbourKey(NamedTuple):
    ifindex: int
    address: Address


class RouteKey(msgspec.Struct, frozen=True, gc=False):
    """The kernel's own key: prefix and metric. Only single addresses are routed, so the prefix is the address.

    It is packed, as the kernel has it: there are many, and an address object takes 0.5 us each time it is hashed.
    """

    destination: bytes
    metric: int

    def __str__(self) -> str:
        return f"{ip_address(self.destination)} {self.metric}"


class RouteTarget(NamedTuple):
    """Where a local route leads, and whose it is."""

    ifindex: int
    protocol: int
