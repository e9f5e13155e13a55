"""Nodes, peers and pools of the cluster in, this node's BGP out.

Every node computes its own side of each session from the same objects, so both sides agree without talking.

Invariants:
* The result depends on the objects present, never on their order.
* At most one session per address. Of several rules the most specific wins: a BGPPeer for some nodes, one for all
  nodes, the mesh; then the lowest name.
* A BGPPeer that says something which is not rendered, or names a filter that is not there, makes no session at all:
  never one without its filter.
* A wrong object costs its own sessions only, and is named among the problems.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence, Set
from ipaddress import IPv4Address

import msgspec

from tortie.calc.speakers import BGP_PORT, Speaker, Speakers, is_speakable
from tortie.calc.terms import Terms, community_rules, ignored_fields, mesh_terms, peer_terms, unrendered_fields
from tortie.intent.bgp import Address, BgpIntent, BgpProblem, Network, NextHop, Origin, Peer, Pool, RouteFilter
from tortie.model.addresses import PeerAddress
from tortie.model.kinds.bgpconfiguration import BGPConfigurationSpec
from tortie.model.kinds.bgpfilter import BGPFilterSpec
from tortie.model.kinds.bgppeer import BGPPeerSpec
from tortie.model.kinds.ippool import IPPoolSpec
from tortie.model.kinds.node import NodeSpec
from tortie.model.resource import Resource, ResourceKey

DHCP_INTERFACES = "ns-*"  # have a whole pool for their subnet, though no host is behind them

_INTERFACE_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,15}")
FELIX = ResourceKey("FelixConfiguration", "", "default")


def compute_bgp(
    node: str,
    *,
    nodes: Iterable[Resource[NodeSpec]],
    peers: Iterable[Resource[BGPPeerSpec]],
    configurations: Iterable[Resource[BGPConfigurationSpec]],
    pools: Iterable[Resource[IPPoolSpec]],
    filters: Iterable[Resource[BGPFilterSpec]],
    interface_prefixes: Sequence[str],
) -> BgpIntent:
    """The BGP of one node; without sessions while the node has no Node object, or no address in it."""
    by_name = {each.key.name: each for each in configurations}
    default = by_name["default"].spec if "default" in by_name else None
    own = [by_name[name] for name in ("default", f"node.{node}") if name in by_name]
    speakers = Speakers(nodes, {name: each.spec for name, each in by_name.items()})
    me = speakers.get(node)
    known = {each.key.name: each.spec for each in filters}
    sessions = _Sessions(me, speakers, known.keys())
    if me.interfaces:
        for rule in sorted(peers, key=lambda rule: (_is_global(rule.spec), rule.key)):
            sessions.follow(rule)
        if default is None or default.node_to_node_mesh_enabled is not False:
            sessions.mesh(mesh_terms(default))
    else:
        reason = "no BGP: it has no spec.bgp.ipv4Address or ipv6Address; `tortie node init` sets them"
        sessions.report(ResourceKey("Node", "", node), reason)
    hidden, unfit = _hidden_interfaces(interface_prefixes, [each.spec for each in own])
    ignored = [problem for each in own for problem in ignored_fields(each)]
    peers_by_address = [sessions.by_address[address] for address in sorted(sessions.by_address, key=_by_family)]
    bound = default is not None and default.bind_mode == "NodeIP"
    unbound = [_unbound(peer) for peer in peers_by_address if bound and peer.local_address is None]
    used = sorted({name for peer in peers_by_address for name in peer.filters})
    advertisements, unknown = community_rules(own)
    return BgpIntent(
        node=node,
        as_number=me.as_number,
        router_id=_router_id(me),
        addresses=me.addresses,
        listen_port=me.port,
        cluster_id=me.cluster_id,
        hidden_interfaces=hidden,
        peers=tuple(peers_by_address),
        pools=_pools(pools),
        filters=tuple(RouteFilter(name, known[name]) for name in used),
        advertisements=advertisements,
        node_address_only=bound,
        problems=tuple(sorted({*speakers.problems, *sessions.problems, *unfit, *ignored, *unknown, *unbound})),
    )


class _Sessions:
    """The sessions of one node, collected from the most specific rule to the least."""

    def __init__(self, me: Speaker, speakers: Speakers, filters: Set[str]) -> None:
        self._me = me
        self._speakers = speakers
        self._filters = filters
        self.by_address: dict[Address, Peer] = {}
        self.problems: list[BgpProblem] = []

    def follow(self, rule: Resource[BGPPeerSpec]) -> None:
        """Adds what a BGPPeer asks of this node, as one that it selects or, in reverse, as a peer of these."""
        spec = rule.spec
        forward = _selects(spec, self._me)
        backward = spec.reverse_peering != "Manual" and _names(spec, self._me)
        if not forward and not backward:
            return
        terms = peer_terms(rule)
        if fault := self._fault(rule, terms):
            self.report(rule.key, f"not configured: {fault}")
            return
        if forward and spec.peer_ip is not None:
            self._add_address(rule, spec.peer_ip, terms)
        for other in self._speakers:
            names, selects = _names(spec, other), _selects(spec, other)
            if forward and names:
                # It has the same rule for its own, where it is selected too and we are named.
                seen = terms.seen_from_the_other_side(both=selects and _names(spec, self._me))
                self._add_node(Origin.GLOBAL if _is_global(spec) else Origin.NODE, other, seen)
            elif backward and selects:
                self._add_node(Origin.NODE, other, terms.reversed())

    def _fault(self, rule: Resource[BGPPeerSpec], terms: Terms) -> str:
        """Why the rule makes no session at all."""
        if unrendered := unrendered_fields(rule):
            return f"spec.{', spec.'.join(unrendered)} not supported yet"
        missing = [name for name in terms.filters if name not in self._filters]
        if missing:
            return f"spec.filters: {', '.join(f'BGPFilter({name})' for name in missing)} does not exist, or is invalid"
        return ""

    def mesh(self, terms: Terms) -> None:
        """Adds all nodes but reflectors; an address that a BGPPeer names already is left to it."""
        if self._me.cluster_id is not None:
            return
        for other in self._speakers:
            if other.cluster_id is None and any(each not in self.by_address for each in other.addresses):
                if other.as_number == self._me.as_number:
                    self._add_node(Origin.MESH, other, terms)
                else:
                    us, them = self._me.as_number, other.as_number
                    self.report(other.key, f"not in the mesh: its AS is {them}, ours {us}; a BGPPeer can connect them")

    def report(self, key: ResourceKey, reason: str) -> None:
        self.problems.append(BgpProblem(key, reason))

    def _add_node(self, origin: Origin, other: Speaker, terms: Terms) -> None:
        families = self._me.interfaces.keys() & other.interfaces.keys()
        if other.interfaces and not families:
            self.report(other.key, f"no session: it has no address of an IP version that {self._me.key} has")
        for version in sorted(families):
            self._add(origin, other.interfaces[version].ip, other.port, terms.peer_as or other.as_number, other, terms)

    def _add_address(self, rule: Resource[BGPPeerSpec], wanted: PeerAddress, terms: Terms) -> None:
        address, port = wanted
        owner = self._speakers.owner(address)
        as_number = rule.spec.as_number or (owner.as_number if owner else 0)
        if not is_speakable(address):
            self.report(rule.key, f"no session with {address}: not an address of one host")
        elif address.version not in self._me.interfaces:
            field = f"spec.bgp.ipv{address.version}Address"
            self.report(rule.key, f"no session with {address}: {self._me.key} has no {field}")
        elif not as_number:
            self.report(rule.key, f"no session with {address}: spec.asNumber is missing, and no Node has this address")
        else:
            origin = Origin.GLOBAL if _is_global(rule.spec) else Origin.NODE
            self._add(origin, address, port or (owner.port if owner else BGP_PORT), as_number, owner, terms)

    def _add(
        self, origin: Origin, address: Address, port: int, as_number: int, owner: Speaker | None, terms: Terms
    ) -> None:
        if address in self._me.addresses:
            return
        interface = self._me.interfaces[address.version]
        local_as = terms.local_as or self._me.as_number
        internal = as_number == local_as
        peer = Peer(
            origin=origin,
            address=address,
            port=port,
            as_number=as_number,
            local_address=interface.ip if terms.use_node_ip else None,
            local_as=local_as,
            on_link=address in interface.network,
            # Of two nodes one waits: if both connect, one connection dies, and while the other restarts BIRD may take
            # the second for one more restart and drop the routes that it kept. Which side it is must be decided as
            # Calico does in the mesh, by text, or of a pair of its node and ours both might wait.
            passive=owner is not None and str(interface.ip) > str(address),
            reflector_client=internal and self._reflects_to(owner),
            next_hop=NextHop.AUTO if internal and terms.next_hop_only_to_other_as else terms.next_hop,
            password=terms.password,
            filters=terms.filters,
            hops=terms.hops,
            own_as_allowed=terms.own_as_allowed,
            restart_time_s=terms.restart_time_s,
            keepalive_time_s=terms.keepalive_time_s,
            reachable_by=terms.reachable_by,
            node=owner.name if owner else "",
            source=terms.source,
        )
        held = self.by_address.setdefault(address, peer)
        if origin is not Origin.MESH and _as_of(held, peer) != peer:
            self.report(peer.source, f"no session with {address} by its terms: {held.source} sets others, and wins")

    def _reflects_to(self, owner: Speaker | None) -> bool:
        """RFC 4456: reflectors of one cluster are no clients of each other."""
        return self._me.cluster_id is not None and (owner is None or owner.cluster_id != self._me.cluster_id)


def _unbound(peer: Peer) -> BgpProblem:
    everywhere = f"BGP listens on every IPv{peer.address.version} address for it, in spite of bindMode NodeIP"
    return BgpProblem(peer.source, f"spec.sourceAddress None: {everywhere}")


def _as_of(held: Peer, peer: Peer) -> Peer:
    return msgspec.structs.replace(held, origin=peer.origin, source=peer.source)


def _is_global(spec: BGPPeerSpec) -> bool:
    return not spec.node and spec.node_selector is None


def _selects(spec: BGPPeerSpec, speaker: Speaker) -> bool:
    """The rule is for this node."""
    if spec.node:
        return spec.node == speaker.name
    return spec.node_selector is None or spec.node_selector.matches(speaker.labels)


def _names(spec: BGPPeerSpec, speaker: Speaker) -> bool:
    """The rule has this node for a peer."""
    return spec.peer_selector is not None and spec.peer_selector.matches(speaker.labels)


def _router_id(me: Speaker) -> IPv4Address:
    """The IPv4 address, as everybody expects; of a node without one a number that no other node has by chance."""
    if 4 in me.interfaces:
        return IPv4Address(me.interfaces[4].ip)
    digest = hashlib.sha256(me.name.encode()).digest()
    return IPv4Address(int.from_bytes(digest[:4]) | 1)


def _pools(pools: Iterable[Resource[IPPoolSpec]]) -> tuple[Pool, ...]:
    """Pools may overlap only by mistake; of two with one prefix the cautious one counts."""
    exported: dict[Network, bool] = {}
    for pool in pools:
        cidr = pool.spec.cidr
        exported[cidr] = exported.get(cidr, True) and not pool.spec.disable_bgp_export
    return tuple(Pool(network=cidr, exported=exported[cidr]) for cidr in sorted(exported, key=_by_family))


def _hidden_interfaces(
    prefixes: Sequence[str], configurations: Iterable[BGPConfigurationSpec]
) -> tuple[tuple[str, ...], list[BgpProblem]]:
    """Where no next hop is looked for: workloads, DHCP's devices, and what the operator names."""
    ignored = {pattern for each in configurations for pattern in each.ignored_interfaces}
    fit = {f"{prefix}*" for prefix in prefixes if _INTERFACE_PREFIX.fullmatch(prefix)}
    unfit = sorted(prefix for prefix in prefixes if not _INTERFACE_PREFIX.fullmatch(prefix))
    problems = [BgpProblem(FELIX, f"spec.interfacePrefix: {prefix!r} begins no interface's name") for prefix in unfit]
    return tuple(sorted({DHCP_INTERFACES, *fit, *ignored})), problems


def _by_family(item: Address | Network) -> tuple[int, Address | Network]:
    return item.version, item
