"""Rows of ours that others took away or changed: from when on, by whom, and when each was back.

Invariants:
* What l3 does itself, and what leaves because it is no longer wanted, is no harm.
* A row is told of once it is back; until then it is pending like any other.
* To know of harm costs a few bytes a row, and nothing while there is none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import NamedTuple

from tortie.dataplane.l3.rows import AddressKey, AskedKey, Kind, NeighbourKey, RouteKey, RowKey
from tortie.kernel.netlink import sender

AT_READ_BACK = "it was found when the kernel was read back, and whose doing it was is not known"

# Of a neighbour that is deleted two events tell, and between them it may be back already.
_TOLD_BY_EVENTS = frozenset({Kind.ADDRESS, Kind.NEIGHBOUR, Kind.ROUTE})

_ON_INTERFACE = {
    Kind.MAC: "MAC",
    Kind.ANSWER: "answer of the ARP responder",
    Kind.FILTER: "ARP responder",
    Kind.GATE: "gate",
}


class Repair(NamedTuple):
    """A row that is back."""

    table: str
    what: str  # the row in words
    by: str  # who harmed it, as far as is known
    took_ms: float  # from the event on


class _Harm(NamedTuple):
    since: float
    by: str


class Repairs:
    """What is harmed, and what was put right since the last `take`."""

    def __init__(self, own_port: int, name: Callable[[int], str], clock: Callable[[], float] = time.monotonic) -> None:
        """`name` of an interface by its index."""
        self._own_port = own_port
        self._name = name
        self._clock = clock
        self._harmed: dict[RowKey, _Harm] = {}
        self._unheard: set[RowKey] = set()  # put right, and events from before that may still be on their way
        self._done: list[Repair] = []
        self._last: tuple[int, str] = (0, "")  # of many rows that go at once most have one author

    def harmed(self, row: RowKey, port: int) -> None:
        """A row that was right is not any more, by a socket's doing; the first harm counts."""
        if port == self._own_port or row in self._harmed or row in self._unheard:
            return
        if port != self._last[0] or not port:
            self._last = port, sender.describe(port)
        self._harmed[row] = _Harm(self._clock(), self._last[1])

    def found(self, row: RowKey) -> None:
        """The same, and no event told of it."""
        self._harmed.setdefault(row, _Harm(self._clock(), AT_READ_BACK))

    def right(self, row: RowKey) -> None:
        """An event tells that it is as it should be: by our doing, or somebody else's."""
        if self._harmed or self._unheard:
            self._harmed.pop(row, None)
            self._unheard.discard(row)

    def forget(self, row: RowKey) -> None:
        """It is not wanted any more."""
        self.right(row)

    def read_back(self) -> None:
        """Events up to now are no news any more."""
        self._unheard.clear()

    def written(self, row: RowKey) -> None:
        """It was put right, if it was harmed."""
        if self._harmed and (harm := self._harmed.pop(row, None)) is not None:
            if row.table in _TOLD_BY_EVENTS:
                self._unheard.add(row)
            took_ms = round(1000 * (self._clock() - harm.since), 1)
            self._done.append(Repair(row.table.name.lower(), self._words(row), harm.by, took_ms))

    def take(self) -> list[Repair]:
        """What is back since the last call."""
        done, self._done = self._done, []
        return done

    def _words(self, row: RowKey) -> str:
        match row.key:
            case RouteKey(destination, _):
                return f"route {ip_address(destination)}"
            case NeighbourKey(ifindex, address):
                return f"neighbour {address} of {self._name(ifindex)}"
            case AddressKey(ifindex, address, length):
                return f"address {address}/{length} of {self._name(ifindex)}"
            case AskedKey(_, address):
                return f"{address} in the ARP responder"
            case int(ifindex):
                return f"{_ON_INTERFACE[row.table]} of {self._name(ifindex)}"
            case _:
                return f"setting {row.key}"
