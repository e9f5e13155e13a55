"""Runs of like rules as one lookup: a step between intent and the kernel that every backend may take.

Rules that differ only in addresses, ports and protocol become the entries of one `Lookup`: a set or map of the
kernel, asked once, instead of a rule each. A thousand rules one by one leave a new connection half of its speed, as
lookups all of it.

Invariants:
* For every packet the same rule is found first as in the list: so neither what happens changes nor who is named as
  the reason.
* A rule joins the lookup of its shape above others only if no packet matches it and one of those.
* No packet matches two entries of a lookup, so the kernel may keep them in any order; of equal keys the first stays.
* The work is bounded: past `MAX_COMPARISONS` the rest of the list stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import product
from typing import NamedTuple

import msgspec

from tortie.intent.policy import WHOLE_OBJECT, Action, Direction, End, Network, PortRange, Rule, RuleOrigin
from tortie.model.resource import ResourceKey

# One lookup costs as much as some six rules that miss.
MIN_RULES = 6
# Of one rule; a rule with more combinations stays alone.
MAX_KEYS_OF_RULE = 64
# Sets of intervals over several fields grow slow beyond this, to read and to change.
MAX_ENTRIES = 1000
# A comparison takes half a microsecond.
MAX_COMPARISONS = 40_000


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


Interval = tuple[int, int]


class _Box(NamedTuple):
    """The packets that a rule can match at most, as intervals: two rules whose boxes are apart share no packet."""

    family: int | None
    protocols: tuple[Interval, ...]
    sources: tuple[Interval, ...]
    destinations: tuple[Interval, ...]
    source_ports: tuple[Interval, ...]
    destination_ports: tuple[Interval, ...]


class _Group:
    """Rules of one shape, which stand at one place of the order."""

    def __init__(self, place: int, shape: _Shape | None) -> None:
        self.place = place
        self.shape = shape
        self.rules: list[Rule] = []
        self.boxes: list[_Box] = []
        self.keys: dict[tuple[Part, ...], Rule] = {}


class _Folder:
    def __init__(self) -> None:
        self._groups: list[_Group] = []
        self._open: dict[_Shape, _Group] = {}  # the last group of each shape
        self._by_port: dict[int, list[tuple[_Group, _Box]]] = {}  # rules for one destination port
        self._wide: list[tuple[_Group, _Box]] = []  # all others
        self._comparisons = 0

    def add(self, rule: Rule) -> None:
        shape, keys = _shape(rule), _keys(rule)
        box = _box(rule)
        group = self._open.get(shape) if shape is not None and keys else None
        if group is None or not self._may_join(group, box, keys):
            group = _Group(len(self._groups), shape if keys else None)
            self._groups.append(group)
            if shape is not None and keys:
                self._open[shape] = group
        group.rules.append(rule)
        group.boxes.append(box)
        for key in keys:
            group.keys.setdefault(key, rule)
        port = _single_port(box)
        (self._wide if port is None else self._by_port.setdefault(port, [])).append((group, box))

    def steps(self) -> Iterator[Step]:
        for group in self._groups:
            if group.shape is None or len(group.rules) < MIN_RULES:
                yield from group.rules
                continue
            entries = tuple(Entry(key, rule) for key, rule in group.keys.items())
            yield Lookup(fields=group.shape.fields, common=group.shape.common, entries=entries)

    def _may_join(self, group: _Group, box: _Box, keys: tuple[tuple[Part, ...], ...]) -> bool:
        """Whether a rule may stand with the group: no packet of it is one of the rules that it would overtake, nor of
        another entry, unless their keys are equal.
        """
        if len(group.keys) + len(keys) > MAX_ENTRIES:
            return False
        port = _single_port(box)
        candidates = [*self._wide]
        if port is not None:
            candidates += self._by_port.get(port, ())
        else:
            candidates += [each for some in self._by_port.values() for each in some]
        are_exact = all(_is_single(part) for key in keys for part in key)
        for other, their_box in candidates:
            if other.place < group.place:
                continue
            self._comparisons += 1
            if self._comparisons > MAX_COMPARISONS:
                return False
            if _are_apart(box, their_box):
                continue
            if other is not group or not are_exact or not _is_exact(their_box):
                return False
        return True


def _shape(rule: Rule) -> _Shape | None:
    """None for a rule that stays alone: it decides nothing, or has no key."""
    fields = tuple(field for field, parts in _parts(rule) if parts)
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


def _parts(rule: Rule) -> list[tuple[Field, tuple[Part, ...]]]:
    return [
        (Field.PROTOCOL, () if rule.protocol is None else (rule.protocol,)),
        (Field.SOURCE, rule.source.nets),
        (Field.DESTINATION, rule.destination.nets),
        (Field.SOURCE_PORT, _numbers(rule.source)),
        (Field.DESTINATION_PORT, _numbers(rule.destination)),
    ]


def _numbers(end: End) -> tuple[PortRange, ...]:
    """Ports as parts of a key: not those beside names, which are one list with them."""
    return () if end.port_sets else end.ports


def _keys(rule: Rule) -> tuple[tuple[Part, ...], ...]:
    """Every combination of the rule's parts; empty when it has none, or too many."""
    if any(end.ports and end.port_sets for end in (rule.source, rule.destination)):
        return ()
    parts = [found for _, found in _parts(rule) if found]
    count = 1
    for found in parts:
        count *= len(found)
    return tuple(product(*parts)) if parts and count <= MAX_KEYS_OF_RULE else ()


def _box(rule: Rule) -> _Box:
    return _Box(
        rule.family,
        () if rule.protocol is None else ((rule.protocol, rule.protocol),),
        _addresses(rule.source.nets),
        _addresses(rule.destination.nets),
        _numbers(rule.source),
        _numbers(rule.destination),
    )


def _addresses(nets: tuple[Network, ...]) -> tuple[Interval, ...]:
    return tuple((int(net.network_address), int(net.broadcast_address)) for net in nets)


def _are_apart(one: _Box, other: _Box) -> bool:
    if one.family is not None and other.family is not None and one.family != other.family:
        return True
    # An empty part is everything. Addresses of different families are apart already, since nets give a rule its own.
    return any(
        mine and theirs and not any(a <= d and c <= b for a, b in mine for c, d in theirs)
        for mine, theirs in zip(one[1:], other[1:], strict=True)
    )


def _is_single(part: Part) -> bool:
    if isinstance(part, int):
        return True
    if isinstance(part, PortRange):
        return part.first == part.last
    return part.prefixlen == part.max_prefixlen


def _is_exact(box: _Box) -> bool:
    return all(first == last for part in box[1:] for first, last in part)


def _single_port(box: _Box) -> int | None:
    if len(box.destination_ports) != 1:
        return None
    first, last = box.destination_ports[0]
    return first if first == last else None
