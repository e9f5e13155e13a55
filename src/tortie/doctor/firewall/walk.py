"""What becomes of a packet in one base chain.

A rule that asks for something unknown may match or not, so both ways are followed. What is certain stays certain only
until a rule may have accepted the packet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tortie.doctor.firewall.packet import Packet
from tortie.doctor.firewall.ruleset import OWN_CHAINS, Base, Kind, Rule, Ruleset

DEPTH = 16  # NFT_JUMP_STACK_SIZE


class Drop(NamedTuple):
    """Where a packet ends; without a rule by the base chain's policy."""

    sure: bool
    chain: str
    rule: str = ""

    @property
    def place(self) -> tuple[str, str]:
        return self.chain, self.rule


def drops(ruleset: Ruleset, base: Base, packet: Packet) -> tuple[Drop, ...]:
    """Where the packet may end; nothing: it passes this base chain."""
    walk = _Walk(ruleset.chains, packet)
    if walk.through(base.chain, sure=True, depth=0) and base.drops:
        walk.found[Drop(not walk.perhaps_accepted, base.chain)] = None
    return tuple(walk.found)


class _Walk:
    def __init__(self, chains: Mapping[str, tuple[Rule, ...]], packet: Packet) -> None:
        self._chains = chains
        self._packet = packet
        self.perhaps_accepted = False
        self.found: dict[Drop, None] = {}  # in the order in which they are met
        self._seen: dict[tuple[str, bool, bool], bool] = {}

    def through(self, name: str, *, sure: bool, depth: int) -> bool:
        """Whether the packet may come out at the chain's end; `sure`: it surely got here."""
        key = (name, sure, self.perhaps_accepted)
        if key not in self._seen:
            # Chains are called from many places; what one does to a packet stays the same.
            self._seen[key] = True
            self._seen[key] = self._through(name, sure, depth)
        return self._seen[key]

    def _through(self, name: str, sure: bool, depth: int) -> bool:
        may_come_out = False
        for rule in self._chains.get(name, ()) if depth < DEPTH else ():
            for answer in rule.ask(self._packet):
                certain = sure and answer.sure
                match answer.action.kind:
                    case Kind.ACCEPT:
                        self.perhaps_accepted = True
                        ends = True
                    case Kind.DROP:
                        self.found[Drop(certain and not self.perhaps_accepted, name, rule.name)] = None
                        ends = True
                    case Kind.RETURN:
                        may_come_out = True
                        sure = False
                        ends = True
                    case _ if answer.action.chain.startswith(OWN_CHAINS):
                        # What policy accepts there goes no further.
                        ends = self._packet.judged
                        self.perhaps_accepted |= ends
                    case Kind.JUMP:
                        ends = not self.through(answer.action.chain, sure=certain, depth=depth + 1)
                    case Kind.GOTO:
                        may_come_out |= self.through(answer.action.chain, sure=certain, depth=depth + 1)
                        sure = False
                        ends = True
                if ends and answer.sure:
                    return may_come_out
        return True
