"""From the interface of a packet to the chain that is meant for it: iptables has no map, so by a tree of names.

A tree has a chain for all interfaces, and more where many have the first letters in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tortie.dataplane.iptables.rows import Rows, Rule, chain, chain_name
from tortie.intent.policy import FAMILIES

# Interfaces of one chain; more are parted by the next letter of their names.
INTERFACES_APIECE = 16


class Ours(NamedTuple):
    """Which interfaces are workloads'."""

    prefixes: tuple[str, ...]  # they begin so
    outsiders: tuple[str, ...] = ()  # or an endpoint names them
    exempt: tuple[str, ...] = ()  # and are none of these, whatever they begin with: the host's own

    def begins(self, interface: str) -> bool:
        """Whether it is one by its name."""
        return interface.startswith(self.prefixes) and interface not in self.exempt


def by(kind: str, prefix: str = "") -> str:
    """The chain of a tree for the interfaces that begin so; its root when that is nothing."""
    return chain_name("by", kind, prefix)


def tree(table: str, kind: str, option: str, targets: Mapping[str, str], last: Sequence[Rule] = ()) -> Rows:
    """From interfaces, `-i` or `-o`, to their targets; a packet of none of them meets the `last` rules."""
    rows: Rows = {}
    for name, rules in branches(kind, option, targets, last):
        for family in FAMILIES:
            rows |= chain(family, table, name, rules)
    return rows


def branches(
    kind: str, option: str, targets: Mapping[str, str], last: Sequence[Rule], prefix: str = ""
) -> Iterator[tuple[str, list[Rule]]]:
    """The chains of a tree, for all interfaces that begin with the prefix."""
    by_letter: dict[str, dict[str, str]] = {}
    for name, target in sorted(targets.items()):
        by_letter.setdefault(name[: len(prefix) + 1], {})[name] = target
    rules: list[Rule] = []
    for some in by_letter.values():
        if len(targets) <= INTERFACES_APIECE or len(some) == 1:
            rules += [Rule(f"{option} {name} {target}") for name, target in some.items()]
            continue
        longer = _common(min(some), max(some))
        if longer in some:
            # Its name is the prefix of others, and there is no next letter.
            rules.append(Rule(f"{option} {longer} {some.pop(longer)}"))
        yield from branches(kind, option, some, last, longer)
        rules.append(Rule(f"{option} {longer}+ -g {by(kind, longer)}"))
    yield by(kind, prefix), [*rules, *last]


def _common(first: str, last: str) -> str:
    """What two names begin with, and in their order all between them."""
    length = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]
