"""Chains of endpoints and of tiers.

    endpoint ─▶ tier ─▶ policy    each a chain for each direction and family, called by the one before, and shared by
             ─▶ profile           all that go through the same; everything ends in a verdict

Of many policies of a tier a map leads to those that may decide the packet (`intent/candidates.py`): to the chain of the
policy, or to one that calls several. A map is named by what is in it and never changes, so it is whole before a chain
asks it.

No way through the chains gets longer by another tier: the kernel refuses one of more than 16 (NFT_JUMP_STACK_SIZE).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tortie.dataplane.naming import digest
from tortie.dataplane.nftables.chains import Compiled, Place, call
from tortie.dataplane.nftables.match import ADDRESS, side
from tortie.dataplane.nftables.rows import ChainSpec, KernelRule, Kind, MemberKey, RowKey, Rows, SetSpec
from tortie.intent.candidates import Index, Step, candidates
from tortie.intent.folding import Field
from tortie.intent.policy import Action, Chain, Direction, Family, ObjectKey, Tier
from tortie.intent.verdict import Reason
from tortie.kernel.netfilter.datatype import SERVICE, VERDICT, DataType
from tortie.kernel.netfilter.expression import VERDICT_REGISTER, Lookup, Payload
from tortie.kernel.netfilter.rule import body
from tortie.kernel.netfilter.verdict import ACCEPT, Verdict, jump

AskPolicy = Callable[[ObjectKey, Place], Compiled]
"""`ask` of a policy by its key."""


def endpoint_chain(chain: Chain, place: Place, ask_policy: AskPolicy) -> tuple[str, Rows]:
    """The chain that an endpoint's packets of a family go through; its name, and all that it needs."""
    rules: list[KernelRule] = []
    rows: Rows = {}
    for tier in chain.tiers:
        name = tier_chain_name(tier, place)
        asked = {key: ask_policy(key, place) for key in tier.policies}
        for each in asked.values():
            rows |= each.rows
        steps = candidates((key, each.reach) for key, each in asked.items())
        inside = _in_turn(steps, asked, place, rows)
        if tier.default is Action.DENY:
            inside.append(call(place.drop(Reason.TIER_DEFAULT), f"end of tier {tier.name}"))
        rows[RowKey(Kind.CHAIN, name)] = ChainSpec(tuple(inside))
        rules.append(call(jump(name), f"tier {tier.name}"))
    for key in chain.profiles:
        found = ask_policy(key, place)
        rules += found.rules
        rows |= found.rows
    rules.append(call(ACCEPT) if place.ends_open else call(place.drop(Reason.NO_PROFILE_MATCHED), "no profile matched"))
    name = f"{_way(place.direction, place.family)}-{digest(rules)}"
    rows[RowKey(Kind.CHAIN, name)] = ChainSpec(tuple(rules))
    return name, rows


def _in_turn(steps: Iterable[Step], asked: Mapping[ObjectKey, Compiled], place: Place, rows: Rows) -> list[KernelRule]:
    """What asks policies one after the other, or by a map; adds to `rows` what that needs."""
    rules: list[KernelRule] = []
    for step in steps:
        if isinstance(step, Index):
            rules.append(_by_map(step, asked, place, rows))
        else:
            rules += asked[step].rules
    return rules


def _by_map(index: Index, asked: Mapping[ObjectKey, Compiled], place: Place, rows: Rows) -> KernelRule:
    value, datatype = _field(index.field, place.family)
    spec = SetSpec((datatype,), (VERDICT,), not index.exact)
    chains: dict[tuple[Step, ...], str] = {}  # of equal lists one
    members: dict[tuple[bytes, bytes | None], Verdict] = {}
    for (first, last), steps in index.entries:
        if steps not in chains:
            chains[steps] = _chain_of(steps, asked, place, rows)
        ends = first.to_bytes(datatype.length, "big"), last.to_bytes(datatype.length, "big") if spec.interval else None
        members[ends] = jump(chains[steps])
    name = f"index-{digest(spec, members)}"
    rows[RowKey(Kind.SET, name)] = spec
    for (first_key, last_key), verdict in members.items():
        rows[RowKey(Kind.MEMBER, MemberKey(name, first_key, last_key))] = verdict
    comment = f"{len(index.policies)} policies by {index.field}"
    return KernelRule(body((value, Lookup(name, into=VERDICT_REGISTER))), comment)


def _chain_of(steps: tuple[Step, ...], asked: Mapping[ObjectKey, Compiled], place: Place, rows: Rows) -> str:
    """That of the policy, if it is one."""
    if len(steps) == 1 and not isinstance(steps[0], Index):
        return asked[steps[0]].chain
    rules = _in_turn(steps, asked, place, rows)
    name = f"{_way(place.direction, place.family)}-some-{digest(rules)}"
    rows[RowKey(Kind.CHAIN, name)] = ChainSpec(tuple(rules))
    return name


def _field(field: Field, family: Family) -> tuple[Payload, DataType]:
    """Where it stands in a packet. What has no ports has other bytes there: who is asked then has no rule for it."""
    end = side(family, source=field in (Field.SOURCE, Field.SOURCE_PORT))
    if field in (Field.SOURCE, Field.DESTINATION):
        return end.address, ADDRESS[family]
    return end.port, SERVICE


def tier_chain_name(tier: Tier, place: Place) -> str:
    """By what is asked there, not by the rules: those of policies that pass change in their place."""
    return tier_prefix(place.direction, place.family) + digest(tier, place)


def tier_prefix(direction: Direction, family: Family) -> str:
    """What the names of the chains of all tiers begin with, and of no others."""
    return f"{_way(direction, family)}-tier-"


def _way(direction: Direction, family: Family) -> str:
    return f"{'to' if direction is Direction.INGRESS else 'from'}{family}"
