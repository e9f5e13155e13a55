"""Policies and profiles that name a set above maxIpsetSize, and the endpoints that are closed by that.

Nobody can say what such a rule means, as its set is not in the kernel. So a denial stands in the place of the policy,
and it alone, in both directions, wherever the policy has a say: for a workload everything, for a host endpoint the
stages that it takes part in.

Invariants:
* Who names no such set is not touched, and all is as before when the set shrinks or the limit rises.
* Staged policies decide nothing, so one of them closes nothing: it counts nothing meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tortie.calc.policies import Chains, PolicyCalculator, named
from tortie.calc.rulebook import denial
from tortie.calc.sets import SetCalculator
from tortie.intent.policy import SET_ABOVE_LIMIT, BothWays, Chain, Oversize, Policy, Tier
from tortie.model.resource import ResourceKey


class Closed(NamedTuple):
    """What a flush changes."""

    policies: Mapping[ResourceKey, Policy | None]  # as PolicyChanges
    endpoints: set[ResourceKey]  # closed or opened
    oversize: Mapping[ResourceKey, Oversize] | None  # None: as before


class Closing:
    """Between what policies say and what comes out."""

    def __init__(self, sets: SetCalculator, policies: PolicyCalculator) -> None:
        self._sets = sets
        self._policies = policies
        self._oversize: Mapping[ResourceKey, Oversize] = {}
        self._denials: dict[ResourceKey, Policy] = {}

    def flush(self, changes: Mapping[ResourceKey, Policy | None]) -> Closed:
        """Denials in the place of policies, out of what changed; policies and sets are flushed before."""
        oversize = {key: each for key, each in self._sets.withheld().items() if self._policies.is_out(key)}
        # What was withheld stays so until its other sets are filled too.
        still = {key: each for key, each in self._oversize.items() if self._policies.waits(key)}
        oversize = dict(sorted((still | oversize).items()))
        before, self._denials = self._denials, {key: _denial(self._policies.rules_of(key)) for key in oversize}
        policies = {key: value for key, value in changes.items() if key not in self._denials}
        policies |= {key: value for key, value in self._denials.items() if value != before.get(key)}
        for key in before.keys() - self._denials.keys() - changes.keys():
            policies[key] = self._policies.rules_of(key)
        turned = before.keys() ^ self._denials.keys()
        endpoints = {endpoint for key in turned for endpoint in self._policies.users(key)}
        news = oversize if oversize != self._oversize else None
        self._oversize = oversize
        return Closed(policies, endpoints, news)

    def closed(self, chains: Chains) -> Chains:
        """What applies to an endpoint, closed where a denial stands in it."""
        if not self._denials or named(chains).isdisjoint(self._denials):
            return chains
        before = self._closing_chain(chains.pre_dnat)
        return Chains(
            normal=self._both(chains.normal),
            forward=self._both(chains.forward),
            untracked=self._both(chains.untracked),
            pre_dnat=chains.pre_dnat if before is None else before,
        )

    def _both(self, ways: BothWays) -> BothWays:
        chain = self._closing_chain(ways.ingress) or self._closing_chain(ways.egress)
        return ways if chain is None else BothWays(ingress=chain, egress=chain)

    def _closing_chain(self, chain: Chain) -> Chain | None:
        """The first denial in a chain, alone; None where there is none."""
        for tier in chain.tiers:
            for key in tier.policies:
                if key in self._denials and not self._denials[key].staged:
                    return Chain(tiers=(Tier(name=tier.name, policies=(key,)),))
        return next((Chain(profiles=(key,)) for key in chain.profiles if key in self._denials), None)


def _denial(policy: Policy) -> Policy:
    if policy.staged:
        return Policy(key=policy.key, staged=True)
    tier = (*policy.ingress, *policy.egress)[0].origin.tier
    return denial(policy.key, tier, SET_ABOVE_LIMIT)
