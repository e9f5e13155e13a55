"""Tier: a group of policies, which are looked at before those of the next tier."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from tortie.errors import Problem
from tortie.model.condition import Condition
from tortie.model.kind import NAME, Kind, column, with_status
from tortie.model.names import MAX_LABEL_PART_LENGTH, name_fault
from tortie.model.resource import Resource
from tortie.model.scalars import Order
from tortie.model.schema import Spec

DefaultAction = Literal["Deny", "Pass"]

DEFAULT_ORDER = Order(1_000_000)


class TierSpec(Spec, frozen=True, kw_only=True):
    """Where a tier stands among the tiers, and what becomes of packets that its policies leave undecided.

    Source: api/pkg/apis/projectcalico/v3/tier.go
    """

    order: Order = DEFAULT_ORDER
    """Where the tier stands: the lowest is first, equal ones go by name. Fixed in the built-in tiers: 1000 in
    kube-admin, 1000000 in default, 10000000 in kube-baseline. Default: 1000000."""

    default_action: DefaultAction = "Deny"
    """What becomes of a packet that policies of the tier apply to and no rule of them matches: Deny, or Pass to the
    next tier. Fixed in the built-in tiers: Deny in default, Pass in kube-admin and kube-baseline. Default: Deny."""


class TierStatus(Spec, frozen=True, kw_only=True):
    """What is known of the tier. Never absent, and often empty."""

    conditions: tuple[Condition, ...] = ()
    """The findings, one of each type."""


# In every cluster, under these names and no other specs.
BUILT_IN = {
    "default": TierSpec(),
    "kube-admin": TierSpec(order=Order(1_000), default_action="Pass"),
    "kube-baseline": TierSpec(order=Order(10_000_000), default_action="Pass"),
}


def rules(tier: Resource[TierSpec]) -> Iterator[Problem]:
    name = tier.key.name
    if not name_fault(name) and ("." in name or len(name) > MAX_LABEL_PART_LENGTH):
        yield Problem("metadata.name", name, f"must be at most {MAX_LABEL_PART_LENGTH} characters without a dot")


def write_rules(tier: Resource[TierSpec]) -> Iterator[Problem]:
    fixed = BUILT_IN.get(tier.key.name, tier.spec)
    if tier.spec.order != fixed.order:
        reason = f"must be {Order.to_json(fixed.order)} in the tier {tier.key.name}"
        yield Problem("spec.order", str(Order.to_json(tier.spec.order)), reason)
    if tier.spec.default_action != fixed.default_action:
        reason = f"must be {fixed.default_action} in the tier {tier.key.name}"
        yield Problem("spec.defaultAction", tier.spec.default_action, reason)


COLUMNS = (NAME, column("ORDER", lambda tier: tier.spec.order))

KIND = Kind(
    name="Tier",
    plural="tiers",
    aliases=("tier", "tiers"),
    spec=TierSpec,
    status=TierStatus,
    columns=COLUMNS,
    wide=COLUMNS,
    on_write=with_status,
    rules=rules,
    write_rules=write_rules,
    undeletable=frozenset(BUILT_IN),
    list_order=lambda tier: (tier.spec.order, tier.key.name),
)
