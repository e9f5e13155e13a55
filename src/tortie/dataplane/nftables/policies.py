"""The policies of this node and the rules that they become, each compiled once for everybody who goes through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from tortie.dataplane.nftables.chains import Compiled, Place, ask
from tortie.dataplane.nftables.match import Prefixes
from tortie.intent.policy import Family, ObjectKey, Policy, SetId


class _Kept(NamedTuple):
    prefixes: Mapping[SetId, Prefixes]  # of the sets that it names, when it was compiled
    compiled: Compiled


class Policies:
    """`prefixes_of` says where those of a set stand now, of a family: rules that ask it look different then."""

    def __init__(self, prefixes_of: Callable[[SetId, Family], Prefixes]) -> None:
        self._prefixes_of = prefixes_of
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
        prefixes = {each: self._prefixes_of(each, place.family) for each in self._sets[key]}
        kept = self._compiled.setdefault(key, {})
        found = kept.get(place)
        if found is None or found.prefixes != prefixes:
            compiled = ask(self._policies[key], place, prefixes.__getitem__)
            found = kept[place] = _Kept(prefixes, compiled)
        return found.compiled
