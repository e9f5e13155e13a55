"""Which policies apply to which endpoints of this node, in which order, and what their rules are.

Only endpoints of this node come in, so only policies that apply to one of them are translated, and only the sets that
their rules name are computed.

Invariants:
* The result depends on the objects present, never on the order in which they came.
* What is missing closes: a profile that does not exist denies everything; a tier that does not exist comes last and
  denies what its policies leave undecided.
* A policy, or a change of one, comes out when the sets that its rules name are filled; until then it is as it was. An
  endpoint waits for a policy that never came out, and others do not wait for either.
* Staged policies decide nothing: a tier that holds no others for an endpoint lets everything pass on.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeGuard

import msgspec

from tortie.calc.applied import Applied, Sort, applied
from tortie.calc.labels import LabelIndex
from tortie.calc.rulebook import Rulebook, of_policy, of_profile
from tortie.calc.sets import SetCalculator, Wanted
from tortie.errors import Problem
from tortie.intent.policy import Action, BothWays, Chain, Direction, Policy, Tier
from tortie.model.kinds.profile import DEFAULT_ALLOW, ProfileSpec
from tortie.model.kinds.tier import BUILT_IN, TierSpec
from tortie.model.resource import Quarantined, Resource, ResourceKey
from tortie.model.selector import Selector
from tortie.model.selector.ast import Labels

_NO_SETS: Final = frozenset[Wanted]()


class Endpoint(NamedTuple):
    """What policies need to know of an endpoint of this node."""

    labels: Labels
    profiles: tuple[ResourceKey, ...]


class Chains(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that applies to an endpoint; a workload has the normal chains only."""

    normal: BothWays = BothWays()
    forward: BothWays = BothWays()
    untracked: BothWays = BothWays()
    pre_dnat: Chain = Chain()


class PolicyChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What became of policies and endpoints since the last flush; None: it is gone."""

    policies: Mapping[ResourceKey, Policy | None] = {}
    endpoints: Mapping[ResourceKey, Chains | None] = {}


class PolicyCalculator:
    """Policies, tiers, profiles and this node's endpoints in; their changes out."""

    def __init__(self, sets: SetCalculator) -> None:
        self._sets = sets
        self._index = LabelIndex[ResourceKey]()
        self._endpoints: dict[ResourceKey, Endpoint] = {}
        self._policies: dict[ResourceKey, Applied] = {}
        self._by_selector: dict[Selector, set[ResourceKey]] = {}
        self._by_tier: dict[str, set[ResourceKey]] = {}
        self._tiers: dict[str, TierSpec] = {}
        self._profiles: dict[ResourceKey, ProfileSpec] = {}
        self._dirty_endpoints: set[ResourceKey] = set()
        self._dirty_policies: set[ResourceKey] = set()  # and profiles
        self._chains: dict[ResourceKey, Chains] = {}  # as sent
        self._waiting_chains: dict[ResourceKey, Chains | None] = {}  # to be sent in their place
        self._rulebooks: dict[ResourceKey, Rulebook] = {}  # as sent
        self._waiting_rulebooks: dict[ResourceKey, Rulebook] = {}  # to be sent in their place
        self._users: dict[ResourceKey, set[ResourceKey]] = {}  # endpoints by policy or profile, as sent and to be sent
        self.missing: dict[ResourceKey, tuple[Problem, ...]] = {}  # profiles that an endpoint names, as sent

    # --- What comes in

    def put_policy(self, key: ResourceKey, value: Resource[Any] | Quarantined | None) -> None:
        before = self._policies.get(key)
        now = applied(value, before) if value is not None else None
        if now == before:
            return
        if before is not None:
            self._remove(before)
        if now is not None:
            self._add(now)
        self._dirty_policies.add(key)

    def put_tier(self, name: str, spec: TierSpec | None) -> None:
        if spec is None:
            self._tiers.pop(name, None)
        else:
            self._tiers[name] = spec
        for key in self._by_tier.get(name, ()):
            self._dirty_endpoints.update(self._selected(self._policies[key]))

    def put_profile(self, key: ResourceKey, spec: ProfileSpec | None) -> None:
        if spec is None:
            self._profiles.pop(key, None)
        else:
            self._profiles[key] = spec
        self._dirty_policies.add(key)

    def put_endpoint(self, key: ResourceKey, endpoint: Endpoint) -> None:
        self._endpoints[key] = endpoint
        self._index.put(key, endpoint.labels)
        self._dirty_endpoints.add(key)

    def drop_endpoint(self, key: ResourceKey) -> None:
        """Forgets an endpoint, if it is here."""
        if self._endpoints.pop(key, None) is not None:
            self._index.drop(key)
            self._dirty_endpoints.add(key)

    def _add(self, policy: Applied) -> None:
        self._policies[policy.key] = policy
        self._by_tier.setdefault(policy.tier, set()).add(policy.key)
        self._by_selector.setdefault(policy.selector, set()).add(policy.key)
        self._index.watch(policy.selector)
        self._dirty_endpoints.update(self._selected(policy))

    def _remove(self, policy: Applied) -> None:
        self._dirty_endpoints.update(self._selected(policy))
        del self._policies[policy.key]
        self._by_tier[policy.tier].discard(policy.key)
        same = self._by_selector[policy.selector]
        same.discard(policy.key)
        if not same:
            del self._by_selector[policy.selector]
            self._index.unwatch(policy.selector)

    def _selected(self, policy: Applied) -> Iterator[ResourceKey]:
        return self._index.members(policy.selector)

    # --- What comes out

    def is_out(self, key: Hashable) -> TypeGuard[ResourceKey]:
        """Whether it is a policy or profile that came out, as of the last flush."""
        return key in self._rulebooks

    def waits(self, key: ResourceKey) -> bool:
        """Whether it came out and some set of its rules is not filled."""
        return key in self._rulebooks and not all(map(self._sets.is_ready, self._rulebooks[key].wanted))

    def rules_of(self, key: ResourceKey) -> Policy:
        """The rules of a policy or profile that applies to an endpoint, as of the last flush."""
        return self._rulebooks[key].policy

    def users(self, key: ResourceKey) -> Iterable[ResourceKey]:
        """The endpoints that a policy or profile applies to, as of the last flush."""
        return self._users.get(key, ())

    def flush(self, max_set_size: int | None = None, members: int | None = None) -> PolicyChanges:
        """What changed, as far as sets are filled when of them so many `members` more are looked at."""
        for key in sorted(self._dirty_endpoints):
            self._look_at_endpoint(key)
        self._dirty_endpoints.clear()
        policies: dict[ResourceKey, Policy | None] = {}
        self._look_at_policies(policies)
        self._sets.fill(max_set_size, members)
        for key, book in list(self._waiting_rulebooks.items()):
            if all(map(self._sets.is_ready, book.wanted)):
                self._send_policy(key, policies)
        endpoints: dict[ResourceKey, Chains | None] = {}
        for key, now in list(self._waiting_chains.items()):
            if named(now) <= self._rulebooks.keys():
                self._send_endpoint(key, endpoints)
        self._look_at_policies(policies)  # those that nobody uses any more
        return PolicyChanges(policies=policies, endpoints=endpoints)

    def _look_at_endpoint(self, key: ResourceKey) -> None:
        endpoint, sent = self._endpoints.get(key), self._chains.get(key)
        now = None if endpoint is None else self._chains_of(key, endpoint)
        before = self._waiting_chains.pop(key, sent)
        if now != sent:
            self._waiting_chains[key] = now
        self._use(key, named(sent) | named(before), named(sent) | named(now))

    def _send_endpoint(self, key: ResourceKey, changes: dict[ResourceKey, Chains | None]) -> None:
        before, now = self._chains.pop(key, None), self._waiting_chains.pop(key)
        if now is not None:
            self._chains[key] = now
        changes[key] = now
        self._use(key, named(before) | named(now), named(now))

    def _use(self, key: ResourceKey, before: set[ResourceKey], now: set[ResourceKey]) -> None:
        """Which policies and profiles an endpoint goes through."""
        for policy in before - now:
            self._users[policy].discard(key)
        for policy in now - before:
            self._users.setdefault(policy, set()).add(key)
        self._dirty_policies |= before ^ now

    def _chains_of(self, key: ResourceKey, endpoint: Endpoint) -> Chains:
        found = [self._policies[each] for selector in self._index.matching(key) for each in self._by_selector[selector]]
        normal = [policy for policy in found if policy.sort in (Sort.NORMAL, Sort.FORWARD)]
        if key.kind == "WorkloadEndpoint":
            return Chains(normal=self._both(normal, endpoint.profiles))
        return Chains(
            normal=self._both(normal, endpoint.profiles),
            forward=self._both([policy for policy in found if policy.sort is Sort.FORWARD]),
            untracked=self._both([policy for policy in found if policy.sort is Sort.UNTRACKED], ends_open=True),
            pre_dnat=self._chain(
                [policy for policy in found if policy.sort is Sort.PRE_DNAT], Direction.INGRESS, ends_open=True
            ),
        )

    def _both(
        self, policies: list[Applied], profiles: tuple[ResourceKey, ...] = (), *, ends_open: bool = False
    ) -> BothWays:
        ingress, egress = (
            self._chain(policies, direction, profiles, ends_open=ends_open)
            for direction in (Direction.INGRESS, Direction.EGRESS)
        )
        return BothWays(ingress=ingress, egress=egress)

    def _chain(
        self,
        policies: list[Applied],
        direction: Direction,
        profiles: tuple[ResourceKey, ...] = (),
        *,
        ends_open: bool = False,
    ) -> Chain:
        by_tier: dict[str, list[Applied]] = {}
        for policy in policies:
            if direction in policy.directions:
                by_tier.setdefault(policy.tier, []).append(policy)
        return Chain(
            tiers=tuple(
                self._tier(name, by_tier[name], ends_open=ends_open) for name in sorted(by_tier, key=self._tier_place)
            ),
            profiles=profiles,
        )

    def _tier(self, name: str, policies: list[Applied], *, ends_open: bool) -> Tier:
        spec = self._tier_spec(name)
        passes = ends_open or all(policy.staged for policy in policies)
        passes = passes or (spec is not None and spec.default_action == "Pass")
        ordered = sorted(policies, key=lambda policy: policy.place)
        return Tier(
            name=name,
            policies=tuple(policy.key for policy in ordered),
            default=Action.PASS if passes else Action.DENY,
        )

    def _tier_place(self, name: str) -> tuple[bool, float, str]:
        spec = self._tier_spec(name)
        return spec is None, 0.0 if spec is None else spec.order, name

    def _tier_spec(self, name: str) -> TierSpec | None:
        return self._tiers.get(name) or BUILT_IN.get(name)

    def _look_at_policies(self, changes: dict[ResourceKey, Policy | None]) -> None:
        for key in sorted(self._dirty_policies):
            self._note_missing(key)
            if not self._users.get(key):
                self._drop_policy(key, changes)
            elif key.kind == "Profile" or key in self._policies:
                self._look_at_policy(key)
            # Else it is gone, and stays for an endpoint that waits for what comes in its place.
        self._dirty_policies.clear()

    def _look_at_policy(self, key: ResourceKey) -> None:
        now = of_profile(key, self._profiles.get(key)) if key.kind == "Profile" else of_policy(self._policies[key])
        self._sets.want(key, now.wanted)
        sent, waiting = self._rulebooks.get(key), self._waiting_rulebooks.pop(key, None)
        needed = now.wanted | (_NO_SETS if sent is None else sent.wanted)
        if waiting is not None:
            self._sets.release(key, waiting.wanted - needed)
        if now != sent:
            self._waiting_rulebooks[key] = now

    def _send_policy(self, key: ResourceKey, changes: dict[ResourceKey, Policy | None]) -> None:
        before, now = self._rulebooks.get(key), self._waiting_rulebooks.pop(key)
        if before is not None:
            self._sets.release(key, before.wanted - now.wanted)
        self._rulebooks[key] = now
        changes[key] = now.policy

    def _drop_policy(self, key: ResourceKey, changes: dict[ResourceKey, Policy | None]) -> None:
        self._users.pop(key, None)
        waiting, sent = self._waiting_rulebooks.pop(key, None), self._rulebooks.pop(key, None)
        self._sets.release(key, {each for book in (waiting, sent) if book is not None for each in book.wanted})
        if sent is not None:
            changes[key] = None

    def _note_missing(self, key: ResourceKey) -> None:
        self.missing.pop(key, None)
        users = self._users.get(key)
        if users and key.kind == "Profile" and key not in self._profiles and key != DEFAULT_ALLOW.key:
            more = f" and {len(users) - 1} more" if len(users) > 1 else ""
            self.missing[key] = (Problem("", "", f"it does not exist: nothing passes {min(users)}{more} by it"),)


def named(chains: Chains | None) -> set[ResourceKey]:
    """Every policy and profile that an endpoint names."""
    if chains is None:
        return set()
    ways = (chains.normal, chains.forward, chains.untracked)
    every = [chain for way in ways for chain in (way.ingress, way.egress)] + [chains.pre_dnat]
    return {key for chain in every for key in chain.policies_and_profiles()}
