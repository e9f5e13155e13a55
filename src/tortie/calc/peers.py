"""Endpoints and network sets with the labels that selectors see: their own, and those they inherit from profiles.

Every one of the cluster is a peer that rules may mean; those of this node are also what policies apply to.

Invariants:
* Own labels win over inherited ones, and of two profiles that which the endpoint lists first.
* Nobody can give himself the labels of a namespace or of a service account: those come from profiles only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from sys import intern
from typing import Any, Final

from tortie.calc.policies import Endpoint, PolicyCalculator
from tortie.calc.rules import NAMESPACE_PREFIX, SERVICE_ACCOUNT_LABEL, SERVICE_ACCOUNT_PREFIX
from tortie.calc.sets import Peer, PeerPort, SetCalculator
from tortie.intent.policy import Address, Network
from tortie.model.kinds.hostendpoint import HostEndpointSpec
from tortie.model.kinds.profile import ProfileSpec
from tortie.model.kinds.workloadendpoint import WorkloadEndpointSpec
from tortie.model.names import NAMESPACE_LABEL
from tortie.model.networks import NetworksSpec
from tortie.model.resource import Resource, ResourceKey

KINDS: Final = frozenset({"WorkloadEndpoint", "HostEndpoint", "NetworkSet", "GlobalNetworkSet"})

_PREFIXES = (NAMESPACE_PREFIX, SERVICE_ACCOUNT_PREFIX)


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

    def update(self, key: ResourceKey, resource: Resource[Any] | None) -> None:
        """Takes an endpoint or a network set as it is now; None: it is gone, or to be treated so."""
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
        case NetworksSpec(nets=nets):
            addresses, networks = _split(nets)
            return Peer(labels=labels, addresses=addresses, networks=networks)
    raise AssertionError(spec)


def _split(nets: Iterable[Network]) -> tuple[tuple[Address, ...], tuple[Network, ...]]:
    """Prefixes of a single address are addresses: a set holds both, each in the form that is looked up fastest."""
    addresses = [net.network_address for net in nets if net.prefixlen == net.max_prefixlen]
    return tuple(addresses), tuple(net for net in nets if net.prefixlen < net.max_prefixlen)
