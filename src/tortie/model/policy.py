"""What the kinds of policies have in common: their fields, the tier they are in, their rules, and how they are staged.

Calico's writers put the name of such an object also into an annotation, and its tier into a label; its readers take
the annotation away. Here an object goes by the name in its key, which the annotation then says too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from tortie.errors import Problem
from tortie.model.condition import Condition
from tortie.model.kind import NAME, Need, column
from tortie.model.names import DNS_LABEL, MAX_LABEL_PART_LENGTH, name_fault
from tortie.model.resource import Resource, ResourceKey
from tortie.model.rule import Rule, Rules, rule_problems
from tortie.model.scalars import Order
from tortie.model.schema import Spec
from tortie.model.selector import Selector

NAME_ANNOTATION = "projectcalico.org/metadata"
TIER_LABEL = "projectcalico.org/tier"
DEFAULT_TIER = "default"

PolicyType = Literal["Ingress", "Egress"]
StagedAction = Literal["Set", "Delete", "Learn", "Ignore"]
KEPT_IN_DELETION = ("staged_action", "tier", "types")  # types are taken away in writing

TierName = Annotated[
    str,
    Meta(
        pattern=rf"^({DNS_LABEL}|)\Z",
        max_length=MAX_LABEL_PART_LENGTH,
        description=f"must be the name of a tier: at most {MAX_LABEL_PART_LENGTH} lower-case letters, digits and -",
    ),
]

_NAME = re.compile(rf"({DNS_LABEL}\.)?{DNS_LABEL}")
# Names of policies made by others: of Kubernetes' policies, and of OpenStack's security groups.
_MADE_NAME = re.compile(rf"(knp|ossg)\.default\.{DNS_LABEL}(\.{DNS_LABEL})*")


class PolicySpec(Spec, frozen=True, kw_only=True):
    """The fields of every policy in a tier."""

    tier: TierName = DEFAULT_TIER
    """The tier that the policy is in. It must exist when the policy is created. Default: default."""

    order: Order | None = None
    """Where the policy stands in its tier: the lowest is first, equal ones go by name. Default: after all numbers."""

    ingress: Rules = ()
    """Rules for packets to the selected endpoints, at most 1024; the first that matches decides."""

    egress: Rules = ()
    """Rules for packets from the selected endpoints, at most 1024; the first that matches decides."""

    selector: Selector | None = None
    """Which endpoints the policy applies to, by their labels. Default: all."""

    types: tuple[PolicyType, ...] = ()
    """Which directions the policy applies to; in these, a packet that no rule of the tier matches meets the tier's
    default action. Default: Egress if there are only egress rules, both if there are rules of both, else Ingress."""

    service_account_selector: Selector | None = None
    """Only endpoints whose service account has such labels. Default: all."""

    performance_hints: tuple[Literal["AssumeNeededOnEveryNode"], ...] = ()
    """Hints that change no verdict. AssumeNeededOnEveryNode: prepare the policy where no endpoint needs it yet."""


class GlobalPolicySpec(PolicySpec, frozen=True, kw_only=True):
    """The fields of every policy of the whole cluster."""

    namespace_selector: Selector | None = None
    """Only endpoints in namespaces with such labels. Default: all, and host endpoints."""

    do_not_track: bool = False
    """Applies the policy at host endpoints before connections are tracked, and keeps what it allows untracked. Needs
    applyOnForward; not with preDNAT. Default: false."""

    pre_dnat: bool = False
    """Applies the policy at host endpoints before destinations are rewritten. Needs applyOnForward; no egress, and not
    with doNotTrack. Default: false."""

    apply_on_forward: bool = False
    """Applies the policy also to what a host endpoint forwards. Default: false."""


class PolicyStatus(Spec, frozen=True, kw_only=True):
    """What is known of the policy. Absent until somebody reports it."""

    conditions: tuple[Condition, ...] = ()
    """The findings, one of each type. Valid False means that Calico's programs ignore the policy."""


P = TypeVar("P", bound=PolicySpec)
G = TypeVar("G", bound=GlobalPolicySpec)


def fill_in(policy: Resource[P]) -> Resource[P]:
    """The policy as readers see it: with a tier, its label, and without the annotation."""
    tier = policy.spec.tier or DEFAULT_TIER
    metadata = policy.metadata
    annotations = {key: text for key, text in metadata.annotations.items() if key != NAME_ANNOTATION}
    labels = {TIER_LABEL: tier, **metadata.labels}
    return replace(
        policy,
        metadata=replace(metadata, labels=labels, annotations=annotations),
        spec=replace(policy.spec, tier=tier),
    )


def write_defaults(policy: Resource[P]) -> Resource[P]:
    """The policy as writers store it."""
    spec = policy.spec
    tier = spec.tier or DEFAULT_TIER
    name = msgspec.json.encode({"name": policy.key.name}).decode()
    metadata = policy.metadata
    return replace(
        policy,
        metadata=replace(
            metadata,
            labels={**metadata.labels, TIER_LABEL: tier},
            annotations={**metadata.annotations, NAME_ANNOTATION: name},
        ),
        spec=replace(spec, tier=tier, types=spec.types or _default_types(spec)),
    )


def _default_types(spec: PolicySpec) -> tuple[PolicyType, ...]:
    if not spec.egress:
        return ("Ingress",)
    return ("Ingress", "Egress") if spec.ingress else ("Egress",)


def policy_problems(policy: Resource[P]) -> Iterator[Problem]:
    """What is wrong with a policy of any kind."""
    spec = policy.spec
    for field, values in (("types", spec.types), ("performanceHints", spec.performance_hints)):
        yield from repeats(values, f"spec.{field}")
    yield from rule_problems(spec.ingress, "ingress")
    yield from rule_problems(spec.egress, "egress")


def global_policy_problems(policy: Resource[G]) -> Iterator[Problem]:
    """What is wrong with a policy of the whole cluster."""
    spec = policy.spec
    yield from policy_problems(policy)
    if spec.pre_dnat and spec.do_not_track:
        yield Problem("spec.preDNAT", "true", "must be absent beside doNotTrack")
    if spec.pre_dnat and spec.egress:
        yield Problem("spec.egress", f"{len(spec.egress)} rules", "must be absent beside preDNAT")
    if spec.pre_dnat and "Egress" in spec.types:
        yield Problem("spec.types", ", ".join(spec.types), "must not hold Egress beside preDNAT")
    if not spec.apply_on_forward and (spec.pre_dnat or spec.do_not_track):
        yield Problem("spec.applyOnForward", "false", "must be true beside preDNAT and doNotTrack")
    for direction, end in (("ingress", "source"), ("egress", "destination")):
        rules: tuple[Rule, ...] = getattr(spec, direction)
        for index, rule in enumerate(rules):
            service = getattr(rule, end).services
            if service is not None and not service.namespace:
                path = f"spec.{direction}[{index}].{end}.services.namespace"
                yield Problem(path, "", "is required: a policy of the whole cluster has no namespace of its own")


def repeats(values: tuple[str, ...], path: str) -> Iterator[Problem]:
    """What is wrong with a list that is a set."""
    if len(set(values)) != len(values):
        yield Problem(path, ", ".join(values), "must hold each value once")


def name_problems(name: str, *, made: bool) -> Iterator[Problem]:
    """What is wrong with a policy's name, where it may name an object at all; `made` also allows those of others."""
    if name_fault(name) or _NAME.fullmatch(name) or (made and _MADE_NAME.fullmatch(name)):
        return
    yield Problem("metadata.name", name, "must hold at most one dot")


def deletion_problems(spec: Spec, kept: tuple[str, ...]) -> Iterator[Problem]:
    """What the spec of a policy that stages a deletion says besides the fields `kept`."""
    absent = type(spec)()
    for field, name in zip(spec.__struct_fields__, spec.__struct_encode_fields__, strict=True):
        value = getattr(spec, field)
        is_absent = value == getattr(absent, field) or _says_nothing(value)
        if field not in kept and not is_absent:
            yield Problem(f"spec.{name}", "", "must be absent beside stagedAction Delete")


def _says_nothing(value: object) -> bool:
    if isinstance(value, Selector):
        return not value.source
    return isinstance(value, Spec) and value == type(value)()


def without_types(policy: Resource[P]) -> Resource[P]:
    """The policy for no direction, as one is stored that stages a deletion."""
    return replace(policy, spec=replace(policy.spec, types=()))


def needs_tier(policy: Resource[P]) -> Iterator[Need]:
    tier = policy.spec.tier or DEFAULT_TIER
    yield Need(ResourceKey("Tier", "", tier), "spec.tier", only_to_create=True)


def _order(policy: Resource[Any]) -> str:
    return "<nil>" if policy.spec.order is None else str(policy.spec.order)


COLUMNS = (NAME, column("TIER", lambda policy: policy.spec.tier))
WIDE = (
    *COLUMNS,
    column("ORDER", _order),
    column("SELECTOR", lambda policy: policy.spec.selector),
)
