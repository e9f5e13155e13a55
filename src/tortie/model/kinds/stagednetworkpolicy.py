"""StagedNetworkPolicy: a NetworkPolicy on trial, which decides nothing."""

from __future__ import annotations

from collections.abc import Iterator

from tortie.errors import Problem
from tortie.model.kind import Kind
from tortie.model.policy import (
    COLUMNS,
    KEPT_IN_DELETION,
    WIDE,
    PolicySpec,
    PolicyStatus,
    StagedAction,
    deletion_problems,
    fill_in,
    name_problems,
    needs_tier,
    policy_problems,
    without_types,
    write_defaults,
)
from tortie.model.resource import Resource


class StagedNetworkPolicySpec(PolicySpec, frozen=True, kw_only=True):
    """A policy for one namespace that is not enforced: what it would change can be watched first.

    Source: api/pkg/apis/projectcalico/v3/stagednetworkpolicy.go
    """

    staged_action: StagedAction = "Set"
    """What is tried. Set: the policy of this name as it stands here. Delete: its removal; every other field but tier
    must be absent. Learn and Ignore: nothing. Default: Set."""


def rules(policy: Resource[StagedNetworkPolicySpec]) -> Iterator[Problem]:
    yield from name_problems(policy.key.name, made=True)
    if policy.spec.staged_action == "Delete":
        yield from deletion_problems(policy.spec, KEPT_IN_DELETION)
    else:
        yield from policy_problems(policy)


def write(policy: Resource[StagedNetworkPolicySpec]) -> Resource[StagedNetworkPolicySpec]:
    written = write_defaults(policy)
    return without_types(written) if policy.spec.staged_action == "Delete" else written


KIND = Kind(
    name="StagedNetworkPolicy",
    plural="stagednetworkpolicies",
    aliases=("stagednetworkpolicy", "stagedpolicy", "stagedpolicies", "snp", "spol", "spols"),
    spec=StagedNetworkPolicySpec,
    status=PolicyStatus,
    columns=COLUMNS,
    wide=WIDE,
    namespaced=True,
    on_read=fill_in,
    on_write=write,
    rules=rules,
    needs=needs_tier,
)
