"""Everything this node is meant to do, and the one value in which changes to it travel.

The state of policy is whole here, since a verdict may depend on all of it; routes and BGP have no such judge.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec

from tortie.errors import Problem
from tortie.intent.bgp import BgpIntent
from tortie.intent.evaluate import Tables
from tortie.intent.l3 import LocalEndpoint
from tortie.intent.packet import Fib
from tortie.intent.policy import (
    Address,
    AddressSet,
    HostEndpointPolicy,
    Member,
    NatPool,
    Oversize,
    Policy,
    PolicySettings,
    PortSet,
    SetId,
    WorkloadPolicy,
)
from tortie.intent.settings import Settings
from tortie.model.resource import ResourceKey

Value = TypeVar("Value")


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What changed since the last flush; at most one entry per key, None where nothing changed or all is gone."""

    endpoints: Mapping[ResourceKey, LocalEndpoint | None] = {}
    policy: PolicyChanges | None = None
    bgp: BgpIntent | None = None
    settings: Settings | None = None
    quarantined: Mapping[ResourceKey, tuple[Problem, ...]] | None = None


class SetDelta(msgspec.Struct, frozen=True, kw_only=True):
    """What comes into a set that is there, and what goes out of it."""

    added: frozenset[Member] = frozenset()
    removed: frozenset[Member] = frozenset()


class PolicyChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What changed of policy since the last flush; None: it is gone. A new set is whole, also in an old one's place.

    In whatever order these are put into the kernel: what is named must be there before who names it.
    """

    new_sets: tuple[AddressSet | PortSet, ...] = ()
    changed_sets: Mapping[SetId, SetDelta] = {}
    gone_sets: frozenset[SetId] = frozenset()
    policies: Mapping[ResourceKey, Policy | None] = {}
    workloads: Mapping[ResourceKey, WorkloadPolicy | None] = {}
    host_endpoints: Mapping[ResourceKey, HostEndpointPolicy | None] = {}
    oversize: Mapping[ResourceKey, Oversize] | None = None  # here None: as before
    pools: tuple[NatPool, ...] | None = None
    hosts: frozenset[Address] | None = None
    settings: PolicySettings | None = None

    def __bool__(self) -> bool:
        return self != _NO_CHANGES


_NO_CHANGES = PolicyChanges()


def everything(state: PolicyState, members: int) -> Iterator[PolicyChanges]:
    """The changes that make an empty state equal to this one, at most so many `members` of sets a step.

    The state must not change meanwhile.
    """
    for each in state.sets.values():
        yield from _set_by_steps(AddressSet(id=each.id), itertools.chain(each.addresses, each.networks), members)
    for ports in state.port_sets.values():
        yield from _set_by_steps(PortSet(id=ports.id), ports.members, members)
    yield PolicyChanges(
        policies=dict(state.policies),
        workloads=dict(state.workloads),
        host_endpoints=dict(state.host_endpoints),
        oversize=state.oversize,
        pools=state.pools,
        hosts=state.hosts,
        settings=state.settings,
    )


def _set_by_steps(new: AddressSet | PortSet, members: Iterable[Member], at_most: int) -> Iterator[PolicyChanges]:
    left = iter(members)
    new.change(itertools.islice(left, at_most), ())
    yield PolicyChanges(new_sets=(new,))
    while more := frozenset(itertools.islice(left, at_most)):
        yield PolicyChanges(changed_sets={new.id: SetDelta(added=more)})


class PolicyState(msgspec.Struct, kw_only=True):
    """All that a verdict depends on, besides the packet and the kernel's routes."""

    interface_prefixes: tuple[str, ...] = ("cali", "tap")
    workloads: dict[ResourceKey, WorkloadPolicy] = {}
    host_endpoints: dict[ResourceKey, HostEndpointPolicy] = {}
    policies: dict[ResourceKey, Policy] = {}
    sets: dict[SetId, AddressSet] = {}
    port_sets: dict[SetId, PortSet] = {}
    oversize: Mapping[ResourceKey, Oversize] = {}  # by the policy or profile that names the set: its largest
    pools: tuple[NatPool, ...] = ()
    hosts: frozenset[Address] = frozenset()  # of all nodes
    settings: PolicySettings = PolicySettings()
    exempt_interfaces: frozenset[str] = frozenset()  # begin like a workload's, or an endpoint names them, and are none
    governed_interfaces: frozenset[str] = frozenset()  # are or were a workload's, though their names do not say so

    def take(self, changes: PolicyChanges) -> None:
        """Costs as much as there is in the changes."""
        for each in changes.gone_sets:
            self.sets.pop(each, None)
            self.port_sets.pop(each, None)
        for new in changes.new_sets:
            if isinstance(new, AddressSet):
                self.sets[new.id] = new
            else:
                self.port_sets[new.id] = new
        for key, delta in changes.changed_sets.items():
            changed = self.sets.get(key) or self.port_sets[key]
            changed.change(delta.added, delta.removed)
        _take(changes.policies, self.policies)
        _take(changes.workloads, self.workloads)
        _take(changes.host_endpoints, self.host_endpoints)
        self.oversize = self.oversize if changes.oversize is None else changes.oversize
        self.pools = self.pools if changes.pools is None else changes.pools
        self.hosts = self.hosts if changes.hosts is None else changes.hosts
        self.settings = changes.settings or self.settings

    def changed(self, changes: PolicyChanges) -> PolicyState:
        """This state with the changes; itself it stays as it is, and what did not change is the same in both."""
        after = msgspec.structs.replace(
            self,
            workloads=dict(self.workloads),
            host_endpoints=dict(self.host_endpoints),
            policies=dict(self.policies),
            sets=dict(self.sets),
            port_sets=dict(self.port_sets),
        )
        for set_id in changes.changed_sets:
            if (found := self.sets.get(set_id)) is not None:
                after.sets[set_id] = AddressSet(
                    id=found.id, addresses=set(found.addresses), networks=set(found.networks)
                )
            else:
                ports = self.port_sets[set_id]
                after.port_sets[set_id] = PortSet(id=ports.id, members=set(ports.members))
        after.take(changes)
        return after

    @property
    def tables(self) -> Tables:
        return Tables(self.policies, self.sets, self.port_sets)

    def governs(self, interface: str) -> bool:
        """Whether only endpoints may use the interface."""
        if interface in self.exempt_interfaces or not interface:
            return False
        by_name = interface.startswith(self.interface_prefixes) or interface in self.governed_interfaces
        return by_name or self.workload(interface) is not None

    def workload(self, interface: str) -> WorkloadPolicy | None:
        """The lowest key wins, as everywhere."""
        if interface in self.exempt_interfaces:
            return None
        found = (key for key, endpoint in self.workloads.items() if endpoint.interface == interface)
        key = min(found, default=None)
        return None if key is None else self.workloads[key]

    def oversize_of(self, endpoint: WorkloadPolicy | HostEndpointPolicy) -> Oversize | None:
        """The set above the limit that closes the endpoint, or a stage of it; None: none does."""
        if not self.oversize:
            return None
        if isinstance(endpoint, WorkloadPolicy):
            chains = [endpoint.policy.ingress]
        else:
            ways = (endpoint.normal, endpoint.forward, endpoint.untracked)
            chains = [*(each.ingress for each in ways), endpoint.pre_dnat]
        for chain in chains:
            for key in chain.policies_and_profiles()[:1]:  # a denial stands alone
                if key in self.oversize and not self.policies[key].staged:
                    return self.oversize[key]
        return None

    def inside(self, outside: Address) -> Address | None:
        """The workload's own address that a floating one leads to. The lowest key wins."""
        found = [
            (key, each.inside)
            for key, workload in self.workloads.items()
            for each in workload.floating
            if each.outside == outside
        ]
        return min(found, key=lambda pair: pair[0])[1] if found else None

    def outside(self, inside: Address) -> Address | None:
        """The floating address that leads to a workload's own. The lowest key wins."""
        found = [
            (key, each.outside)
            for key, workload in self.workloads.items()
            for each in workload.floating
            if each.inside == inside
        ]
        return min(found, key=lambda pair: pair[0])[1] if found else None

    def host_endpoint(self, interface: str, fib: Fib) -> HostEndpointPolicy | None:
        """The host endpoint of an interface: by its name, else by any of its addresses, else that of all others.

        Of several the lowest key. Interfaces of workloads and the loopback have none.
        """
        if not interface or interface == "lo" or self.governs(interface):
            return None
        return governing(self.host_endpoints.values(), interface, fib.addresses.get(interface, frozenset()))


def governing(
    endpoints: Iterable[HostEndpointPolicy], interface: str, held: frozenset[Address]
) -> HostEndpointPolicy | None:
    """The host endpoint of an interface with these addresses: by name, by address, or that of all others."""
    endpoints = list(endpoints)
    for found in (
        [each for each in endpoints if each.interface == interface],
        [each for each in endpoints if not each.interface and not held.isdisjoint(each.addresses)],
        [each for each in endpoints if each.interface == "*"],
    ):
        if found:
            return min(found, key=lambda each: each.key)
    return None


def _take(changes: Mapping[ResourceKey, Value | None], known: dict[ResourceKey, Value]) -> None:
    for key, value in changes.items():
        if value is None:
            known.pop(key, None)
        else:
            known[key] = value
