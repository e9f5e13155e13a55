"""Which changes of policy may deny what passed: only after these are tracked connections looked at.

In a large cluster members come into sets all the time, nearly always to be allowed; a set that only grows closes
nothing where it is only named by rules that allow.
"""

from __future__ import annotations

from typing import NamedTuple

from tortie.intent.policy import Action, Policy, SetId
from tortie.intent.state import PolicyChanges


class _Stance(NamedTuple):
    """A policy's sets by what closes: that they grow, or that they shrink."""

    growing: frozenset[SetId] = frozenset()
    shrinking: frozenset[SetId] = frozenset()
    staged: bool = False


class Closing:
    """Follows the changes."""

    def __init__(self) -> None:
        self._stances: dict[object, _Stance] = {}
        self._sets: set[SetId] = set()

    def take(self, changes: PolicyChanges) -> bool:
        """Whether something that passed may be denied from now on."""
        closes = bool(changes.workloads or changes.host_endpoints or changes.settings)
        for key, policy in changes.policies.items():
            before = self._stances.pop(key, None)
            if policy is not None:
                self._stances[key] = after = _stance(policy)
                # Nobody is under a new policy but by a change of endpoints.
                closes |= before is not None and not (before.staged and after.staged)
        for set_id, delta in changes.changed_sets.items():
            closes |= bool(delta.added) and any(set_id in each.growing for each in self._stances.values())
            closes |= bool(delta.removed) and any(set_id in each.shrinking for each in self._stances.values())
        new = {each.id for each in changes.new_sets}
        closes |= not self._sets.isdisjoint(new)  # in the place of others
        self._sets |= new
        self._sets -= changes.gone_sets - new
        return closes


def _stance(policy: Policy) -> _Stance:
    if policy.staged:
        return _Stance(staged=True)
    growing: set[SetId] = set()
    shrinking: set[SetId] = set()
    for rule in (*policy.ingress, *policy.egress):
        for end in (rule.source, rule.destination):
            named = {*end.sets, *end.port_sets}
            excepted = {*end.not_sets, *end.not_port_sets}
            if rule.action in (Action.DENY, Action.PASS):
                growing |= named
                shrinking |= excepted
            if rule.action in (Action.ALLOW, Action.PASS):
                shrinking |= named
                growing |= excepted
    return _Stance(frozenset(growing), frozenset(shrinking))
