"""The objects of one snapshot, and what each node must let pass by them: what its agent computes, computed here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from tortie.calc.endpoints import EndpointCalculator
from tortie.calc.firewall import Firewall
from tortie.calc.settings import in_force
from tortie.intent.l3 import LocalEndpoint
from tortie.intent.policy import Address
from tortie.intent.state import PolicyChanges, PolicyState
from tortie.model.kinds.felixconfiguration import FelixConfigurationSpec
from tortie.model.kinds.profile import DEFAULT_ALLOW
from tortie.model.resource import Quarantined, Resource, ResourceKey

Stored = Resource[Any] | Quarantined


class Cluster:
    """Costs O(objects) for each node that is asked about, and once for the whole."""

    def __init__(self, objects: Iterable[Stored]) -> None:
        built_in: tuple[Stored, ...] = (DEFAULT_ALLOW,)
        self._objects = {each.key: each for each in (*built_in, *objects)}
        self._states: dict[str, PolicyState] = {}

    def get(self, key: ResourceKey) -> Resource[Any] | None:
        """An object that is in order."""
        found = self._objects.get(key)
        return found if isinstance(found, Resource) else None

    @property
    def keys(self) -> Iterable[ResourceKey]:
        """Of all objects, also of broken ones."""
        return self._objects.keys()

    def of_kind(self, kind: str) -> Mapping[ResourceKey, Resource[Any]]:
        """The objects of a kind that are in order, in the order of their keys."""
        return self._by_kind.get(kind, {})

    def broken(self) -> Iterable[Quarantined]:
        """The objects that break the rules of their kind."""
        return (each for each in self._objects.values() if isinstance(each, Quarantined))

    def owner(self, address: Address) -> Resource[Any] | None:
        """The workload endpoint that has an address, by itself or from outside. The lowest key wins."""
        key = self._owners.get(address)
        return None if key is None else self.get(key)

    def host(self, address: Address) -> str:
        """The node whose own address it is; empty: no node's."""
        return next((key.name for key, node in self.of_kind("Node").items() if address in addresses_of(node)), "")

    def state(self, node: str) -> PolicyState:
        """Everything that verdicts at the node depend on, but for its kernel's routes and addresses."""
        if node not in self._states:
            self._states[node] = self._compute(node)
        return self._states[node]

    @cached_property
    def whole(self) -> PolicyState:
        """As if every endpoint of the cluster were on one node, with the settings of all nodes: for what applies to
        whom, wherever it is."""
        firewall, state = Firewall(None), PolicyState()
        state.take(self._news(firewall, self._objects))
        return state

    def whole_before_and_after(self, after: Cluster) -> tuple[PolicyState, PolicyState]:
        """The `whole` of both; the second is made of the first by what differs, which is cheap if that is little."""
        firewall, state = Firewall(None), PolicyState()
        state.take(self._news(firewall, self._objects))
        keys = self._objects.keys() | after._objects.keys()
        changes = after._news(firewall, [key for key in keys if self._objects.get(key) is not after._objects.get(key)])
        return state, state.changed(changes)

    def _news(self, firewall: Firewall, keys: Iterable[ResourceKey]) -> PolicyChanges:
        """What a calculation of the whole makes of these objects as they are here."""
        firewall.configure(self._settings(""))
        for key in keys:
            value = self._objects.get(key)
            firewall.update(key, value)
            if key.kind == "WorkloadEndpoint":
                local = None
                if isinstance(value, Resource):
                    spec = value.spec
                    local = LocalEndpoint(key=key, interface=spec.interface_name, mac="", addresses=spec.ip_networks)
                firewall.update_local(key, local)
        return firewall.flush()

    def _compute(self, node: str) -> PolicyState:
        firewall, endpoints = Firewall(node), EndpointCalculator(node)
        firewall.configure(self._settings(node))
        for key, value in self._objects.items():
            firewall.update(key, value)
            if key.kind == "WorkloadEndpoint":
                endpoints.update(key, value if isinstance(value, Resource) else None)
        for key, local in endpoints.flush().items():
            firewall.update_local(key, local)
        state = PolicyState()
        state.take(firewall.flush())
        return state

    def _settings(self, node: str) -> FelixConfigurationSpec:
        found = self.get(ResourceKey("Node", "", node))
        configurations = {key.name: each for key, each in self.of_kind("FelixConfiguration").items()}
        return in_force(node, None if found is None else found.metadata.labels, configurations)

    @cached_property
    def _by_kind(self) -> Mapping[str, Mapping[ResourceKey, Resource[Any]]]:
        found: dict[str, dict[ResourceKey, Resource[Any]]] = {}
        for key, each in sorted(self._objects.items()):
            if isinstance(each, Resource):
                found.setdefault(key.kind, {})[key] = each
        return found

    @cached_property
    def _owners(self) -> Mapping[Address, ResourceKey]:
        found: dict[Address, ResourceKey] = {}
        for key, endpoint in self.of_kind("WorkloadEndpoint").items():
            for address in (*endpoint.spec.ip_networks, *(nat.external_ip for nat in endpoint.spec.ip_nats)):
                found.setdefault(address, key)
        return found


def addresses_of(node: Resource[Any]) -> tuple[Address, ...]:
    """A node's own addresses, as far as its object tells."""
    bgp = node.spec.bgp
    held = () if bgp is None else (bgp.ipv4_address, bgp.ipv6_address)
    return tuple(interface.ip for interface in held if interface is not None)
