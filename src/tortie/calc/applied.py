"""Stored policies -> policies as they are to be applied: where, to whom, in which directions.

Invariants:
* A policy that is broken goes on as it last was. One that never was in order denies all in its directions, to the
  endpoints that it selects; if even its selector cannot be read it applies to nobody.
* A policy without types is for both directions, as Felix reads it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from tortie.calc.rules import applies_to
from tortie.intent.policy import Direction
from tortie.model.policy import DEFAULT_TIER, GlobalPolicySpec, PolicySpec
from tortie.model.resource import Quarantined, Resource, ResourceKey
from tortie.model.rule import Rule
from tortie.model.selector import Selector, SelectorError, parse


class Sort(StrEnum):
    """At which places of a packet's way a policy applies."""

    NORMAL = "normal"
    FORWARD = "forward"  # normal, and to what a host endpoint forwards
    UNTRACKED = "untracked"  # host endpoints only, before connection tracking
    PRE_DNAT = "preDNAT"  # host endpoints only, before the destination is translated


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """A policy as it is to be applied."""

    key: ResourceKey
    tier: str
    order: float
    selector: Selector
    directions: frozenset[Direction]
    sort: Sort = Sort.NORMAL
    staged: bool = False
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    broken: bool = False  # denies all in its directions

    @property
    def place(self) -> tuple[float, str]:
        """Where it stands in its tier."""
        key = self.key
        return self.order, f"{key.name}/{key.namespace}/{key.kind}"


def applied(value: Resource[Any] | Quarantined, before: Applied | None) -> Applied | None:
    """A stored policy as it is to be applied; None: to nobody. `before` is how it was applied until now."""
    if isinstance(value, Quarantined):
        return before or _closing(value)
    spec: PolicySpec = value.spec
    if getattr(spec, "staged_action", "Set") == "Delete":
        return None
    directions = [Direction(each.lower()) for each in spec.types] or list(Direction)
    return Applied(
        key=value.key,
        tier=spec.tier,
        order=math.inf if spec.order is None else float(spec.order),
        selector=applies_to(
            spec.selector,
            getattr(spec, "namespace_selector", None),
            spec.service_account_selector,
            value.key.namespace,
        ),
        directions=frozenset(directions),
        sort=_sort(spec),
        staged=value.key.kind.startswith("Staged"),
        ingress=spec.ingress,
        egress=spec.egress,
    )


def _sort(spec: PolicySpec) -> Sort:
    if not isinstance(spec, GlobalPolicySpec):
        return Sort.NORMAL
    if spec.do_not_track:
        return Sort.UNTRACKED
    if spec.pre_dnat:
        return Sort.PRE_DNAT
    return Sort.FORWARD if spec.apply_on_forward else Sort.NORMAL


def _closing(value: Quarantined) -> Applied | None:
    """What stands for a policy that never was in order."""
    spec = (value.document or {}).get("spec")
    if not isinstance(spec, dict) or value.key.kind.startswith("Staged"):
        return None
    try:
        selector, namespaces, accounts = (
            _readable(spec, field) for field in ("selector", "namespaceSelector", "serviceAccountSelector")
        )
    except SelectorError:
        return None
    types = spec.get("types")
    named = [each.lower() for each in types if isinstance(each, str)] if isinstance(types, list) else []
    directions = frozenset(each for each in Direction if each in named) or frozenset(Direction)
    tier = spec.get("tier")
    order = spec.get("order")
    return Applied(
        key=value.key,
        tier=tier if isinstance(tier, str) and tier else DEFAULT_TIER,
        order=float(order) if isinstance(order, int | float) and not isinstance(order, bool) else math.inf,
        selector=applies_to(selector, namespaces, accounts, value.key.namespace),
        directions=directions,
        broken=True,
    )


def _readable(spec: Mapping[str, Any], field: str) -> Selector | None:
    """A selector of a document that breaks other rules; raises SelectorError for one that cannot be read."""
    text = spec.get(field)
    if text is None:
        return None
    if not isinstance(text, str):
        raise SelectorError(str(text), 1, "a text")
    return parse(text)
