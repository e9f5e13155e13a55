"""Chains of policies and of endpoints.

A policy is a chain for each direction and family, called by every endpoint that it applies to. What an endpoint goes
through is a chain too, named by its contents: endpoints with the same policies share it. A called chain tells what it
decided by two bits of the packet's mark, within the mask that is ours:

    Allow  the first bit; every caller returns, up to the chain that both ends of the packet's way are asked from
    Pass   the second bit: the rest of the tier is skipped
    Deny   no bit: a chain that counts, tells and drops

Every table has chains of its own, so what an Allow does besides is the table's affair: ALLOW says it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tortie.conventions import LOG_GROUP
from tortie.dataplane.iptables.drops import dropped
from tortie.dataplane.iptables.match import matches
from tortie.dataplane.iptables.rows import COMMENT_BYTES, FILTER, Rows, Rule, chain, chain_name
from tortie.dataplane.naming import comment_of, digest
from tortie.errors import UsageError
from tortie.intent import policy as intent
from tortie.intent.policy import FAMILIES, Action, Chain, Direction, ObjectKey, Policy, PolicySettings
from tortie.intent.verdict import Reason

ALLOW = chain_name("allow")
PASS = chain_name("pass")
TRACKED = chain_name("tracked")
ESTABLISHED = "-m conntrack --ctstate RELATED,ESTABLISHED"

# Of the Log action, a second and rule.
LOGS_PER_S = 10

_WAY = {Direction.INGRESS: "to", Direction.EGRESS: "from"}


class Marks(NamedTuple):
    """The bits of a packet's mark in which chains tell their callers what they decided."""

    allowed: int
    passed: int

    @classmethod
    def within(cls, mask: int) -> Marks:
        """The two lowest bits of the mask."""
        lowest = mask & -mask
        rest = mask ^ lowest
        if not rest:
            raise UsageError(
                f"IptablesMarkMask {mask:#x} has less than two bits, of which policy by iptables needs two"
            )
        return cls(lowest, rest & -rest)

    @property
    def both(self) -> int:
        return self.allowed | self.passed


def is_set(bit: int) -> str:
    return f"-m mark --mark {bit:#x}/{bit:#x}"


def is_clear(bits: int) -> str:
    return f"-m mark --mark 0x0/{bits:#x}"


def is_exactly(bits: int, mask: int) -> str:
    return f"-m mark --mark {bits:#x}/{mask:#x}"


def set_mark(bit: int) -> Rule:
    return Rule(f"-j MARK --set-xmark {bit:#x}/{bit:#x}")


def set_exactly(bits: int, mask: int) -> Rule:
    return Rule(f"-j MARK --set-xmark {bits:#x}/{mask:#x}")


def clear_mark(bits: int) -> Rule:
    return Rule(f"-j MARK --set-xmark 0x0/{bits:#x}")


# --- Policies


def policy_chain(key: ObjectKey, direction: Direction) -> str:
    """Kinds are told apart by their capitals: `tortie-to-gnp-web`."""
    kind = "".join(letter for letter in key.kind if letter.isupper()).lower()
    return chain_name(_WAY[direction], kind, "/".join(part for part in key[1:] if part))


def policy_rows(policy: Policy, table: str = FILTER) -> Rows:
    """The chains of a policy or a profile in a table, and the sets of its rules' own."""
    rows: Rows = {}
    for direction in Direction:
        for family in FAMILIES:
            rules: list[Rule] = []
            for rule in policy.rules(direction):
                found = matches(rule, family)
                rows |= found.sets
                target, comment = _target(rule, policy), comment_of(rule, COMMENT_BYTES)
                rules += [Rule(f"{one} {target}".lstrip(), comment, counts=True) for one in found.alternatives]
            rows |= chain(family, table, policy_chain(policy.key, direction), rules)
    return rows


def _target(rule: intent.Rule, policy: Policy) -> str:
    if rule.action is Action.LOG:
        return f"-m limit --limit {LOGS_PER_S}/second -j NFLOG --nflog-group {LOG_GROUP}"
    if policy.staged:
        return "-j RETURN"  # it would have decided here: the next policy is asked
    if rule.action is Action.ALLOW:
        return f"-g {ALLOW}"
    return f"-g {dropped(Reason.POLICY)}" if rule.action is Action.DENY else f"-g {PASS}"


# --- Endpoints


def endpoint_chain(applies: Chain, direction: Direction, marks: Marks) -> tuple[str, Rows]:
    """The chain that endpoints go through in one direction, the same for both families; its name, and its rows."""
    rules = [
        Rule(f"-j {TRACKED}"),
        Rule(f"{is_set(marks.allowed)} -j RETURN"),
        *asked(applies, direction, marks),
        Rule(f"-g {dropped(Reason.NO_PROFILE_MATCHED)}", "no profile matched"),
    ]
    name = chain_name(_WAY[direction], digest(tuple(rules))[:16])
    return name, {row: spec for family in FAMILIES for row, spec in chain(family, FILTER, name, rules).items()}


def asked(applies: Chain, direction: Direction, marks: Marks) -> Iterator[Rule]:
    """Tiers, then profiles: who is allowed returns to the caller of the chain, who is denied ends, who is neither
    goes on behind these rules.
    """
    for number, tier in enumerate(applies.tiers):
        if number:
            yield clear_mark(marks.passed)
        for key in tier.policies:
            yield Rule(f"{is_clear(marks.both)} -j {policy_chain(key, direction)}")
        yield Rule(f"{is_set(marks.allowed)} -j RETURN")
        if tier.default is Action.DENY:
            yield Rule(f"{is_clear(marks.passed)} -g {dropped(Reason.TIER_DEFAULT)}", f"end of tier {tier.name}")
    for key in applies.profiles:
        yield Rule(f"{is_clear(marks.allowed)} -j {policy_chain(key, direction)}")
    if applies.profiles:
        yield Rule(f"{is_set(marks.allowed)} -j RETURN")


def tracked(settings: PolicySettings, marks: Marks) -> Iterator[Rule]:
    """What every endpoint begins with: nothing is decided yet, and what belongs to a conversation is allowed."""
    yield clear_mark(marks.both)
    yield Rule(f"{ESTABLISHED} -g {ALLOW}")
    yield from guard(settings)


def guard(settings: PolicySettings) -> Iterator[Rule]:
    """What is asked of a packet that no conversation vouches for, before any policy is."""
    yield Rule(f"-m conntrack --ctstate INVALID -g {dropped(Reason.INVALID)}")
    if not settings.lenient:
        new = "-p 6 -m conntrack --ctstate NEW -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN"
        yield Rule(f"{new} -g {dropped(Reason.MID_STREAM)}")
