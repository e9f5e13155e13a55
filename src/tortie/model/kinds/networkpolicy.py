"""NetworkPolicy: rules for the workloads of one namespace."""

from __future__ import annotations

from collections.abc import Iterator

from tortie.errors import Problem
from tortie.model.kind import Kind
from tortie.model.policy import (
    COLUMNS,
    WIDE,
    PolicySpec,
    PolicyStatus,
    fill_in,
    name_problems,
    needs_tier,
    policy_problems,
    write_defaults,
)
from tortie.model.resource import Resource


class NetworkPolicySpec(PolicySpec, frozen=True, kw_only=True):
    """Rules for packets to and from the selected workload endpoints of the policy's namespace.

    Source: api/pkg/apis/projectcalico/v3/networkpolicy.go
    """


def rules(policy: Resource[NetworkPolicySpec]) -> Iterator[Problem]:
    yield from name_problems(policy.key.name, made=True)
    yield from policy_problems(policy)


KIND = Kind(
    name="NetworkPolicy",
    plural="networkpolicies",
    aliases=("networkpolicy", "policy", "policies", "np", "pol", "pols"),
    spec=NetworkPolicySpec,
    status=PolicyStatus,
    columns=COLUMNS,
    wide=WIDE,
    namespaced=True,
    on_read=fill_in,
    on_write=write_defaults,
    rules=rules,
    needs=needs_tier,
)
