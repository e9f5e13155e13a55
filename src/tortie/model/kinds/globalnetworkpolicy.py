"""GlobalNetworkPolicy: rules for workloads of all namespaces and for hosts."""

from __future__ import annotations

from collections.abc import Iterator

from tortie.errors import Problem
from tortie.model.kind import Kind
from tortie.model.policy import (
    COLUMNS,
    WIDE,
    GlobalPolicySpec,
    PolicyStatus,
    fill_in,
    global_policy_problems,
    name_problems,
    needs_tier,
    write_defaults,
)
from tortie.model.resource import Resource


class GlobalNetworkPolicySpec(GlobalPolicySpec, frozen=True, kw_only=True):
    """Rules for packets to and from the selected workload endpoints of all namespaces and the selected host endpoints.

    Source: api/pkg/apis/projectcalico/v3/globalnetworkpolicy.go
    """


def rules(policy: Resource[GlobalNetworkPolicySpec]) -> Iterator[Problem]:
    yield from name_problems(policy.key.name, made=False)
    yield from global_policy_problems(policy)


KIND = Kind(
    name="GlobalNetworkPolicy",
    plural="globalnetworkpolicies",
    aliases=("globalnetworkpolicy", "gnp", "gnps"),
    spec=GlobalNetworkPolicySpec,
    status=PolicyStatus,
    columns=COLUMNS,
    wide=WIDE,
    on_read=fill_in,
    on_write=write_defaults,
    rules=rules,
    needs=needs_tier,
)
