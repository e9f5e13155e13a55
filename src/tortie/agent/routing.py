"""Endpoints on their way to `l3`: each is handed over when its policy is in force, and told of while it waits.

Invariants:
* No endpoint is routed before its policy is in force; what is not wanted any more goes at once.
* At a start all are handed over together: `l3` removes what it was not told of, and a route to an interface that is
  closed harms nobody.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tortie.agent.enforcement import Enforcement
from tortie.dataplane.l3 import L3
from tortie.intent.l3 import LocalEndpoint
from tortie.intent.report import EndpointReport, EndpointState
from tortie.model.resource import ResourceKey


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
    def reports(self) -> Mapping[str, EndpointReport]:
        """By `namespace/name`: what l3 says of each endpoint, but of those whose policy is not in force that, and of
        those that are closed why."""
        told, closed = self._l3.reports, self._policy.closed
        waits = self._policy.settled and (self._policy.lacking or self._waiting)
        if not (waits or closed):
            return told
        reports = dict(told)
        for key, reason in closed.items():
            if (before := reports.get(key.full_name)) is not None and key.kind == "WorkloadEndpoint":
                reports[key.full_name] = msgspec.structs.replace(before, state=EndpointState.ERROR, reason=reason)
        if not waits:
            return reports
        for key, reason in self._policy.lacking.items():
            if (before := reports.get(key.full_name)) is not None:
                reports[key.full_name] = msgspec.structs.replace(
                    before, state=EndpointState.ERROR, reason=f"its policy is not in force: {reason}"
                )
        for key, endpoint in self._waiting.items():
            reports[key.full_name] = EndpointReport(
                state=EndpointState.ERROR,
                reason=f"its policy is not in force: {self._policy.missing(key)}",
                interface=endpoint.interface,
                addresses=tuple(map(str, endpoint.addresses)),
            )
        return reports
