"""Who is hit by what: the policies of an endpoint in the order they are asked in, and the endpoints of a policy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tortie.errors import UsageError
from tortie.explain.cluster import Cluster
from tortie.explain.observed import RuleKey
from tortie.explain.party import find_party
from tortie.explain.words import rule_in_words
from tortie.intent.policy import SET_ABOVE_LIMIT, WHOLE_OBJECT, Chain, Direction, HostEndpointPolicy, WorkloadPolicy
from tortie.model.names import suggestion
from tortie.model.resource import ResourceKey

KINDS = (
    *("GlobalNetworkPolicy", "NetworkPolicy", "StagedGlobalNetworkPolicy", "StagedNetworkPolicy"),
    "Profile",
)

Endpoint = WorkloadPolicy | HostEndpointPolicy


class Listed(NamedTuple):
    """A rule of a policy as it was written."""

    key: RuleKey
    text: str  # in words

    @property
    def name(self) -> str:
        return f"{self.key[1]} {self.key[2]}" if self.key[2] >= 0 else f"{self.key[1]}, as a whole"


class Place(NamedTuple):
    """Where a policy or a profile stands for an endpoint."""

    endpoint: ResourceKey
    node: str
    chain: str  # ingress, egress; of host endpoints also `forward ingress`, `untracked egress`, `preDNAT ingress`
    tier: str  # empty for a profile
    policy: ResourceKey
    number: int  # from 1 on, of those that are asked in this chain
    tier_default: str  # what the tier does with what its policies leave undecided

    @property
    def direction(self) -> str:
        """Of the rules that are asked: ingress or egress."""
        return self.chain.rpartition(" ")[2]


def policies_of(cluster: Cluster, endpoint: ResourceKey) -> list[Place]:
    """Everything that is asked about packets of an endpoint, chain by chain, in its order."""
    state = cluster.whole
    found: Endpoint | None = state.workloads.get(endpoint) or state.host_endpoints.get(endpoint)
    return [] if found is None else list(_places(cluster, found))


def endpoints_of(cluster: Cluster, policy: ResourceKey) -> list[Place]:
    """Where a policy or a profile is asked, endpoint by endpoint."""
    state = cluster.whole
    every: list[Endpoint] = [*state.workloads.values(), *state.host_endpoints.values()]
    places = (place for each in sorted(every, key=lambda each: each.key) for place in _places(cluster, each))
    return [place for place in places if place.policy == policy]


def rules_of(cluster: Cluster, policy: ResourceKey, direction: str) -> list[Listed]:
    """The rules of a policy or a profile in a direction; of one that is closed what stands for all of them."""
    found = cluster.get(policy)
    if found is None:
        return [Listed((str(policy), direction, WHOLE_OBJECT), "closed, since it breaks the rules of its kind")]
    if (oversize := cluster.whole.oversize.get(policy)) is not None:
        return [Listed((str(policy), direction, SET_ABOVE_LIMIT), f"closed, since {oversize}")]
    rules = found.spec.ingress if direction == Direction.INGRESS else found.spec.egress
    return [Listed((str(policy), direction, n), rule_in_words(rule)) for n, rule in enumerate(rules)]


def find_endpoint(cluster: Cluster, text: str) -> ResourceKey:
    """A host endpoint by its name, or a workload's by any of its names or addresses; raises UsageError."""
    host = ResourceKey("HostEndpoint", "", text)
    if cluster.get(host) is not None:
        return host
    party = find_party(cluster, text)
    if party.endpoint is None:
        raise UsageError(f"{text} is no endpoint: policies apply to workload endpoints and host endpoints")
    return party.endpoint


def find_policy(cluster: Cluster, text: str) -> ResourceKey:
    """A policy or a profile by `name`, `namespace/name` or `Kind/name`; raises UsageError."""
    before, _, name = text.rpartition("/")
    known = [key for key in cluster.keys if key.kind in KINDS]
    found = [key for key in known if key.name == name and before in ("", key.namespace, key.kind)]
    if len(found) == 1:
        return found[0]
    if found:
        each = ", ".join(f"{key.kind}/{key.name}" if not key.namespace else str(key) for key in found)
        raise UsageError(f"{text!r} may be any of {each}: write the namespace or the kind before a slash")
    raise UsageError(f"there is no policy or profile called {text!r}{suggestion(name, {key.name for key in known})}")


def _places(cluster: Cluster, endpoint: Endpoint) -> Iterator[Place]:
    resource = cluster.get(endpoint.key)
    node = "" if resource is None else resource.spec.node
    for name, chain in chains_of(endpoint):
        number = 0
        for tier in chain.tiers:
            for policy in tier.policies:
                number += 1
                yield Place(endpoint.key, node, name, tier.name, policy, number, str(tier.default))
        for profile in chain.profiles:
            number += 1
            yield Place(endpoint.key, node, name, "", profile, number, "")


def chains_of(endpoint: Endpoint) -> Iterator[tuple[str, Chain]]:
    """Every chain that packets of an endpoint are held against, by its name."""
    if isinstance(endpoint, WorkloadPolicy):
        for direction in Direction:
            yield str(direction), endpoint.policy.chain(direction)
        return
    if endpoint.pre_dnat.tiers:
        yield "preDNAT ingress", endpoint.pre_dnat
    for sort, ways in (("untracked ", endpoint.untracked), ("", endpoint.normal), ("forward ", endpoint.forward)):
        for direction in Direction:
            chain = ways.chain(direction)
            if chain.tiers or not sort:
                yield f"{sort}{direction}", chain
