"""Chains of endpoints and of tiers.

    endpoint ─▶ tier ─▶ policy    each a chain for each direction and family, called by the one before, and shared by
             ─▶ profile           all that go through the same; everything ends in a verdict

No way through the chains gets longer by another tier: the kernel refuses one of more than 16 (NFT_JUMP_STACK_SIZE).
"""

from __future__ import annotations

from collections.abc import Callable

from tortie.dataplane.naming import digest
from tortie.dataplane.nftables.chains import Compiled, Place, call
from tortie.dataplane.nftables.rows import ChainSpec, KernelRule, Kind, RowKey, Rows
from tortie.intent.policy import Action, Chain, Direction, Family, ObjectKey, Tier
from tortie.intent.verdict import Reason
from tortie.kernel.netfilter.verdict import ACCEPT, jump

AskPolicy = Callable[[ObjectKey, Place], Compiled]
"""`ask` of a policy by its key."""


def endpoint_chain(chain: Chain, place: Place, ask_policy: AskPolicy) -> tuple[str, Rows]:
    """The chain that an endpoint's packets of a family go through; its name, and all that it needs."""
    rules: list[KernelRule] = []
    rows: Rows = {}
    for tier in chain.tiers:
        name = tier_chain_name(tier, place)
        asked = [ask_policy(key, place) for key in tier.policies]
        inside = [rule for each in asked for rule in each.rules]
        if tier.default is Action.DENY:
            inside.append(call(place.drop(Reason.TIER_DEFAULT), f"end of tier {tier.name}"))
        for each in asked:
            rows |= each.rows
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


def tier_chain_name(tier: Tier, place: Place) -> str:
    """By what is asked there, not by the rules: those of policies that pass change in their place."""
    return tier_prefix(place.direction, place.family) + digest(tier, place)


def tier_prefix(direction: Direction, family: Family) -> str:
    """What the names of the chains of all tiers begin with, and of no others."""
    return f"{_way(direction, family)}-tier-"


def _way(direction: Direction, family: Family) -> str:
    return f"{'to' if direction is Direction.INGRESS else 'from'}{family}"
