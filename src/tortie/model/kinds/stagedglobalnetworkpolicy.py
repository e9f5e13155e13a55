"""StagedGlobalNetworkPolicy: a GlobalNetworkPolicy on trial, which decides nothing."""

from __future__ import annotations

from collections.abc import Iterator

from tortie.errors import Problem
from tortie.model.kind import Kind
from tortie.model.policy import (
    COLUMNS,
    KEPT_IN_DELETION,
    WIDE,
    GlobalPolicySpec,
    PolicyStatus,
    StagedAction,
    deletion_problems,
    fill_in,
    global_policy_problems,
    name_problems,
    needs_tier,
    without_types,
    write_defaults,
)
from tortie.model.resource import Resource


class StagedGlobalNetworkPolicySpec(GlobalPolicySpec, frozen=True, kw_only=True):
    """A policy for the whole cluster that is not enforced: what it would change can be watched first.

    Source: api/pkg/apis/projectcalico/v3/stagedglobalnetworkpolicy.go
    """

    staged_action: StagedAction = "Set"
    """What is tried. Set: the policy of this name as it stands here. Delete: its removal; every other field but tier
    must be absent. Learn and Ignore: nothing. Default: Set."""


def rules(policy: Resource[StagedGlobalNetworkPolicySpec]) -> Iterator[Problem]:
    yield from name_problems(policy.key.name, made=False)
    if policy.spec.staged_action == "Delete":
        yield from deletion_problems(policy.spec, KEPT_IN_DELETION)
    else:
        yield from global_policy_problems(policy)


def write(policy: Resource[StagedGlobalNetworkPolicySpec]) -> Resource[StagedGlobalNetworkPolicySpec]:
    written = write_defaults(policy)
    return without_types(written) if policy.spec.staged_action == "Delete" else written


KIND = Kind(
    name="StagedGlobalNetworkPolicy",
    plural="stagedglobalnetworkpolicies",
    aliases=("stagedglobalnetworkpolicy", "sgnp", "sgnps"),
    spec=StagedGlobalNetworkPolicySpec,
    status=PolicyStatus,
    columns=COLUMNS,
    wide=WIDE,
    on_read=fill_in,
    on_write=write,
    rules=rules,
    needs=needs_tier,
)
