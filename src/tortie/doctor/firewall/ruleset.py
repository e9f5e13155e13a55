"""Chains and rules of any program, as questions to a packet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import NamedTuple

from tortie.doctor.firewall.packet import Hook, Packet

# Jumps to chains of these names are ours: what comes back, or is accepted there, was judged by policy.
OWN_CHAINS = "tortie-"

NFTABLES = "nftables"
IPTABLES_NFT = "iptables-nft"
LEGACY = "iptables-legacy"


class Kind(Enum):
    ACCEPT = auto()  # ends this base chain, and says nothing to the next
    DROP = auto()
    JUMP = auto()
    GOTO = auto()
    RETURN = auto()


class Action(NamedTuple):
    kind: Kind
    chain: str = ""


ACCEPT = Action(Kind.ACCEPT)
DROP = Action(Kind.DROP)
RETURN = Action(Kind.RETURN)


class Answer(NamedTuple):
    """What a rule may do with a packet; `sure`: it does."""

    sure: bool
    action: Action


class Rule(NamedTuple):
    """`ask` gives nothing for a packet that the rule does not touch or merely counts."""

    name: str  # for the user
    ask: Callable[[Packet], tuple[Answer, ...]]


class Base(NamedTuple):
    """A base chain: where the kernel hands packets to rules."""

    program: str  # NFTABLES, IPTABLES_NFT, LEGACY
    family: str  # ip, ip6, inet
    table: str
    chain: str
    hook: Hook
    priority: int
    drops: bool  # the policy for what no rule decided

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.chain} ({self.program})"

    @property
    def show(self) -> str:
        """The command that lists it."""
        if self.program == LEGACY:
            return f"{'ip6tables' if self.family == 'ip6' else 'iptables'}-legacy -t {self.table} -S {self.chain}"
        return f"nft -a list chain {self.family} {self.table} {self.chain}"

    def sees(self, packet: Packet) -> bool:
        families = {"ip": (4,), "ip6": (6,)}.get(self.family, (4, 6))
        return packet.hook == self.hook and packet.family in families


class Ruleset(NamedTuple):
    """The base chains of one table, and all its chains by name."""

    bases: tuple[Base, ...]
    chains: Mapping[str, tuple[Rule, ...]]
