"""Runs of like rules as one lookup: a step between intent and the kernel that every backend may take.

Rules that differ only in addresses, ports and protocol become the entries of one `Lookup`: a set or map of the
kernel, asked once, instead of a rule each. A thousand rules one by one leave a new connection half of its speed, as
lookups all of it.

Invariants:
* For every packet the action of the rule that the list has first is found. It is found by that rule itself, unless
  others of the same action match the packet too: a counter of the kernel may then be another's. Who is named as the
  reason of a drop does not change: `verdict()` says it, which reads the list.
* A rule joins the lookup of its shape above rules of other actions only if no packet matches it and one of those.
* No packet matches two entries of a lookup, so the kernel may keep them in any order; of equal keys the first stays.
* The work is bounded: past `MAX_COMPARISONS` the rest of the list stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import chain, product
from math import prod
from typing import NamedTuple

import msgspec

from tortie.intent.policy import WHOLE_OBJECT, Action, Direction, End, Network, PortRange, Rule, RuleOrigin
from tortie.intent.ranges import merged_networks, merged_ports
from tortie.model.resource import ResourceKey

# One lookup costs as much as some six rules that miss.
MIN_RULES = 6
# Of one rule; a rule with more combinations stays alone.
MAX_KEYS_OF_RULE = 64
# Sets of intervals over several fields grow slow beyond this, to read and to change.
MAX_ENTRIES = 1000
# A comparison takes a third of a microsecond.
MAX_COMPARISONS = 50_000
# Rules for as many ports at most are found by each of them.
MAX_PORTS_APIECE = 32


class Field(StrEnum):
    """What the key of a lookup is made of."""

    PROTOCOL = "protocol"
    SOURCE = "source"
    DESTINATION = "destination"
    SOURCE_PORT = "source port"
    DESTINATION_PORT = "destination port"


Part = int | Network | PortRange  # of a key: a protocol, a prefix, ports


class Entry(NamedTuple):
    """One key, and the rule that it stands for."""

    key: tuple[Part, ...]
    rule: Rule


class Lookup(msgspec.Struct, frozen=True, kw_only=True):
    """Rules of one shape. `common` is what all of them demand besides their keys: its origin and action say nothing."""

    fields: tuple[Field, ...]
    common: Rule
    entries: tuple[Entry, ...]

    @property
    def exact(self) -> bool:
        """Every part of every key is a single value: a hash will do."""
        return all(_is_single(part) for entry in self.entries for part in entry.key)


Step = Rule | Lookup

# In the place of the origin of what no single rule says.
_NOBODY = RuleOrigin("", ResourceKey("", "", ""), Direction.INGRESS, WHOLE_OBJECT)


def fold(rules: Iterable[Rule]) -> tuple[Step, ...]:
    """The rules in as few steps as may be, in the order in which a packet must meet them."""
    folder = _Folder()
    for rule in rules:
        folder.add(rule)
    return tuple(folder.steps())


class _Shape(NamedTuple):
    """What rules have in common that may stand in one lookup."""

    common: Rule
    fields: tuple[Field, ...]


class _Box(NamedTuple):
    """The packets that a rule can match at most, as one interval for each part of a key and for the family.

    Two rules whose boxes are apart share no packet.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    exact: bool  # every part is a single value, or everything

    def is_apart_from(self, other: _Box) -> bool:
        # In this order the ports, which differ most, come first.
        a, b, c, d, e, f = self.low
        g, h, i, j, k, m = other.high
        if a > g or b > h or c > i or d > j or e > k or f > m:
            return True
        a, b, c, d, e, f = other.low
        g, h, i, j, k, m = self.high
        return a > g or b > h or c > i or d > j or e > k or f > m

    @property
    def ports(self) -> range | None:
        """The destination ports, if they are few."""
        return range(self.low[0], self.high[0] + 1) if self.high[0] - self.low[0] < MAX_PORTS_APIECE else None


class _Group:
    """Rules of one shape, which stand at one place of the order."""

    def __init__(self, place: int, shape: _Shape | None) -> None:
        self.place = place
        self.shape = shape
        self.rules: list[Rule] = []
        self.keys: dict[tuple[Part, ...], Rule] = {}
        self.boxes = _Boxes()


class _Placed(NamedTuple):
    """A rule by where it stands and what it can match."""

    group: _Group
    box: _Box


class _Boxes:
    """What rules can match, to be found by the destination port where that is one of few."""

    def __init__(self) -> None:
        self._all: list[_Placed] = []
        self._by_port: dict[int, list[_Placed]] = {}
        self._wide: list[_Placed] = []  # those for many ports

    def note(self, placed: _Placed) -> None:
        self._all.append(placed)
        if (ports := placed.box.ports) is None:
            self._wide.append(placed)
        else:
            for port in ports:
                self._by_port.setdefault(port, []).append(placed)

    def near(self, box: _Box) -> Iterable[_Placed]:
        """Every one that might share a packet with the box."""
        if (ports := box.ports) is None:
            return self._all
        return chain(self._wide, *(self._by_port.get(port, ()) for port in ports))


class _Folder:
    def __init__(self) -> None:
        self._groups: list[_Group] = []
        self._open: dict[_Shape, _Group] = {}  # the last group of each shape
        self._of_action: dict[Action, _Boxes] = {}
        self._comparisons = 0

    def add(self, rule: Rule) -> None:
        parts = _parts(rule)
        shape, keys = _shape(rule, parts), _keys(rule, parts)
        boxes = _boxes(rule, parts, keys)
        group = self._open.get(shape) if shape is not None and keys else None
        if group is None or not self._may_join(rule, group, boxes, keys):
            group = _Group(len(self._groups), shape if keys else None)
            self._groups.append(group)
            if shape is not None and keys:
                self._open[shape] = group
        group.rules.append(rule)
        for key in keys:
            group.keys.setdefault(key, rule)
        of_action = self._of_action.setdefault(rule.action, _Boxes())
        for box in boxes:
            group.boxes.note(_Placed(group, box))
            of_action.note(_Placed(group, box))

    def steps(self) -> Iterator[Step]:
        for group in self._groups:
            if group.shape is None or len(group.rules) < MIN_RULES:
                yield from group.rules
                continue
            entries = tuple(Entry(key, rule) for key, rule in group.keys.items())
            yield Lookup(fields=group.shape.fields, common=group.shape.common, entries=entries)

    def _may_join(self, rule: Rule, group: _Group, boxes: tuple[_Box, ...], keys: tuple[tuple[Part, ...], ...]) -> bool:
        """Whether a rule may stand with the group: no packet of it is one of the rules of other actions that it would
        overtake, nor of another entry, unless their keys are equal.
        """
        if len(group.keys) + len(keys) > MAX_ENTRIES:
            return False
        others = [found for action, found in self._of_action.items() if action is not rule.action]
        return all(self._is_alone(box, group) and self._overtakes_nothing(box, group, others) for box in boxes)

    def _is_alone(self, box: _Box, group: _Group) -> bool:
        return all((box.exact and other.exact) or self._are_apart(box, other) for _, other in group.boxes.near(box))

    def _overtakes_nothing(self, box: _Box, group: _Group, others: Iterable[_Boxes]) -> bool:
        return all(
            other_group.place < group.place
            or (other_group is group and box.exact and other.exact)
            or self._are_apart(box, other)
            for found in others
            for other_group, other in found.near(box)
        )

    def _are_apart(self, box: _Box, other: _Box) -> bool:
        self._comparisons += 1
        return self._comparisons <= MAX_COMPARISONS and box.is_apart_from(other)


# What may stand in a key, by field; of a field that the rule does not name, nothing.
_Parts = Mapping[Field, tuple[Part, ...]]


def _shape(rule: Rule, parts: _Parts) -> _Shape | None:
    """None for a rule that stays alone: it decides nothing, or has no key."""
    fields = tuple(field for field, found in parts.items() if found)
    if rule.action is Action.LOG or not fields:
        return None
    return _Shape(
        msgspec.structs.replace(
            rule,
            origin=_NOBODY,
            action=Action.PASS,
            protocol=None,
            source=msgspec.structs.replace(rule.source, nets=(), ports=()),
            destination=msgspec.structs.replace(rule.destination, nets=(), ports=()),
        ),
        fields,
    )


def _parts(rule: Rule) -> _Parts:
    """No packet is in two parts of a field."""
    return {
        Field.PROTOCOL: () if rule.protocol is None else (rule.protocol,),
        Field.SOURCE: merged_networks(rule.source.nets),
        Field.DESTINATION: merged_networks(rule.destination.nets),
        Field.SOURCE_PORT: _numbers(rule.source),
        Field.DESTINATION_PORT: _numbers(rule.destination),
    }


def _numbers(end: End) -> tuple[PortRange, ...]:
    """Ports as parts of a key: not those beside names, which are one list with them."""
    return () if end.port_sets else merged_ports(end.ports)


def _keys(rule: Rule, parts: _Parts) -> tuple[tuple[Part, ...], ...]:
    """Every combination of the rule's parts; empty when it has none, or too many."""
    if any(end.ports and end.port_sets for end in (rule.source, rule.destination)):
        return ()
    named = [found for found in parts.values() if found]
    return tuple(product(*named)) if named and prod(map(len, named)) <= MAX_KEYS_OF_RULE else ()


def _boxes(rule: Rule, parts: _Parts, keys: tuple[tuple[Part, ...], ...]) -> tuple[_Box, ...]:
    """One for each key of the rule, or one around all that it can match."""
    fields = [field for field, found in parts.items() if found]
    if not keys:
        return (_box(parts, rule.family),)
    return tuple(_box({field: (part,) for field, part in zip(fields, key, strict=True)}, rule.family) for key in keys)


def _box(parts: Mapping[Field, tuple[Part, ...]], family: int | None) -> _Box:
    """`parts` lacks what may be anything."""
    low, high = zip(
        _hull(parts.get(Field.DESTINATION_PORT, ()), 65535),
        _hull(parts.get(Field.SOURCE_PORT, ()), 65535),
        _hull(parts.get(Field.SOURCE, ()), 2**128),
        _hull(parts.get(Field.DESTINATION, ()), 2**128),
        _hull(parts.get(Field.PROTOCOL, ()), 255),
        (family or 4, family or 6),
        strict=True,
    )
    return _Box(low, high, all(len(found) <= 1 and all(map(_is_single, found)) for found in parts.values()))


def _hull(parts: tuple[Part, ...], most: int) -> tuple[int, int]:
    """The interval from the lowest to the highest value of any of the parts; no part is everything."""
    if not parts:
        return 0, most
    bounds = [_bounds(part) for part in parts]
    return min(low for low, _ in bounds), max(high for _, high in bounds)


def _bounds(part: Part) -> tuple[int, int]:
    if isinstance(part, int):
        return part, part
    if isinstance(part, PortRange):
        return part
    return int(part.network_address), int(part.broadcast_address)


def _is_single(part: Part) -> bool:
    if isinstance(part, int):
        return True
    if isinstance(part, PortRange):
        return part.first == part.last
    return part.prefixlen == part.max_prefixlen
