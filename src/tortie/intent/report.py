"""What comes back from the data plane, in no data plane's words."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec


class EndpointState(StrEnum):
    """Calico's words: they are written to the datastore as they stand."""

    UP = "up"  # verified in the kernel
    DOWN = "down"  # in order, but its interface is missing or not running
    ERROR = "error"  # not routed, or closed; the reason says what to do


class EndpointReport(msgspec.Struct, frozen=True, kw_only=True):
    """One local endpoint as the data plane sees it."""

    state: EndpointState
    reason: str = ""  # empty when up
    interface: str
    addresses: tuple[str, ...]


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """Something an operator should know: an object by name, a row of the kernel, a setting of the host."""

    subject: str
    reason: str


class Count(NamedTuple):
    """Packets and their octets; of a rule those that it decided, of a reason those that were dropped for it."""

    packets: int
    octets: int

    def __add__(self, other: object) -> Count:
        if not isinstance(other, Count):
            return NotImplemented
        return Count(self.packets + other.packets, self.octets + other.octets)
