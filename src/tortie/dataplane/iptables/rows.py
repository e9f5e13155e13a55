"""What stands in the kernel for policy: four kinds of rows, for each family apart, and one for both.

    SET       IP sets, empty: of selectors, of named ports, of a rule's own prefixes
    MEMBER    what is in them
    CHAIN     chains `tortie-*` of any table, with all of their rules
    JUMP      the one rule in each of the kernel's own chains that leads to ours, at its head
    FRAGMENT  chains of the one table of nf_tables, with what leads to them: what is asked before iptables may ask

The number of a kind is its place in the order of writing, so that what is named is there before who names it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from tortie.dataplane.naming import digest, shortened
from tortie.intent.policy import Family, SetId
from tortie.kernel.netfilter.chain import Hook

FILTER, MANGLE, RAW, NAT = "filter", "mangle", "raw", "nat"
# Policy is written where packets end before it is where they arrive: what a table opens the next one still closes.
TABLES = (FILTER, MANGLE, RAW, NAT)

OWN_CHAIN = "tortie-"
OWN_SET = {4: "tortie4", 6: "tortie6"}
CHAIN_CHARACTERS = 28  # XT_EXTENSION_MAXNAMELEN, less its end
SET_CHARACTERS = 31  # IPSET_MAXNAMELEN, less its end
# Of the 255 that the kernel keeps; the rest is for what the rule is compared by.
COMMENT_BYTES = 238
# Of a digest, what stands for the arguments and what for the comment: a rule that has moved is the same one.
ARGUMENTS_CHARACTERS = 10
DIGEST_CHARACTERS = 16


class Kind(IntEnum):
    """The tables of rows."""

    SET = 0
    MEMBER = 1
    CHAIN = 2
    JUMP = 3
    FRAGMENT = 4


class SetSpec(NamedTuple):
    """The type of a set, as ipset calls it: `hash:net`, `hash:ip,port`."""

    type: str
    family: Family


class MemberKey(NamedTuple):
    """A member, as ipset writes it."""

    set: str
    member: str


class ChainKey(NamedTuple):
    """A chain; as the key of a jump it is the kernel's own that the jump stands in."""

    family: Family
    table: str
    name: str


class Rule(NamedTuple):
    """`arguments` as iptables takes them, without the chain and the comment.

    What a rule of a policy has counted is kept when its chain is written anew: `counts`.
    """

    arguments: str
    comment: str = ""
    counts: bool = False

    @property
    def digest(self) -> str:
        """By which a rule that is read back is known: it stands at the head of its comment."""
        return _digest(self.arguments, self.comment)

    def line(self, chain: str, how: str = "-A") -> str:
        text = f"{self.digest} {self.comment}".rstrip().replace("\\", "\\\\").replace('"', '\\"')
        return f'{how} {chain} -m comment --comment "{text}" {self.arguments}'


# The rules of dispatch come again with every endpoint. Those that name its MAC do not, and 65,536 of them took 29 MB.
@lru_cache(maxsize=8192)
def _digest(arguments: str, comment: str) -> str:
    return digest(arguments)[:ARGUMENTS_CHARACTERS] + digest(comment)[: DIGEST_CHARACTERS - ARGUMENTS_CHARACTERS]


@dataclass(frozen=True)
class ChainSpec:
    """A chain by what its rules are known by; the rules themselves cannot be told from what is read back."""

    digests: tuple[str, ...]
    rules: tuple[Rule, ...] = field(default=(), compare=False)


def chain_of(rules: Iterable[Rule]) -> ChainSpec:
    found = tuple(rules)
    return ChainSpec(tuple(rule.digest for rule in found), found)


class FragmentChain(NamedTuple):
    """A chain of the table of fragments, by its rules as the kernel keeps them, without what they have counted.

    Packets come to it by its hook, or from these interfaces, or because a rule leads to it.
    """

    rules: tuple[bytes, ...]
    hook: Hook | None = None
    interfaces: tuple[str, ...] = ()


class RowKey(NamedTuple):
    """A row of any kind."""

    kind: Kind
    key: str | MemberKey | ChainKey


RowValue = SetSpec | ChainSpec | FragmentChain | None  # of a member there is nothing to say
Rows = dict[RowKey, RowValue]


def chain(family: Family, table: str, name: str, rules: Iterable[Rule]) -> Rows:
    return {RowKey(Kind.CHAIN, ChainKey(family, table, name)): chain_of(rules)}


def jump(family: Family, table: str, kernels: str, ours: str) -> Rows:
    """From one of the kernel's own chains to one of ours."""
    return {RowKey(Kind.JUMP, ChainKey(family, table, kernels)): chain_of([Rule(f"-j {ours}")])}


def chain_name(*words: str) -> str:
    return shortened(OWN_CHAIN + "-".join(words), CHAIN_CHARACTERS)


def set_name(set_id: SetId, family: Family) -> str:
    return shortened(OWN_SET[family] + set_id, SET_CHARACTERS)
