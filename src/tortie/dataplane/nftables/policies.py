"""The policies of this node and the rules that they become, each compiled once for everybody who goes through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tortie.dataplane.nftables.chains import Compiled, Place, ask
from tortie.intent.policy import Family, ObjectKey, Policy, SetId


class _Kept(NamedTuple):
    with_networks: frozenset[SetId]  # of the sets that it names, when it was compiled
    compiled: Compiled


class Policies:
    """`has_networks` says whether a set holds prefixes of a family now: rules that ask it look different then."""

    def __init__(self, has_networks: Callable[[SetId, Family], bool]) -> None:
        self._has_networks = has_networks
        self._policies: dict[ObjectKey, Policy] = {}
        self._sets: dict[ObjectKey, frozenset[SetId]] = {}  # that a policy names
        self._compiled: dict[ObjectKey, dict[Place, _Kept]] = {}

    def put(self, key: ObjectKey, policy: Policy | None) -> None:
        """Takes a policy in the place of the one before; None: it is gone."""
        self._compiled.pop(key, None)
        if policy is None:
            self._policies.pop(key, None)
            self._sets.pop(key, None)
        else:
            self._policies[key] = policy
            self._sets[key] = frozenset(policy.sets())

    def get(self, key: ObjectKey) -> Policy | None:
        return self._policies.get(key)

    def sets(self, key: ObjectKey) -> frozenset[SetId]:
        """Those that a policy names; none of one that is not there."""
        return self._sets.get(key, frozenset())

    def ask(self, key: ObjectKey, place: Place) -> Compiled:
        """See `chains.ask`. Who gets the rows may not change them."""
        sets = self._sets[key]
        with_networks = sets and frozenset(each for each in sets if self._has_networks(each, place.family))
        kept = self._compiled.setdefault(key, {})
        found = kept.get(place)
        if found is None or found.with_networks != with_networks:
            compiled = ask(self._policies[key], place, with_networks.__contains__)
            found = kept[place] = _Kept(with_networks, compiled)
        return found.compiled
