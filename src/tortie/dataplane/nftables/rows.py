"""What stands in the kernel for policy: six kinds of rows, all in the table `inet tortie`.

    SET       sets and maps, empty: of selectors, of a rule's own addresses and ports, of folded rules, of interfaces
    MEMBER    what is in them
    ENTRY     what is in the maps of folded rules: each counts, and so takes longer to write than a member
    CHAIN     chains with all of their rules
    DISPATCH  which interface leads to which chains: the last step of opening, the first of closing
    BASE      chains that packets come to by themselves: they close what nothing opens, so what opens is there before

The number of a kind is its place in the order of writing, so that what is named is there before who names it; what goes
is removed in the reverse order. A set is filled before a chain uses it, which intervals need (kernel/netfilter).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import msgspec

from tortie.kernel.netfilter.chain import Hook
from tortie.kernel.netfilter.datatype import DataType
from tortie.kernel.netfilter.verdict import Verdict

TABLE = "tortie"


class Kind(IntEnum):
    """The tables of rows."""

    SET = 0
    MEMBER = 1
    ENTRY = 2
    CHAIN = 3
    DISPATCH = 4
    BASE = 5


class RowKey(NamedTuple):
    """A row of any kind; its `key` is a `str` for sets and chains, a `MemberKey` for what is in them."""

    kind: Kind
    key: str | MemberKey


class MemberKey(msgspec.Struct, frozen=True, gc=False):
    """An element; with `last` it is an interval. Of a million the garbage collector need not walk any."""

    set: str
    key: bytes
    last: bytes | None = None


class SetSpec(NamedTuple):
    """A set, or with `data` a map. `size`, 0 for none, limits it and speeds it up."""

    key: tuple[DataType, ...]
    data: tuple[DataType, ...] = ()
    interval: bool = False
    size: int = 0


class KernelRule(NamedTuple):
    """A rule as the kernel keeps it."""

    expressions: bytes
    comment: str = ""


class ChainSpec(NamedTuple):
    """A chain with its rules; `hook` if packets come to it by themselves."""

    rules: tuple[KernelRule, ...]
    hook: Hook | None = None


def map_name(rules: str, contents: str) -> str:
    """Of a map that stands for rules: whose and of which shape they are, then what is in it, each as a digest."""
    return f"{MAP}{rules[:_HALF]}-{contents[:_HALF]}"


def is_successor(name: str, before: str) -> bool:
    """Both are maps for the same rules, in different versions."""
    return name.startswith(MAP) and name != before and name.rpartition("-")[0] == before.rpartition("-")[0]


MAP = "map-"  # begins the names of maps of folded rules, and of no other set
_HALF = 16


def chain_row(name: str, spec: ChainSpec) -> RowKey:
    """The row of a chain."""
    return RowKey(Kind.CHAIN if spec.hook is None else Kind.BASE, name)


RowValue = SetSpec | ChainSpec | Verdict | None  # of a member of a set that is no map there is nothing to say
Rows = dict[RowKey, RowValue]
