"""What a change of objects would do to verdicts, before it is made: who would be cut off from what, and who let in.

Addresses of endpoints with the same chains, which the rules of these see alike, are one class, and so are peers: one
packet stands for all of a class, and one port for a range within which no rule begins or ends. So the answer is exact,
but for rules that ask for the port of the sender: packets come from one that a kernel would choose. Of host endpoints
the normal policies are compared, and not those for what is forwarded, not tracked, or not translated yet.

Costs O(classes * classes of peers * pieces * rules). Only endpoints count whose chains, or what these refer to, change.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from tortie.explain.cluster import Cluster, addresses_of
from tortie.explain.journey import SOURCE_PORT
from tortie.explain.listing import Endpoint
from tortie.explain.pieces import Piece, joined, pieces_of
from tortie.intent.evaluate import decide, means_address
from tortie.intent.packet import SYN, TCP, Packet
from tortie.intent.policy import Action, Address, BothWays, Chain, Direction, End, Network, Rule, WorkloadPolicy
from tortie.intent.state import PolicyState
from tortie.model.resource import ResourceKey

# Nobody is called so: addresses for documentation (RFC 5737, RFC 3849).
_STRANGERS = (ip_address("192.0.2.255"), ip_address("2001:db8:ffff::ffff"))


class Group(NamedTuple):
    """Some who are alike."""

    example: str  # an endpoint, or an address outside
    others: int  # endpoints besides the example
    is_outside: bool = False  # the example is an address that no endpoint has: how many there are nobody counts
    has_outside: bool = False  # there are such addresses too


class Change(NamedTuple):
    """One change of verdicts."""

    direction: Direction
    family: int
    endpoints: Group
    peers: Group
    pieces: tuple[Piece, ...]  # empty: whatever is sent
    allowed: bool  # after the change
    before: str  # who decided, and who would
    after: str


class Plan(NamedTuple):
    """What a change would do. Endpoints that come or go change no verdict: they are counted."""

    changes: tuple[Change, ...]
    affected: int  # endpoints of which some verdict changes
    come: int
    go: int


class _Case(NamedTuple):
    """A chain before and after; equal cases are judged once."""

    direction: Direction
    before: Chain
    after: Chain
    family: int


class _Answer(NamedTuple):
    allowed: bool
    by: str


def plan(before: Cluster, after: Cluster) -> Plan:
    """Compares what both clusters say, endpoint by endpoint."""
    return _Planner(before, after).plan()


class _Planner:
    def __init__(self, before: Cluster, after: Cluster) -> None:
        self._after = after
        self._states = before.whole_before_and_after(after)
        self._changed = set(_changed_policies(*self._states))
        self._peers = {family: list(_peers(self._states[1], family)) for family in (4, 6)}

    def plan(self) -> Plan:
        old, new = (_endpoints(state) for state in self._states)
        both = old.keys() & new.keys()
        members: dict[_Case, dict[Hashable, dict[ResourceKey, Address]]] = {}
        for key in sorted(both):
            for case, address in self._cases(old[key], new[key]):
                view = self._view(case, address, own=True)
                members.setdefault(case, {}).setdefault(view, {})[key] = address
        changes: list[Change] = []
        affected: set[ResourceKey] = set()
        for case, views in members.items():
            peers = self._classes_of_peers(case)
            for alike in views.values():
                found = list(self._compare(case, alike, peers))
                changes += found
                if found:
                    affected |= alike.keys()
        return Plan(tuple(changes), len(affected), len(new.keys() - old.keys()), len(old.keys() - new.keys()))

    def _cases(self, old: Endpoint, new: Endpoint) -> Iterator[tuple[_Case, Address]]:
        """The chains of an endpoint that are not what they were."""
        for direction in Direction:
            one, other = (_normal(each).chain(direction) for each in (old, new))
            named = {*one.policies_and_profiles(), *other.policies_and_profiles()}
            if one == other and self._changed.isdisjoint(named):
                continue
            for address in self._addresses(new):
                yield _Case(direction, one, other, address.version), address

    def _addresses(self, endpoint: Endpoint) -> Sequence[Address]:
        """Those of a host endpoint that names none are its node's."""
        resource = self._after.get(endpoint.key)
        if endpoint.addresses or resource is None:
            return endpoint.addresses
        node = self._after.get(ResourceKey("Node", "", resource.spec.node))
        return () if node is None else addresses_of(node)

    def _classes_of_peers(self, case: _Case) -> list[tuple[Address, Group]]:
        classes: dict[Hashable, list[tuple[Address, str]]] = {}
        outside = ((each, "") for each in self._outside(case))
        for address, name in (*self._peers[case.family], *outside):
            classes.setdefault(self._view(case, address, own=False), []).append((address, name))
        return [(alike[0][0], _group_of(alike)) for alike in classes.values()]

    def _outside(self, case: _Case) -> Iterator[Address]:
        """Where a prefix that a rule names begins and ends, and who stands just beside it."""
        known = {address for address, _ in self._peers[case.family]}
        for address in (*_STRANGERS, *(each for net in self._networks(case) for each in _edges(net))):
            if address.version == case.family and address not in known:
                known.add(address)
                yield address

    def _networks(self, case: _Case) -> Iterator[Network]:
        for state, rules in self._rules(case):
            for rule in rules:
                for end in (rule.source, rule.destination):
                    yield from (*end.nets, *end.not_nets)
                    for set_id in (*end.sets, *end.not_sets):
                        yield from state.sets[set_id].networks

    def _rules(self, case: _Case) -> Iterator[tuple[PolicyState, list[Rule]]]:
        for state, chain in zip(self._states, (case.before, case.after), strict=True):
            policies = (state.policies[key] for key in chain.policies_and_profiles())
            yield state, [rule for policy in policies for rule in policy.rules(case.direction)]

    def _view(self, case: _Case, address: Address, *, own: bool) -> Hashable:
        """All that the rules of a case can tell of an address at its end."""
        is_source = (case.direction is Direction.EGRESS) == own
        seen: list[Hashable] = []
        for state, rules in self._rules(case):
            for rule in rules:
                end = rule.source if is_source else rule.destination
                seen.append(means_address(end, address, state.tables))
                if end.port_sets or end.not_port_sets:
                    seen.append(frozenset(_named_ports(state, end, address)))
        return tuple(seen)

    def _compare(
        self, case: _Case, alike: Mapping[ResourceKey, Address], peers: Sequence[tuple[Address, Group]]
    ) -> Iterator[Change]:
        example, own = next(iter(alike.items()))
        endpoints = Group(example.full_name, len(alike) - 1)
        pieces = self._pieces(case)
        by_change: dict[tuple[_Answer, _Answer, tuple[Piece, ...]], list[Group]] = {}
        for peer, group in peers:
            changed: dict[tuple[_Answer, _Answer], list[Piece]] = {}
            for piece in pieces:
                packet = _packet(case, own, peer, piece)
                one, other = (
                    _answer(state, chain, case, packet)
                    for state, chain in zip(self._states, (case.before, case.after), strict=True)
                )
                if one.allowed != other.allowed:
                    changed.setdefault((one, other), []).append(piece)
            for (one, other), some in changed.items():
                said = () if len(some) == len(pieces) else tuple(joined(some))
                by_change.setdefault((one, other, said), []).append(group)
        for (one, other, said), groups in by_change.items():
            yield Change(
                direction=case.direction,
                family=case.family,
                endpoints=endpoints,
                peers=_together(groups),
                pieces=said,
                allowed=other.allowed,
                before=one.by,
                after=other.by,
            )

    def _pieces(self, case: _Case) -> list[Piece]:
        every: list[Rule] = []
        ports: set[int] = set()
        for state, rules in self._rules(case):
            every += rules
            for rule in rules:
                end = rule.destination
                ports |= {
                    each.port for key in (*end.port_sets, *end.not_port_sets) for each in state.port_sets[key].members
                }
        return pieces_of(every, ports, case.family)


def _changed_policies(before: PolicyState, after: PolicyState) -> Iterator[ResourceKey]:
    """Policies and profiles whose rules changed, or what their sets hold."""
    for key in before.policies.keys() | after.policies.keys():
        old, new = before.policies.get(key), after.policies.get(key)
        if old != new or (new is not None and any(_differs(before, after, each) for each in new.sets())):
            yield key


def _differs(before: PolicyState, after: PolicyState, set_id: str) -> bool:
    old, new = _set(before, set_id), _set(after, set_id)
    return old is not new and old != new


def _set(state: PolicyState, set_id: str) -> object:
    return state.sets.get(set_id) or state.port_sets.get(set_id)


def _endpoints(state: PolicyState) -> dict[ResourceKey, Endpoint]:
    return {**state.workloads, **state.host_endpoints}


def _peers(state: PolicyState, family: int) -> Iterator[tuple[Address, str]]:
    for key, endpoint in _endpoints(state).items():
        for address in endpoint.addresses:
            if address.version == family:
                yield address, key.full_name


def _edges(network: Network) -> Iterator[Address]:
    first, last = network.network_address, network.broadcast_address
    yield from (first, last)
    if int(first):
        yield first - 1
    if int(last) < 2**network.max_prefixlen - 1:
        yield last + 1


def _named_ports(state: PolicyState, end: End, address: Address) -> Iterator[tuple[str, int, int]]:
    for key in (*end.port_sets, *end.not_port_sets):
        for each in state.port_sets[key].members:
            if each.address == address:
                yield key, each.protocol, each.port


def _normal(endpoint: Endpoint) -> BothWays:
    return endpoint.policy if isinstance(endpoint, WorkloadPolicy) else endpoint.normal


def _packet(case: _Case, own: Address, peer: Address, piece: Piece) -> Packet:
    source, destination = (peer, own) if case.direction is Direction.INGRESS else (own, peer)
    return Packet(
        source=source,
        destination=destination,
        protocol=piece.protocol,
        source_port=None if piece.ports is None else SOURCE_PORT,
        destination_port=None if piece.ports is None else piece.ports.first,
        icmp_type=None if piece.icmp is None else piece.icmp.type,
        icmp_code=None if piece.icmp is None else 255 if piece.icmp.code is None else piece.icmp.code,
        tcp_flags=SYN if piece.protocol == TCP else None,
    )


def _answer(state: PolicyState, chain: Chain, case: _Case, packet: Packet) -> _Answer:
    hits = list(decide(chain, case.direction, packet, state.tables))
    last = hits[-1] if hits else None
    if last is not None and not last.staged and last.action in (Action.ALLOW, Action.DENY):
        by = str(last.rule.origin) if last.rule is not None else f"the end of tier {last.tier}"
        return _Answer(last.action is Action.ALLOW, by)
    return _Answer(False, "no policy and no profile")


def _group_of(alike: Sequence[tuple[Address, str]]) -> Group:
    names = list(dict.fromkeys(name for _, name in alike if name))
    if names:
        return Group(names[0], len(names) - 1, has_outside=any(not name for _, name in alike))
    return Group(str(alike[0][0]), 0, is_outside=True)


def _together(groups: Sequence[Group]) -> Group:
    """Endpoints are named rather than addresses outside."""
    inside = [group for group in groups if not group.is_outside]
    if not inside:
        return groups[0]
    others = sum(group.others + 1 for group in inside) - 1
    return Group(inside[0].example, others, has_outside=any(group.is_outside or group.has_outside for group in groups))
