"""What a chain decides, for many packets: all rules of the chain are asked at once, a field at a time.

Every rule, and the end of every tier, is a line with a number. For each field of a packet there is the set of lines
that its value fits, as the bits of an integer; what is in all of these sets is what matches, and the lowest bit is the
first. A thousand rules cost a packet some microseconds, where going through them takes milliseconds.

Invariants:
* The hits are those of `decide`, one by one: `decide` says what is right, this only says it sooner.
* What has no axis here (named ports, ICMP types) is left to `matches`, for the lines that all else speaks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from tortie.intent.axis import Axis, Span, spans
from tortie.intent.evaluate import Hit, Tables, matches
from tortie.intent.packet import WITH_PORTS, Packet
from tortie.intent.policy import (
    Action,
    Address,
    Chain,
    Direction,
    End,
    Family,
    Network,
    Policy,
    Rule,
    SetId,
)
from tortie.model.resource import ResourceKey

# Lines that are taken in in one step, some milliseconds.
_LINES_PER_STEP = 200
# Addresses whose answer is kept.
_ADDRESSES = 16384

_NOTHING_MORE = -1
_BITS = {4: 32, 6: 128}


class Members(Protocol):
    """Who knows the sets and the policies."""

    @property
    def tables(self) -> Tables: ...

    def has_member(self, set_id: SetId, address: Address) -> bool: ...


class Line(NamedTuple):
    """A rule, or the end of a tier, which matches everything; and where to go on when it is hit."""

    hit: Hit
    next: int


class Classifier:
    """One chain in one direction, for packets of one family."""

    def __init__(self, chain: Chain, direction: Direction, family: Family, members: Members) -> None:
        self._members = members
        self._lines = _lines(chain, direction, family, members.tables.policies)
        self._protocols = Axis(255)
        self._ends = (_EndAxes(family), _EndAxes(family))
        self._inexact: set[int] = set()
        self._compiling: Iterator[None] | None = self._compile()
        self.policies = set(chain.policies_and_profiles())
        self.sets = {
            set_id
            for line in self._lines
            if line.hit.rule
            for end in (line.hit.rule.source, line.hit.rule.destination)
            for set_id in (*end.sets, *end.not_sets)
        }

    def compile(self) -> Iterator[None]:
        """Makes it ready in small steps; else the first packet does."""
        if self._compiling is not None:
            yield from self._compiling
            self._compiling = None

    def forget_members(self) -> None:
        """A set that rules look addresses up in has changed."""
        for end in self._ends:
            end.forget()

    def hits(self, packet: Packet) -> Iterator[Hit]:
        """As `decide` has them."""
        for _ in self.compile():
            pass
        left = self._protocols.fulfilled(packet.protocol)
        left &= self._ends[0].fulfilled(packet.source, packet.source_port, packet.protocol, self._members)
        left &= self._ends[1].fulfilled(packet.destination, packet.destination_port, packet.protocol, self._members)
        while left:
            number = (left & -left).bit_length() - 1
            hit, go_on = self._lines[number]
            if number in self._inexact and hit.rule and not matches(hit.rule, packet, self._members.tables):
                left &= left - 1
                continue
            yield hit
            if go_on == _NOTHING_MORE:
                return
            left = left >> go_on << go_on

    def _compile(self) -> Iterator[None]:
        for number, line in enumerate(self._lines):
            rule = line.hit.rule
            if rule is None:
                self._protocols.add(number, None)
                for end in self._ends:
                    end.add(number, End())
                continue
            self._protocols.add(number, _protocols(rule))
            self._ends[0].add(number, rule.source)
            self._ends[1].add(number, rule.destination)
            if _is_inexact(rule):
                self._inexact.add(number)
            if number % _LINES_PER_STEP == 0:
                yield
        self._protocols.freeze()
        for end in self._ends:
            yield
            end.freeze()


class _EndAxes:
    """What the lines say of one end of a packet."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._addresses = Axis((1 << _BITS[family]) - 1)
        self._ports = Axis(65535)
        self._portless = 0  # lines that a packet without ports may match
        self._in: dict[SetId, int] = {}
        self._not_in: dict[SetId, int] = {}
        self._known: dict[Address, int] = {}

    def add(self, number: int, end: End) -> None:
        bit = 1 << number
        self._addresses.add(number, self._networks(end))
        for found, set_ids in ((self._in, end.sets), (self._not_in, end.not_sets)):
            for set_id in set_ids:
                found[set_id] = found.get(set_id, 0) | bit
        # A named port may be any number.
        ports = None if end.port_sets else spans(end.ports, end.not_ports, 65535)
        self._ports.add(number, ports)
        if not (end.ports or end.port_sets):
            self._portless |= bit

    def freeze(self) -> None:
        self._addresses.freeze()
        self._ports.freeze()

    def forget(self) -> None:
        self._known.clear()

    def fulfilled(self, address: Address, port: int | None, protocol: int, members: Members) -> int:
        found = self._known.get(address)
        if found is None:
            if len(self._known) >= _ADDRESSES:
                self._known.clear()
            found = self._known[address] = self._of_address(address, members)
        return found & (self._portless if port is None or protocol not in WITH_PORTS else self._ports.fulfilled(port))

    def _of_address(self, address: Address, members: Members) -> int:
        found = self._addresses.fulfilled(int(address))
        for set_id, bits in self._in.items():
            if found & bits and not members.has_member(set_id, address):
                found &= ~bits
        for set_id, bits in self._not_in.items():
            if found & bits and members.has_member(set_id, address):
                found &= ~bits
        return found

    def _networks(self, end: End) -> list[Span] | None:
        wanted = [_span(net) for net in end.nets if net.version == self._family]
        if end.nets and not wanted:
            return []  # of the other family only
        unwanted = [_span(net) for net in end.not_nets if net.version == self._family]
        return spans(wanted, unwanted, self._addresses.top)


def _lines(chain: Chain, direction: Direction, family: Family, policies: Mapping[ResourceKey, Policy]) -> list[Line]:
    """The way that `decide` goes, written down; rules of the other family are left out."""

    def hits(key: ResourceKey) -> list[Hit]:
        policy = policies[key]
        rules = [rule for rule in policy.rules(direction) if rule.family in (None, family)]
        return [Hit(rule.action, rule.origin.tier, rule, policy.staged) for rule in rules]

    lines: list[Line] = []
    for tier in chain.tiers:
        found = [hits(key) for key in tier.policies]
        end = len(lines) + sum(map(len, found))
        for some in found:
            next_policy = len(lines) + len(some)
            for hit in some:
                if hit.action is Action.LOG:
                    lines.append(Line(hit, len(lines) + 1))
                elif hit.staged:
                    lines.append(Line(hit, next_policy))
                else:
                    lines.append(Line(hit, end + 1 if hit.action is Action.PASS else _NOTHING_MORE))
        passes = tier.default is Action.PASS
        lines.append(Line(Hit(tier.default, tier.name), end + 1 if passes else _NOTHING_MORE))
    for profile in chain.profiles:
        some = hits(profile)
        next_profile = len(lines) + len(some)
        for hit in some:
            go_on = {Action.LOG: len(lines) + 1, Action.PASS: next_profile}.get(hit.action, _NOTHING_MORE)
            lines.append(Line(hit, go_on))
    return lines


def _protocols(rule: Rule) -> list[Span] | None:
    wanted = () if rule.protocol is None else ((rule.protocol, rule.protocol),)
    unwanted = () if rule.not_protocol is None else ((rule.not_protocol, rule.not_protocol),)
    return spans(wanted, unwanted, 255)


def _is_inexact(rule: Rule) -> bool:
    ends = rule.source, rule.destination
    return bool(rule.icmp or rule.not_icmp or any(end.port_sets or end.not_port_sets for end in ends))


def _span(network: Network) -> Span:
    return int(network.network_address), int(network.broadcast_address)
