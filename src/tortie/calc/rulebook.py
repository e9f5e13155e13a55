"""Whole policies and profiles, translated: their rules, and the sets that these name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tortie.calc.applied import Applied
from tortie.calc.rules import Translated, translate
from tortie.calc.sets import Wanted
from tortie.intent.policy import WHOLE_OBJECT, Action, Direction, Policy, Rule, RuleOrigin
from tortie.model.kinds.profile import DEFAULT_ALLOW, ProfileSpec
from tortie.model.resource import ResourceKey
from tortie.model.rule import Rule as WrittenRule


class Rulebook(NamedTuple):
    """A policy or profile with every set that it needs."""

    policy: Policy
    wanted: frozenset[Wanted]


def of_policy(policy: Applied) -> Rulebook:
    """The rules of a policy."""
    if policy.broken:
        return Rulebook(denial(policy.key, policy.tier), frozenset())
    namespace = policy.key.namespace
    ingress, egress = (
        list(_rules(getattr(policy, direction), policy.tier, policy.key, direction, namespace))
        for direction in Direction
    )
    whole = Policy(key=policy.key, ingress=_bare(ingress), egress=_bare(egress), staged=policy.staged)
    return Rulebook(whole, _wanted((*ingress, *egress)))


def of_profile(key: ResourceKey, spec: ProfileSpec | None) -> Rulebook:
    """The rules of a profile; None: it does not exist."""
    if key == DEFAULT_ALLOW.key:
        spec = DEFAULT_ALLOW.spec
    if spec is None:
        return Rulebook(denial(key, ""), frozenset())
    ingress, egress = (
        list(_rules(rules, "", key, direction, ""))
        for rules, direction in ((spec.ingress, Direction.INGRESS), (spec.egress, Direction.EGRESS))
    )
    return Rulebook(Policy(key=key, ingress=_bare(ingress), egress=_bare(egress)), _wanted((*ingress, *egress)))


def _rules(
    rules: tuple[WrittenRule, ...], tier: str, key: ResourceKey, direction: Direction, namespace: str
) -> Iterator[Translated]:
    for number, rule in enumerate(rules):
        found = translate(rule, RuleOrigin(tier, key, direction, number), namespace)
        if found is not None:
            yield found


def _bare(translated: Iterable[Translated]) -> tuple[Rule, ...]:
    return tuple(each.rule for each in translated)


def _wanted(translated: Iterable[Translated]) -> frozenset[Wanted]:
    wanted: set[Wanted] = set()
    for each in translated:
        wanted |= each.selectors
        wanted |= each.named_ports
    return frozenset(wanted)


def denial(key: ResourceKey, tier: str, why: int = WHOLE_OBJECT) -> Policy:
    """Denies everything, in the name of an object that is missing or broken, or that names a set above the limit."""
    ingress, egress = (
        (Rule(origin=RuleOrigin(tier, key, direction, why), action=Action.DENY),) for direction in Direction
    )
    return Policy(key=key, ingress=ingress, egress=egress)
