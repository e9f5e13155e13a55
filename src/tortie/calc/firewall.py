"""All of policy for one node: objects of the cluster in, changes of what this node must let pass out.

    profiles ─┐                      ┌─▶ sets of members
    endpoints ┼─▶ peers (labels) ────┤
    sets ─────┘                      └─▶ policies: chains of this node's endpoints, rules, wanted sets

Invariants:
* The result depends on the objects present, never on the way to them.
* A workload that must not be routed has no policy: nothing passes its interface.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_network
from typing import Any, Final, NamedTuple

from tortie.calc.oversize import Closing
from tortie.calc.peers import KINDS as PEERS
from tortie.calc.peers import PeerCalculator
from tortie.calc.policies import Chains, PolicyCalculator
from tortie.calc.sets import SetCalculator
from tortie.errors import Problem
from tortie.intent.l3 import LocalEndpoint
from tortie.intent.policy import (
    Address,
    FailsafePort,
    FloatingAddress,
    HostEndpointPolicy,
    NatPool,
    PolicySettings,
    WorkloadPolicy,
)
from tortie.intent.state import PolicyChanges
from tortie.model.kinds.felixconfiguration import FelixConfigurationSpec
from tortie.model.kinds.hostendpoint import HostEndpointSpec
from tortie.model.kinds.workloadendpoint import WorkloadEndpointSpec
from tortie.model.resource import Quarantined, Resource, ResourceKey
from tortie.model.scalars import Protocol

POLICIES: Final = frozenset(
    {"NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy"}
)
KINDS: Final = PEERS | POLICIES | {"Tier", "Profile", "IPPool", "Node"}


class NeededPorts(NamedTuple):
    """Ports that stay open whatever host endpoints' policies say, unless the user wants none to be."""

    inbound: frozenset[FailsafePort] = frozenset()
    outbound: frozenset[FailsafePort] = frozenset()


class Firewall:
    """The calculation of one node's policy, or with None for a node that of the whole cluster."""

    def __init__(self, node: str | None) -> None:
        self._sets = SetCalculator()
        self._policies = PolicyCalculator(self._sets)
        self._closing = Closing(self._sets, self._policies)
        self._max_set_size = MAX_SET_SIZE
        self._peers = PeerCalculator(node, self._sets, self._policies)
        self._endpoints: dict[ResourceKey, Resource[Any]] = {}  # of this node
        self._local: dict[ResourceKey, LocalEndpoint] = {}
        self._chains: dict[ResourceKey, Chains] = {}
        self._pools: dict[ResourceKey, NatPool] = {}
        self._hosts: dict[ResourceKey, tuple[Address, ...]] = {}
        self._node = node
        self._spoofing = False
        self._floating = False
        self._dirty: set[ResourceKey] = set()
        self._sent: dict[ResourceKey, WorkloadPolicy | HostEndpointPolicy] = {}
        self._sent_pools: tuple[NatPool, ...] = ()
        self._sent_hosts: frozenset[Address] = frozenset()
        self._merged: FelixConfigurationSpec | None = None
        self._needed = NeededPorts()
        self._settings: PolicySettings | None = None
        self._sent_settings: PolicySettings | None = None

    def update(self, key: ResourceKey, value: Resource[Any] | Quarantined | None) -> None:
        """Takes one object as it is now; None: it is gone. Kinds that policy does not depend on are passed over."""
        if key.kind in POLICIES:
            self._policies.put_policy(key, value)
            return
        resource = value if isinstance(value, Resource) else None
        if key.kind in PEERS:
            self._peers.update(key, resource)
            self._update_endpoint(key, resource)
        elif key.kind == "Tier":
            self._policies.put_tier(key.name, None if resource is None else resource.spec)
        elif key.kind == "Profile":
            self._peers.update_profile(key, resource)
            self._policies.put_profile(key, None if resource is None else resource.spec)
        elif key.kind == "IPPool":
            _put(
                self._pools, key, None if resource is None else NatPool(resource.spec.cidr, resource.spec.nat_outgoing)
            )
        elif key.kind == "Node":
            _put(self._hosts, key, None if resource is None else _addresses_of(resource))

    def update_local(self, key: ResourceKey, endpoint: LocalEndpoint | None) -> None:
        """Takes a workload endpoint of this node as it is to be routed."""
        _put(self._local, key, endpoint)
        self._dirty.add(key)

    def configure(self, merged: FelixConfigurationSpec) -> None:
        """Takes the settings that are in force on this node."""
        spoofing = merged.workload_source_spoofing.lower() == "any"
        floating = merged.floating_ips.lower() == "enabled"
        if (spoofing, floating) != (self._spoofing, self._floating):
            self._spoofing, self._floating = spoofing, floating
            self._dirty.update(self._endpoints)
        size = merged.max_ipset_size
        self._max_set_size = MAX_SET_SIZE if size is None or size < 1 else size
        self._merged = merged
        self._settings = settings_of(merged, self._needed)

    def need(self, ports: NeededPorts) -> None:
        """Takes the ports without which the host falls out of its cluster: of its datastore and its BGP peers."""
        if ports != self._needed:
            self._needed = ports
            if self._merged is not None:
                self.configure(self._merged)

    @property
    def filling(self) -> bool:
        """The last flush left members of large sets to the next."""
        return self._peers.pending or self._sets.pending

    def flush(self, members: int | None = None) -> PolicyChanges:
        """What changed since the last flush. Of sets about so many `members` are looked at, and what depends on more of
        them stays as it was."""
        while self._peers.pending and members != 0:
            self._peers.step()
            if members is not None:
                break
        policies = self._policies.flush(self._max_set_size, members)  # first: it decides which sets are wanted
        sets = self._sets.collect()
        closing = self._closing.flush(policies.policies)
        self._dirty |= closing.endpoints
        for key, chains in policies.endpoints.items():
            _put(self._chains, key, chains)
            self._dirty.add(key)
        workloads: dict[ResourceKey, WorkloadPolicy | None] = {}
        host_endpoints: dict[ResourceKey, HostEndpointPolicy | None] = {}
        for key in sorted(self._dirty):
            now = self._policy_of(key)
            if now == self._sent.get(key):
                continue
            _put(self._sent, key, now)
            if key.kind == "WorkloadEndpoint":
                assert not isinstance(now, HostEndpointPolicy)
                workloads[key] = now
            else:
                assert not isinstance(now, WorkloadPolicy)
                host_endpoints[key] = now
        self._dirty.clear()
        return PolicyChanges(
            new_sets=sets.new,
            changed_sets=sets.changed,
            gone_sets=sets.gone,
            policies=closing.policies,
            workloads=workloads,
            host_endpoints=host_endpoints,
            oversize=closing.oversize,
            pools=self._news_of_pools(),
            hosts=self._news_of_hosts(),
            settings=self._news_of_settings(),
        )

    @property
    def missing(self) -> Mapping[ResourceKey, tuple[Problem, ...]]:
        """What does not exist and an endpoint of this node needs, as of the last flush."""
        return self._policies.missing

    def _update_endpoint(self, key: ResourceKey, resource: Resource[Any] | None) -> None:
        is_ours = resource is not None and self._is_here(resource.spec)
        if is_ours or key in self._endpoints:
            _put(self._endpoints, key, resource if is_ours else None)
            self._dirty.add(key)

    def _is_here(self, spec: Any) -> bool:
        return isinstance(spec, WorkloadEndpointSpec | HostEndpointSpec) and self._node in (None, spec.node)

    def _policy_of(self, key: ResourceKey) -> WorkloadPolicy | HostEndpointPolicy | None:
        resource, chains = self._endpoints.get(key), self._chains.get(key)
        if resource is None or chains is None:
            return None
        chains = self._closing.closed(chains)
        match resource.spec:
            case HostEndpointSpec() as spec:
                return HostEndpointPolicy(
                    key=key,
                    interface=spec.interface_name,
                    addresses=spec.expected_ips,
                    normal=chains.normal,
                    forward=chains.forward,
                    untracked=chains.untracked,
                    pre_dnat=chains.pre_dnat,
                )
            case WorkloadEndpointSpec() as spec:
                return self._workload_policy(key, spec, chains)
        return None

    def _workload_policy(self, key: ResourceKey, spec: WorkloadEndpointSpec, chains: Chains) -> WorkloadPolicy | None:
        local = self._local.get(key)
        if local is None or local.refused:
            return None
        floating = (nat for nat in spec.ip_nats if self._floating or nat.source == "openstack")
        return WorkloadPolicy(
            key=key,
            interface=local.interface,
            mac=local.mac,
            addresses=local.addresses,
            allowed_sources=spec.allow_spoofed_source_prefixes if self._spoofing else (),
            floating=tuple(FloatingAddress(nat.external_ip, nat.internal_ip) for nat in floating),
            policy=chains.normal,
        )

    def _news_of_pools(self) -> tuple[NatPool, ...] | None:
        pools = tuple(pool for _, pool in sorted(self._pools.items()))
        if pools == self._sent_pools:
            return None
        self._sent_pools = pools
        return pools

    def _news_of_hosts(self) -> frozenset[Address] | None:
        hosts = frozenset(address for held in self._hosts.values() for address in held)
        if hosts == self._sent_hosts:
            return None
        self._sent_hosts = hosts
        return hosts

    def _news_of_settings(self) -> PolicySettings | None:
        if self._settings == self._sent_settings:
            return None
        self._sent_settings = self._settings
        return self._settings


def _put(known: dict[ResourceKey, Any], key: ResourceKey, value: object) -> None:
    if value is None:
        known.pop(key, None)
    else:
        known[key] = value


def _addresses_of(node: Resource[Any]) -> tuple[Address, ...]:
    bgp = node.spec.bgp
    own = [] if bgp is None else [bgp.ipv4_address, bgp.ipv6_address]
    return tuple(interface.ip for interface in own if interface is not None)


# Felix's own (felix/config/config_params.go).
MAX_SET_SIZE: Final = 1048576
_INBOUND = {("UDP", 68), *(("TCP", port) for port in (22, 179, 2379, 2380, 5473, 6443, 6666, 6667))}
_OUTBOUND = {("UDP", 53), ("UDP", 67), *(("TCP", port) for port in (179, 2379, 2380, 5473, 6443, 6666, 6667))}


def settings_of(merged: FelixConfigurationSpec, needed: NeededPorts) -> PolicySettings:
    """What the settings in force say of the firewall."""
    to_host = merged.default_endpoint_to_host_action.capitalize() or "Drop"
    deny = merged.nftables_filter_deny_action or merged.iptables_filter_deny_action or "Drop"
    return PolicySettings(
        endpoint_to_host="Accept" if to_host == "Accept" else "Return" if to_host == "Return" else "Drop",
        deny="Reject" if deny.capitalize() == "Reject" else "Drop",
        failsafe_inbound=_failsafe(merged.failsafe_inbound_host_ports, _INBOUND, needed.inbound),
        failsafe_outbound=_failsafe(merged.failsafe_outbound_host_ports, _OUTBOUND, needed.outbound),
        ipip_from_workloads=bool(merged.allow_ipip_packets_from_workloads),
        vxlan_from_workloads=bool(merged.allow_vxlan_packets_from_workloads),
        vxlan_port=merged.vxlan_port or 4789,
        nat_address=merged.nat_outgoing_address,
        nat_excludes_hosts=merged.nat_outgoing_exclusions.lower() == "ippoolsandhostips",
    )


def _failsafe(ports: Any, default: set[tuple[str, int]], needed: frozenset[FailsafePort]) -> tuple[FailsafePort, ...]:
    """An absent list means Felix's own. An empty one means none, also of those that the host needs."""
    if ports is None:
        named = {FailsafePort(Protocol.NAMES[name], port) for name, port in default}
        return tuple(sorted(named)) + _besides(needed, named)
    found = tuple(
        FailsafePort(
            Protocol.NAMES.get(port.protocol.upper() or "TCP", Protocol.NAMES["TCP"]),
            port.port,
            ip_network(port.net) if port.net else None,
        )
        for port in ports
    )
    return found + _besides(needed, found) if found else ()


def _besides(needed: Iterable[FailsafePort], there: Collection[FailsafePort]) -> tuple[FailsafePort, ...]:
    """What is needed and not there for everybody already, in an order of its own."""
    missing = [each for each in needed if each not in there and each._replace(network=None) not in there]
    return tuple(sorted(missing, key=lambda each: (each.protocol, each.port, str(each.network))))
