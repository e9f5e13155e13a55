"""Endpoints and network sets with the labels that selectors see: their own, and those they inherit from profiles.

Every one of the cluster is a peer that rules may mean; those of this node are also what policies apply to.

A network set may be large, so it is taken in as many peers, of `PART` networks each, one a step.

Invariants:
* While a network set changes, what was in it before and is in it afterwards is in it.
* Own labels win over inherited ones, and of two profiles that which the endpoint lists first.
* Nobody can give himself the labels of a namespace or of a service account: those come from profiles only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from sys import intern
from typing import Any, Final, NamedTuple

from tortie.calc.policies import Endpoint, PolicyCalculator
from tortie.calc.rules import NAMESPACE_PREFIX, SERVICE_ACCOUNT_LABEL, SERVICE_ACCOUNT_PREFIX
from tortie.calc.sets import Peer, PeerPort, SetCalculator
from tortie.intent.policy import Network
from tortie.model.kinds.hostendpoint import HostEndpointSpec
from tortie.model.kinds.profile import ProfileSpec
from tortie.model.kinds.workloadendpoint import WorkloadEndpointSpec
from tortie.model.names import NAMESPACE_LABEL
from tortie.model.resource import Resource, ResourceKey

KINDS: Final = frozenset({"WorkloadEndpoint", "HostEndpoint", "NetworkSet", "GlobalNetworkSet"})

_NETWORK_SETS = ("NetworkSet", "GlobalNetworkSet")
_END = object()

# Taking so many in takes some milliseconds.
PART = 500

_PREFIXES = (NAMESPACE_PREFIX, SERVICE_ACCOUNT_PREFIX)


class Part(NamedTuple):
    """A peer that is a part of a network set."""

    whole: ResourceKey
    number: int


class PeerCalculator:
    """Feeds the sets with all peers, and the policies with this node's endpoints."""

    def __init__(self, node: str | None, sets: SetCalculator, policies: PolicyCalculator) -> None:
        """`node` is whose endpoints policies apply to; None: all endpoints of the cluster."""
        self._node = node
        self._sets = sets
        self._policies = policies
        self._resources: dict[ResourceKey, Resource[Any]] = {}
        self._inherited: dict[str, Mapping[str, str]] = {}  # labels by profile
        self._heirs: dict[str, set[ResourceKey]] = {}  # who lists a profile
        self._parts: dict[ResourceKey, dict[Part, Peer]] = {}  # of network sets
        self._due: dict[ResourceKey, Iterator[None]] = {}  # network sets that are taken in

    def update(self, key: ResourceKey, resource: Resource[Any] | None) -> None:
        """Takes an endpoint or a network set as it is now; None: it is gone, or to be treated so. What is large waits
        for `step`."""
        if key.kind in _NETWORK_SETS:
            self._due[key] = self._take_in(key, resource)
            if len(self._parts.get(key, ())) <= 1 and (resource is None or len(resource.spec.nets) <= PART):
                self._go_on(key, math.inf)
            elif resource is not None:
                self._sets.expect(key, self._labels(resource))
            return
        for profile in _profiles(self._resources.pop(key, None)):
            self._heirs[profile].discard(key)
        for profile in _profiles(resource):
            self._heirs.setdefault(profile, set()).add(key)
        if resource is None:
            self._sets.drop(key)
            self._policies.drop_endpoint(key)
        else:
            self._resources[key] = resource
            self._put(resource)

    def update_profile(self, key: ResourceKey, profile: Resource[ProfileSpec] | None) -> None:
        """As `update`, for what others inherit from; costs as much as it has heirs."""
        labels: Mapping[str, str] = {} if profile is None else profile.spec.labels_to_apply
        if labels == self._inherited.get(key.name, {}):
            return
        self._inherited[key.name] = {intern(label): intern(value) for label, value in labels.items()}
        for heir in sorted(self._heirs.get(key.name, ())):
            self._put(self._resources[heir])

    @property
    def pending(self) -> bool:
        """There is more to take in."""
        return bool(self._due)

    def step(self) -> None:
        """Takes in the next part of a network set, of each in turn."""
        key = next(iter(self._due))
        self._go_on(key, 1)

    def _go_on(self, key: ResourceKey, steps: float) -> None:
        parts = self._due.pop(key)
        while steps > 0:
            steps -= 1
            if next(parts, _END) is _END:
                self._sets.expect(key, None)
                return
        self._due[key] = parts

    def _take_in(self, key: ResourceKey, resource: Resource[Any] | None) -> Iterator[None]:
        """All that is new, then what is no more."""
        parts = self._parts.setdefault(key, {})
        before, in_order = dict(parts), dict[Part, Peer]()
        nets: tuple[Network, ...] = () if resource is None else resource.spec.nets
        labels = {} if resource is None else self._labels(resource)
        unused = itertools.count(max((part.number for part in parts), default=-1) + 1)
        for there, begin in itertools.zip_longest(list(before), range(0, len(nets), PART)):
            if begin is None:
                break
            peer = _network_peer(nets[begin : begin + PART], labels)
            if there is not None and parts[there] == peer:
                in_order[there] = before.pop(there)
                continue
            part = Part(key, next(unused))
            parts[part] = in_order[part] = peer
            self._sets.put(part, peer)
            yield
        for part in before:
            del parts[part]
            self._sets.drop(part)
            yield
        self._parts[key] = in_order
        if not in_order:
            del self._parts[key]

    def _put(self, resource: Resource[Any]) -> None:
        spec = resource.spec
        labels = self._labels(resource)
        self._sets.put(resource.key, _peer(spec, labels))
        if isinstance(spec, WorkloadEndpointSpec | HostEndpointSpec) and self._node in (None, spec.node):
            profiles = tuple(ResourceKey("Profile", "", name) for name in spec.profiles)
            self._policies.put_endpoint(resource.key, Endpoint(labels, profiles))
        else:
            self._policies.drop_endpoint(resource.key)

    def _labels(self, resource: Resource[Any]) -> dict[str, str]:
        labels: dict[str, str] = {}
        for profile in reversed(_profiles(resource)):
            labels |= self._inherited.get(profile, {})
        # The same few words stand on a hundred thousand endpoints.
        for key, value in resource.metadata.labels.items():
            if not key.startswith(_PREFIXES):
                labels[intern(key)] = intern(value)
        if resource.key.namespace:
            labels[NAMESPACE_LABEL] = intern(resource.key.namespace)
        if isinstance(resource.spec, WorkloadEndpointSpec) and resource.spec.service_account_name:
            labels[SERVICE_ACCOUNT_LABEL] = intern(resource.spec.service_account_name)
        return labels


def _profiles(resource: Resource[Any] | None) -> tuple[str, ...]:
    if resource is not None and isinstance(resource.spec, WorkloadEndpointSpec | HostEndpointSpec):
        return resource.spec.profiles
    return ()


def _peer(spec: Any, labels: Mapping[str, str]) -> Peer:
    match spec:
        case WorkloadEndpointSpec(ip_networks=addresses, ports=ports):
            named = tuple(PeerPort(port.name, int(port.protocol), port.port) for port in ports if port.name)
            return Peer(labels=labels, addresses=addresses, ports=named)
        case HostEndpointSpec(expected_ips=addresses, ports=ports):
            named = tuple(PeerPort(port.name, int(port.protocol), port.port) for port in ports)
            return Peer(labels=labels, addresses=addresses, ports=named)
    raise AssertionError(spec)


def _network_peer(nets: Iterable[Network], labels: Mapping[str, str]) -> Peer:
    """Prefixes of a single address are addresses: a set holds both, each in the form that is looked up fastest."""
    addresses = tuple(net.network_address for net in nets if net.prefixlen == net.max_prefixlen)
    return Peer(
        labels=labels, addresses=addresses, networks=tuple(net for net in nets if net.prefixlen < net.max_prefixlen)
    )
