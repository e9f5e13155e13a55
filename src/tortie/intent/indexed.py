"""The state of policy with an index for each question that is asked of it often: the same answers, in constant time."""

from __future__ import annotations

from bisect import insort

from tortie.intent.packet import Fib
from tortie.intent.policy import Address, AddressSet, HostEndpointPolicy, Network, SetId, WorkloadPolicy
from tortie.intent.prefixes import Prefixes
from tortie.intent.state import PolicyChanges, PolicyState
from tortie.model.resource import ResourceKey


class IndexedState(PolicyState, kw_only=True):
    """Starts empty and is changed by `take` alone. Addresses are packed where they are keys."""

    interfaces: dict[str, list[ResourceKey]] = {}
    owners: dict[bytes, list[ResourceKey]] = {}  # of their own addresses
    insides: dict[bytes, list[tuple[ResourceKey, Address]]] = {}  # by the floating address
    outsides: dict[bytes, list[tuple[ResourceKey, Address]]] = {}  # by the workload's own
    spoofers: dict[ResourceKey, WorkloadPolicy] = {}  # those with allowed sources
    prefixes: dict[SetId, Prefixes] = {}  # in sets

    def take(self, changes: PolicyChanges) -> None:
        for key, workload in changes.workloads.items():
            self._forget(key)
            if workload is not None:
                self._note(key, workload)
        for set_id in changes.gone_sets:
            self.prefixes.pop(set_id, None)
        for new in changes.new_sets:
            self.prefixes[new.id] = Prefixes(new.networks if isinstance(new, AddressSet) else ())
        for set_id, delta in changes.changed_sets.items():
            prefixes = self.prefixes[set_id]
            for member in delta.removed:
                if isinstance(member, Network):
                    prefixes.discard(member)
            for member in delta.added:
                if isinstance(member, Network):
                    prefixes.add(member)
        PolicyState.take(self, changes)

    def workload(self, interface: str) -> WorkloadPolicy | None:
        keys = self.interfaces.get(interface)
        return self.workloads[keys[0]] if keys and interface not in self.exempt_interfaces else None

    def host_endpoint(self, interface: str, fib: Fib) -> HostEndpointPolicy | None:
        """There are few, and on most hosts none."""
        return PolicyState.host_endpoint(self, interface, fib) if self.host_endpoints else None

    def owner(self, packed: bytes) -> WorkloadPolicy | None:
        """The workload that has the address. The lowest key wins."""
        keys = self.owners.get(packed)
        return self.workloads[keys[0]] if keys else None

    def inside(self, outside: Address) -> Address | None:
        found = self.insides.get(outside.packed)
        return found[0][1] if found else None

    def outside(self, inside: Address) -> Address | None:
        found = self.outsides.get(inside.packed)
        return found[0][1] if found else None

    def has_member(self, set_id: SetId, address: Address) -> bool:
        return address in self.sets[set_id].addresses or address in self.prefixes[set_id]

    def _note(self, key: ResourceKey, workload: WorkloadPolicy) -> None:
        insort(self.interfaces.setdefault(workload.interface, []), key)
        for address in set(workload.addresses):
            insort(self.owners.setdefault(address.packed, []), key)
        for outside, inside in workload.floating:
            # Of one key the order of the list counts.
            insort(self.insides.setdefault(outside.packed, []), (key, inside), key=lambda pair: pair[0])
            insort(self.outsides.setdefault(inside.packed, []), (key, outside), key=lambda pair: pair[0])
        if workload.allowed_sources:
            self.spoofers[key] = workload

    def _forget(self, key: ResourceKey) -> None:
        workload = self.workloads.get(key)
        if workload is None:
            return
        _drop(self.interfaces, workload.interface, key)
        for address in set(workload.addresses):
            _drop(self.owners, address.packed, key)
        for outside, inside in workload.floating:
            _drop(self.insides, outside.packed, (key, inside))
            _drop(self.outsides, inside.packed, (key, outside))
        self.spoofers.pop(key, None)


def _drop(index: dict, name: object, value: object) -> None:  # type: ignore[type-arg]  # of whatever
    index[name].remove(value)
    if not index[name]:
        del index[name]
