"""Workload endpoints of the cluster in, this node's local endpoints out.

Every endpoint of the cluster claims its addresses, since two claims for one address are a conflict wherever they
stand; only endpoints of this node come out. Of several claims the lowest key wins (architecture: so that every
node decides alike without talking to the others).

Invariants:
* The result depends on the endpoints present, never on the order in which they came.
* At most one change per endpoint is pending; a change that is undone before `flush` is not reported.
* An update costs O(claims touched), not O(endpoints).
"""

from __future__ import annotations

from collections.abc import Hashable
from ipaddress import IPv4Address, IPv6Address
from itertools import islice

from tortie.conventions import MTU_ANNOTATION
from tortie.intent.l3 import LocalEndpoint
from tortie.model.kinds.workloadendpoint import WorkloadEndpointSpec
from tortie.model.resource import Resource, ResourceKey

Address = IPv4Address | IPv6Address


class Claims:
    """Who claims what; of several claimants the lowest key holds the thing."""

    def __init__(self) -> None:
        self._claimants: dict[Hashable, set[ResourceKey]] = {}

    def add(self, thing: Hashable, key: ResourceKey) -> None:
        self._claimants.setdefault(thing, set()).add(key)

    def drop(self, thing: Hashable, key: ResourceKey) -> None:
        claimants = self._claimants[thing]
        claimants.discard(key)
        if not claimants:
            del self._claimants[thing]

    def claimants(self, thing: Hashable) -> frozenset[ResourceKey]:
        return frozenset(self._claimants.get(thing, ()))

    def holder(self, thing: Hashable) -> ResourceKey | None:
        return min(self._claimants.get(thing, ()), default=None)


class EndpointCalculator:
    """Keeps the claims of all endpoints and answers what changed for this node."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._endpoints: dict[ResourceKey, Resource[WorkloadEndpointSpec]] = {}
        self._addresses = Claims()
        self._interfaces = Claims()  # of this node only: interface names repeat between nodes
        self._dirty: set[ResourceKey] = set()
        self._sent: dict[ResourceKey, LocalEndpoint] = {}

    def update(self, key: ResourceKey, endpoint: Resource[WorkloadEndpointSpec] | None) -> None:
        """`None`: the endpoint is deleted, or quarantined and to be treated as absent."""
        old = self._endpoints.pop(key, None)
        if old is not None:
            self._claim(old, add=False)
        if endpoint is not None:
            self._endpoints[key] = endpoint
            self._claim(endpoint, add=True)
        self._dirty.add(key)

    def holder(self, address: Address) -> ResourceKey | None:
        """The endpoint that holds an address, on any node."""
        return self._addresses.holder(address)

    @property
    def pending(self) -> bool:
        """A flush is due."""
        return bool(self._dirty)

    def flush(self, limit: int | None = None) -> dict[ResourceKey, LocalEndpoint | None]:
        """The local endpoints that changed since the last flush, `limit` looked at; None: it is no longer ours."""
        changes: dict[ResourceKey, LocalEndpoint | None] = {}
        for key in list(islice(self._dirty, limit)):
            self._dirty.discard(key)
            now = self._local(key)
            if now != self._sent.get(key):
                changes[key] = now
                if now is None:
                    del self._sent[key]
                else:
                    self._sent[key] = now
        return changes

    def _claim(self, endpoint: Resource[WorkloadEndpointSpec], add: bool) -> None:
        key, spec = endpoint.key, endpoint.spec
        wanted: list[tuple[Claims, Hashable]] = [(self._addresses, address) for address in set(spec.ip_networks)]
        if spec.node == self._node:
            wanted.append((self._interfaces, spec.interface_name))
        for claims, thing in wanted:
            # Every other claimant may have won or lost the thing by this.
            self._dirty |= claims.claimants(thing)
            if add:
                claims.add(thing, key)
            else:
                claims.drop(thing, key)

    def _local(self, key: ResourceKey) -> LocalEndpoint | None:
        endpoint = self._endpoints.get(key)
        if endpoint is None or endpoint.spec.node != self._node:
            return None
        spec = endpoint.spec
        return LocalEndpoint(
            key=key,
            interface=spec.interface_name,
            mac=str(spec.mac or ""),
            addresses=tuple(dict.fromkeys(spec.ip_networks)),
            refused=self._refusal(endpoint),
            mtu=_mtu(endpoint),
        )

    def _refusal(self, endpoint: Resource[WorkloadEndpointSpec]) -> str:
        key, spec = endpoint.key, endpoint.spec
        holder = self._interfaces.holder(spec.interface_name)
        if holder != key:
            return f"interface {spec.interface_name} belongs to {holder}: give one of the two another interface"
        for address in spec.ip_networks:
            holder = self._addresses.holder(address)
            if holder != key:
                return f"address {address} belongs to {holder}: give one of the two another address"
        if not spec.ip_networks:
            return "the endpoint has no address (spec.ipNetworks)"
        return ""


def _mtu(endpoint: Resource[WorkloadEndpointSpec]) -> int:
    """Digits only: anybody may write an annotation."""
    text = endpoint.metadata.annotations.get(MTU_ANNOTATION, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 5 else 0
