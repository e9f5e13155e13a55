"""All that a packet may be, cut where rules begin and end: within a piece every rule sees the same.

Of protocols with ports the pieces are ranges of the destination's port; of ICMP the messages that rules name, and one
that none names; of others the protocol alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tortie.intent.packet import ICMP, ICMPV6, TCP, UDP, WITH_PORTS
from tortie.intent.policy import Icmp, PortRange, Rule
from tortie.model.scalars import Protocol

_PING = {4: Icmp(8, 0), 6: Icmp(128, 0)}
_OF_FAMILY = {4: ICMP, 6: ICMPV6}
_HIGHEST_PORT = 65535
_NAMES = {int(number): name.lower() for name, number in Protocol.NAMES.items()}


class Piece(NamedTuple):
    """What one packet stands for."""

    protocol: int
    ports: PortRange | None = None
    icmp: Icmp | None = None
    is_rest: bool = False  # of protocols, or of messages: all that no rule names

    def __str__(self) -> str:
        name = _NAMES.get(self.protocol, f"protocol {self.protocol}")
        if self.is_rest:
            return f"other {name}" if self.icmp is not None else "other protocols"
        if self.ports is not None:
            first, last = self.ports
            if (first, last) == (1, _HIGHEST_PORT):
                return name
            return f"{name}/{first}" if first == last else f"{name}/{first}-{last}"
        if self.icmp is not None:
            return f"{name}/{self.icmp.type}" + ("" if self.icmp.code is None else f"/{self.icmp.code}")
        return name


def pieces_of(rules: Sequence[Rule], named_ports: Iterable[int], family: int) -> list[Piece]:
    """The pieces for these rules; `named_ports` are the numbers that names of ports may mean."""
    named = {number for rule in rules for number in (rule.protocol, rule.not_protocol) if number is not None}
    found: list[Piece] = []
    for protocol in sorted((named & WITH_PORTS) | {TCP, UDP}):
        found += [Piece(protocol, each) for each in _ports(rules, named_ports)]
    found += _messages(rules, family)
    others = named - WITH_PORTS - {ICMP, ICMPV6}
    found += [Piece(protocol) for protocol in sorted(others)]
    found.append(Piece(next(number for number in range(255, 0, -1) if number not in named), is_rest=True))
    return found


def joined(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """The same, with ranges of ports that follow each other as one."""
    open_piece: Piece | None = None
    for piece in pieces:
        if open_piece is not None and _follows(open_piece, piece):
            assert open_piece.ports is not None
            assert piece.ports is not None
            open_piece = open_piece._replace(ports=PortRange(open_piece.ports.first, piece.ports.last))
            continue
        if open_piece is not None:
            yield open_piece
        open_piece = piece
    if open_piece is not None:
        yield open_piece


def _follows(one: Piece, other: Piece) -> bool:
    return (
        one.ports is not None
        and other.ports is not None
        and one.protocol == other.protocol
        and one.ports.last + 1 == other.ports.first
    )


def _ports(rules: Iterable[Rule], named_ports: Iterable[int]) -> Iterator[PortRange]:
    starts = {1}
    ranges = [each for rule in rules for each in (*rule.destination.ports, *rule.destination.not_ports)]
    for first, last in (*ranges, *((port, port) for port in named_ports)):
        starts |= {max(first, 1), last + 1}
    ordered = sorted(start for start in starts if start <= _HIGHEST_PORT)
    ends = [*(start - 1 for start in ordered[1:]), _HIGHEST_PORT]
    return map(PortRange, ordered, ends)


def _messages(rules: Iterable[Rule], family: int) -> Iterator[Piece]:
    protocol = _OF_FAMILY[family]
    named = {each for rule in rules for each in (rule.icmp, rule.not_icmp) if each is not None}
    types = {each.type for each in named}
    for message in sorted(named | {_PING[family]}, key=lambda each: (each.type, each.code is None, each.code or 0)):
        yield Piece(protocol, icmp=message)
    rest = next(number for number in range(254, -1, -1) if number not in types)
    yield Piece(protocol, icmp=Icmp(rest), is_rest=True)
