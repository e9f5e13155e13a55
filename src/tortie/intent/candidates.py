"""Of the policies of a tier those that may decide a packet, found by one lookup: the others are not asked.

A policy whose rules all name destination ports decides no packet to another port. Such policies stand in the lists of
an `Index`, a list for each interval of ports, and the kernel goes through the list that a packet's port leads to.
The same goes for addresses. A thousand policies asked one by one leave a new connection a third of its speed.

    a: to port 80    b: to 80 and 443    c: from 10.0.0.1    ─▶    port 80: a, b; 443: b    then c

Invariants:
* A policy with a rule that matches the packet is asked. That others may be asked too changes nothing: none of their
  rules matches.
* Policies are asked in the order of the tier, but one may go before others if all rules of them and of it have one
  action. Then the same becomes of the packet; only the kernel's counter may be another policy's (as in `folding`).
* The work and the lists are bounded: nobody stands in more than `MAX_LISTS` lists of an index.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from tortie.intent.axis import Span, merged
from tortie.intent.folding import Field
from tortie.intent.policy import Action, Direction, End, Family, Network, ObjectKey, Policy, Rule

# From so many on a lookup is worth it; 3, 4 and 6 could not be told apart with ten policies.
MIN_POLICIES = 4
# A policy that names more is asked for every packet.
MAX_VALUES = 32
MAX_LISTS = 32
# Lists that are long still are looked up by another field; the kernel bounds how deep chains may lie.
MAX_DEPTH = 2


class Reach(NamedTuple):
    """The packets of a family that a policy's rules can match at most."""

    action: Action | None  # that all of its rules have; None: the policy keeps its place in the order
    values: Mapping[Field, tuple[Span, ...]]  # of fields that every rule names; what is not here may be anything

    @property
    def is_nothing(self) -> bool:
        return not all(self.values.values())


EVERYTHING = Reach(None, {})


class Index(NamedTuple):
    """What to ask, by a field of the packet. Spans are in their order and apart; between them nobody is asked."""

    field: Field
    entries: tuple[tuple[Span, tuple[Step, ...]], ...]

    @property
    def exact(self) -> bool:
        """Every span is a single value: a hash will do."""
        return all(first == last for (first, last), _ in self.entries)

    @property
    def policies(self) -> set[ObjectKey]:
        """All that stand in its lists."""
        return {key for _, steps in self.entries for key in _keys(steps)}


Step = ObjectKey | Index


def _keys(steps: Iterable[Step]) -> Iterator[ObjectKey]:
    for step in steps:
        if isinstance(step, Index):
            yield from step.policies
        else:
            yield step


def reach(policy: Policy, direction: Direction, family: Family) -> Reach:
    """What a policy can decide in one direction. A staged one keeps its place: it counts what those before it leave."""
    rules = [rule for rule in policy.rules(direction) if rule.family in (None, family)]
    actions = {rule.action for rule in rules}
    may_move = not policy.staged and len(actions) == 1 and actions <= {Action.ALLOW, Action.DENY}
    values: dict[Field, tuple[Span, ...]] = {}
    for field, of_rule in _FIELDS.items():
        named: list[Span] = []
        for rule in rules:
            some = of_rule(rule, family)
            if some is None:
                break
            named += some
        else:
            if len(kept := merged(named)) <= MAX_VALUES:
                values[field] = tuple(kept)
    return Reach(actions.pop() if may_move else None, values)


def candidates(policies: Iterable[tuple[ObjectKey, Reach]]) -> tuple[Step, ...]:
    """The policies, given in the order of their tier, in as few steps as may be: what to ask a packet, in turn.

    Of n policies O(n log n).
    """
    return _steps([(key, what) for key, what in policies if not what.is_nothing], tuple(_FIELDS), MAX_DEPTH)


# --- What rules name, as spans of numbers


def _addresses(nets: tuple[Network, ...], family: Family) -> list[Span] | None:
    if not nets:
        return None
    bits = 32 if family == 4 else 128
    own = [(int(net.network_address), bits - net.prefixlen) for net in nets if net.version == family]
    return [(first, first | (1 << host_bits) - 1) for first, host_bits in own]


def _ports(end: End) -> list[Span] | None:
    """Ports beside names are one list with them, and who has a name is not known here."""
    return list(end.ports) if end.ports and not end.port_sets else None


_FIELDS: Mapping[Field, Callable[[Rule, Family], list[Span] | None]] = {
    Field.DESTINATION_PORT: lambda rule, family: _ports(rule.destination),
    Field.SOURCE: lambda rule, family: _addresses(rule.source.nets, family),
    Field.DESTINATION: lambda rule, family: _addresses(rule.destination.nets, family),
    Field.SOURCE_PORT: lambda rule, family: _ports(rule.source),
}


# --- Groups of policies

Policies = Sequence[tuple[ObjectKey, Reach]]


class _Group:
    """Policies that are asked at one place of the order: by a field, or each of them."""

    def __init__(self, place: int, field: Field | None) -> None:
        self.place = place
        self.field = field
        self.policies: list[tuple[ObjectKey, Reach]] = []
        self.behind: set[Action | None] = set()  # of the policies that were put behind this one

    def lets_in(self, what: Reach) -> bool:
        return not self.behind or (what.action is not None and self.behind == {what.action})


def _steps(policies: Policies, fields: Sequence[Field], depth: int) -> tuple[Step, ...]:
    if len(policies) < MIN_POLICIES or depth == 0:
        return tuple(key for key, _ in policies)
    found: list[Step] = []
    for group in _groups(policies, fields):
        if group.field is None or len(group.policies) < MIN_POLICIES:
            found += (key for key, _ in group.policies)
        else:
            found.append(_index(group.field, group.policies, [each for each in fields if each != group.field], depth))
    return tuple(found)


def _groups(policies: Policies, fields: Sequence[Field]) -> list[_Group]:
    usable = _usable(policies, fields)
    groups: list[_Group] = []
    open_: dict[Field | None, _Group] = {}  # the last group of each field
    for number, (key, what) in enumerate(policies):
        own: list[Field | None] = [field for field, members in usable.items() if number in members]
        own = own or [None]
        joinable = (group for field in own if (group := open_.get(field)) is not None and group.lets_in(what))
        group = next(joinable, None)
        if group is None:
            group = open_[own[0]] = _Group(len(groups), own[0])
            groups.append(group)
        group.policies.append((key, what))
        for before in open_.values():
            if before.place < group.place:
                before.behind.add(what.action)
    return groups


def _usable(policies: Policies, fields: Sequence[Field]) -> dict[Field, set[int]]:
    """Who may be found by which field, by number; first the field that leaves least to be asked."""
    found: dict[Field, set[int]] = {}
    asked: dict[Field, int] = {}
    for field in fields:
        named = {number: what.values[field] for number, (_, what) in enumerate(policies) if field in what.values}
        cuts = _cuts(named.values())
        members = {
            number
            for number, values in named.items()
            if sum(bisect_left(cuts, last + 1) - bisect_left(cuts, first) for first, last in values) <= MAX_LISTS
        }
        if len(members) >= MIN_POLICIES:
            longest = _longest(named[number] for number in members)
            if longest < len(members):
                found[field] = members
                asked[field] = len(policies) - len(members) + longest
    return {field: found[field] for field in sorted(found, key=asked.__getitem__)}


def _cuts(values: Iterable[tuple[Span, ...]]) -> list[int]:
    """Where the list of those who name a value changes."""
    return sorted({cut for some in values for first, last in some for cut in (first, last + 1)})


def _longest(values: Iterable[tuple[Span, ...]]) -> int:
    """How many name the value that most of them do."""
    steps = sorted(step for some in values for first, last in some for step in ((first, 1), (last + 1, -1)))
    return max(accumulate(change for _, change in steps), default=0)


def _index(field: Field, policies: Policies, fields: Sequence[Field], depth: int) -> Index:
    cuts = _cuts(what.values[field] for _, what in policies)
    lists: list[list[int]] = [[] for _ in cuts]  # of numbers of policies, from each cut to the next
    for number, (_, what) in enumerate(policies):
        for first, last in what.values[field]:
            for at in range(bisect_left(cuts, first), bisect_left(cuts, last + 1)):
                lists[at].append(number)
    steps: dict[tuple[int, ...], tuple[Step, ...]] = {}
    entries: list[tuple[Span, tuple[Step, ...]]] = []
    for (first, after), numbers in zip(pairwise(cuts), lists, strict=False):
        if numbers:
            own = tuple(numbers)
            if own not in steps:
                steps[own] = _steps([policies[number] for number in own], fields, depth - 1)
            entries.append(((first, after - 1), steps[own]))
    return Index(field, tuple(entries))
