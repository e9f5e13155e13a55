"""Endpoints on their way to `l3`: each is handed over when its policy is in force, and told of while it waits.

Invariants:
* No endpoint is routed before its policy is in force; what is not wanted any more goes at once.
* At a start all are handed over together: `l3` removes what it was not told of, and a route to an interface that is
  closed harms nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from tortie.agent.enforcement import Enforcement
from tortie.dataplane.l3 import L3
from tortie.intent.l3 import LocalEndpoint
from tortie.intent.report import EndpointReport, EndpointState
from tortie.model.resource import ResourceKey


class Reports(NamedTuple):
    """By `namespace/name`."""

    all: Mapping[str, EndpointReport]
    errors: Mapping[str, EndpointReport]


class Routing:
    """Between policy and l3."""

    def __init__(self, policy: Enforcement, l3: L3) -> None:
        self._policy = policy
        self._l3 = l3
        self._waiting: dict[ResourceKey, LocalEndpoint] = {}

    def take(self, endpoints: Mapping[ResourceKey, LocalEndpoint | None]) -> None:
        """Takes the endpoints that changed; None: it is gone."""
        for key, endpoint in endpoints.items():
            if endpoint is None:
                self._waiting.pop(key, None)
                self._l3.desire(key, None)
            else:
                self._waiting[key] = endpoint

    def hand_over(self, *, at_start: bool) -> None:
        """Hands the endpoints to l3 that need not wait; of an interface that is the host's own l3 says why not."""
        for key, endpoint in list(self._waiting.items()):
            needs_none = endpoint.refused or self._policy.leaves_alone(endpoint.interface)
            if at_start or needs_none or not self._policy.missing(key):
                self._l3.desire(key, endpoint)
                del self._waiting[key]

    @property
    def waits(self) -> bool:
        """Some are not routed because their policy is not in force."""
        return bool(self._waiting)

    @property
    def reports(self) -> Reports:
        """What l3 says of each endpoint, but of those whose policy is not in force that, and of those that are closed
        why."""
        told, own = self._l3.reports, self._reports()
        return Reports({**told, **own} if own else told, {**self._l3.errors, **own})

    def _reports(self) -> dict[str, EndpointReport]:
        """Those that say another thing than l3; all are errors."""
        reasons = {key: reason for key, reason in self._policy.closed.items() if key.kind == "WorkloadEndpoint"}
        waiting: Mapping[ResourceKey, LocalEndpoint] = {}
        if self._policy.settled:
            reasons |= {key: f"its policy is not in force: {why}" for key, why in self._policy.lacking.items()}
            waiting = self._waiting
        found = {
            key.full_name: msgspec.structs.replace(told, state=EndpointState.ERROR, reason=reason)
            for key, reason in reasons.items()
            if (told := self._l3.reports.get(key.full_name)) is not None
        }
        for key, endpoint in waiting.items():
            found[key.full_name] = EndpointReport(
                state=EndpointState.ERROR,
                reason=f"its policy is not in force: {self._policy.missing(key)}",
                interface=endpoint.interface,
                addresses=tuple(map(str, endpoint.addresses)),
            )
        return found
