"""The policies of this node and the chains that they become, each compiled once for everybody who goes through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tortie.dataplane.nftables.chains import Place, policy_chain
from tortie.dataplane.nftables.rows import Rows
from tortie.intent.policy import Family, ObjectKey, Policy, SetId

Asked = tuple[Place, str]
"""Where a policy is asked, and the chain of what comes after its tier."""


class _Compiled(NamedTuple):
    with_networks: frozenset[SetId]  # of the sets that it names, when it was compiled
    name: str
    rows: Rows


class Policies:
    """`has_networks` says whether a set holds prefixes of a family now: rules that ask it look different then."""

    def __init__(self, has_networks: Callable[[SetId, Family], bool]) -> None:
        self._has_networks = has_networks
        self._policies: dict[ObjectKey, Policy] = {}
        self._sets: dict[ObjectKey, frozenset[SetId]] = {}  # that a policy names
        self._compiled: dict[ObjectKey, dict[Asked, _Compiled]] = {}

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

    def chain(self, key: ObjectKey, place: Place, rest: str) -> tuple[str, Rows]:
        """See `policy_chain`. Who gets the rows may not change them."""
        family = place.family
        with_networks = frozenset(each for each in self._sets[key] if self._has_networks(each, family))
        compiled = self._compiled.setdefault(key, {})
        found = compiled.get((place, rest))
        if found is None or found.with_networks != with_networks:
            name, rows = policy_chain(self._policies[key], place, rest, with_networks.__contains__)
            found = compiled[place, rest] = _Compiled(with_networks, name, rows)
        return found.name, found.rows
