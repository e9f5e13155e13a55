"""The members of the sets that this node's rules look addresses up in.

Everything in the cluster that has labels and addresses is a peer: workload endpoints and host endpoints of all nodes,
and network sets. A set is wanted by the policies whose rules name it, and only wanted ones are computed.

Invariants:
* A member is in a set as long as one peer that the set selects has it: two endpoints may share an address.
* A set that is new comes out whole; later only what changed of it, and what was undone in between does not come out.
* Sets that select by the same labels are one set, whoever wrote the selector.
* A set with more members of one family than the limit is withheld: nothing of it comes out, but who names it is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from tortie.calc.labels import LabelIndex
from tortie.calc.rules import NamedPorts, set_id
from tortie.intent.policy import Address, AddressSet, Family, Member, NamedPort, Network, Oversize, PortSet, SetId
from tortie.intent.state import SetDelta
from tortie.model.resource import ResourceKey
from tortie.model.selector import Selector
from tortie.model.selector.ast import Labels

Wanted = Selector | NamedPorts  # the addresses of a selector, or the ports of a name there


class PeerPort(NamedTuple):
    """A port with a name."""

    name: str
    protocol: int
    port: int


class Peer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What sets need to know of an endpoint or a network set; `labels` are those that selectors see."""

    labels: Labels
    addresses: tuple[Address, ...] = ()
    networks: tuple[Network, ...] = ()
    ports: tuple[PeerPort, ...] = ()


class SetChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the sets since the last flush."""

    new: tuple[AddressSet | PortSet, ...] = ()
    changed: Mapping[SetId, SetDelta] = {}
    gone: frozenset[SetId] = frozenset()


class SetCalculator:
    """Peers in, changes of wanted sets out."""

    def __init__(self) -> None:
        self._index = LabelIndex[ResourceKey]()
        self._peers: dict[ResourceKey, Peer] = {}
        self._holders: dict[Address | Network, tuple[ResourceKey, ...]] = {}
        self._owners: dict[Wanted, set[Hashable]] = {}
        self._by_selector: dict[Selector, set[Wanted]] = {}
        self._new: dict[Wanted, None] = {}  # in the order in which they came to be wanted
        self._pending: dict[Wanted, dict[Member, bool]] = {}  # True: it comes, False: it goes
        self._gone: set[Wanted] = set()
        self._sizes: dict[Wanted, Counter[Family]] = {}  # of all that are not new
        self._withheld: set[Wanted] = set()
        self._limit: int | None = None

    def put(self, key: ResourceKey, peer: Peer) -> None:
        before = self._peers.get(key)
        if before == peer:
            return
        if before is not None and _addressing(before) != _addressing(peer):
            self._put_addresses(key, before, peer)
        elif before is None:
            self._hold(key, peer)
        self._peers[key] = peer
        moves = self._index.put(key, peer.labels)
        for selector in moves.lost:
            self._leave(selector, key, peer)
        for selector in moves.gained:
            self._join(selector, key, peer)

    def drop(self, key: ResourceKey) -> None:
        """Forgets a peer, if it is here."""
        peer = self._peers.pop(key, None)
        if peer is None:
            return
        self._release(key, peer)
        for selector in self._index.drop(key).lost:
            self._leave(selector, key, peer)

    def want(self, owner: Hashable, wanted: Iterable[Wanted]) -> None:
        for each in wanted:
            owners = self._owners.setdefault(each, set())
            if not owners:
                selector = _selector(each)
                self._by_selector.setdefault(selector, set()).add(each)
                self._index.watch(selector)
                self._new[each] = None
            owners.add(owner)

    def release(self, owner: Hashable, wanted: Iterable[Wanted]) -> None:
        for each in wanted:
            owners = self._owners[each]
            owners.discard(owner)
            if owners:
                continue
            del self._owners[each]
            selector = _selector(each)
            self._by_selector[selector].discard(each)
            if not self._by_selector[selector]:
                del self._by_selector[selector]
                self._index.unwatch(selector)
            self._pending.pop(each, None)
            self._sizes.pop(each, None)
            if each in self._new:
                del self._new[each]
            elif each in self._withheld:
                self._withheld.discard(each)
            else:
                self._gone.add(each)

    def flush(self, limit: int | None = None) -> SetChanges:
        """What changed since the last flush. A set that went and came again in between comes out whole."""
        new: list[AddressSet | PortSet] = []
        changed: dict[SetId, SetDelta] = {}
        gone = {_id(wanted) for wanted in self._gone}
        for wanted in self._new:
            whole = self._whole(wanted)
            self._sizes[wanted] = Counter(map(_family, _members_of(whole)))
            if self._exceeds(wanted, limit):
                self._withheld.add(wanted)
            else:
                new.append(whole)
        for wanted, moves in self._pending.items():
            sizes = self._sizes[wanted]
            for member, comes in moves.items():
                sizes[_family(member)] += 1 if comes else -1
        looked_at = self._pending if limit == self._limit else self._owners
        for wanted in looked_at.keys() - self._new.keys():
            was_withheld = wanted in self._withheld
            if self._exceeds(wanted, limit):
                if not was_withheld:
                    self._withheld.add(wanted)
                    gone.add(_id(wanted))
            elif was_withheld:
                self._withheld.discard(wanted)
                new.append(self._whole(wanted))
            elif self._pending.get(wanted):
                changed[_id(wanted)] = _delta(self._pending[wanted])
        self._limit = limit
        self._new.clear()
        self._pending.clear()
        self._gone.clear()
        return SetChanges(new=tuple(new), changed=changed, gone=frozenset(gone) - {each.id for each in new})

    def withheld(self) -> dict[Hashable, Oversize]:
        """Who names a set that the last flush withheld, each with the largest."""
        found: dict[Hashable, Oversize] = {}
        for wanted in self._withheld:
            assert self._limit is not None
            family, size = max(self._sizes[wanted].items(), key=lambda each: (each[1], each[0]))
            oversize = Oversize(_in_words(wanted), family, size, self._limit)
            for owner in self._owners[wanted]:
                found[owner] = max(oversize, found.get(owner, oversize), key=lambda each: (each.size, each))
        return found

    def _exceeds(self, wanted: Wanted, limit: int | None) -> bool:
        return limit is not None and max(self._sizes[wanted].values(), default=0) > limit

    # --- Members

    def _whole(self, wanted: Wanted) -> AddressSet | PortSet:
        """A value of its own: whoever gets it may change it."""
        whole: AddressSet | PortSet = (
            PortSet(id=wanted.id) if isinstance(wanted, NamedPorts) else AddressSet(id=_id(wanted))
        )
        whole.change(self._members(wanted), ())
        return whole

    def _members(self, wanted: Wanted) -> Iterator[Member]:
        for key in self._index.members(_selector(wanted)):
            yield from _contributed(wanted, self._peers[key])

    def _join(self, selector: Selector, key: ResourceKey, peer: Peer) -> None:
        for wanted in self._by_selector[selector]:
            for member in _contributed(wanted, peer):
                self._move(wanted, key, member, comes=True)

    def _leave(self, selector: Selector, key: ResourceKey, peer: Peer) -> None:
        for wanted in self._by_selector[selector]:
            for member in _contributed(wanted, peer):
                self._move(wanted, key, member, comes=False)

    def _put_addresses(self, key: ResourceKey, before: Peer, now: Peer) -> None:
        """The peer has other addresses or ports than before, while its labels are still the old ones."""
        self._release(key, before)
        self._hold(key, now)
        for selector in self._index.matching(key):
            for wanted in self._by_selector[selector]:
                old, new = (frozenset(_contributed(wanted, each)) for each in (before, now))
                for member in old - new:
                    self._move(wanted, key, member, comes=False)
                for member in new - old:
                    self._move(wanted, key, member, comes=True)

    def _move(self, wanted: Wanted, key: ResourceKey, member: Member, *, comes: bool) -> None:
        """A peer begins or ceases to contribute a member. Nothing changes as long as another one has it too."""
        if wanted in self._new or self._is_held_by_another(wanted, key, member):
            return
        moves = self._pending.setdefault(wanted, {})
        if moves.get(member, comes) != comes:
            del moves[member]
        else:
            moves[member] = comes

    def _is_held_by_another(self, wanted: Wanted, key: ResourceKey, member: Member) -> bool:
        address = member.address if isinstance(member, NamedPort) else member
        return any(
            other != key
            and self._index.matches(other, _selector(wanted))
            and member in _contributed(wanted, self._peers[other])
            for other in self._holders.get(address, ())
        )

    def _hold(self, key: ResourceKey, peer: Peer) -> None:
        for held in {*peer.addresses, *peer.networks}:
            self._holders[held] = (*self._holders.get(held, ()), key)

    def _release(self, key: ResourceKey, peer: Peer) -> None:
        for held in {*peer.addresses, *peer.networks}:
            others = tuple(other for other in self._holders[held] if other != key)
            if others:
                self._holders[held] = others
            else:
                del self._holders[held]


def _addressing(peer: Peer) -> tuple[object, ...]:
    return peer.addresses, peer.networks, peer.ports


def _selector(wanted: Wanted) -> Selector:
    return wanted.selector if isinstance(wanted, NamedPorts) else wanted


def _id(wanted: Wanted) -> SetId:
    return wanted.id if isinstance(wanted, NamedPorts) else set_id(wanted)


def _delta(moves: Mapping[Member, bool]) -> SetDelta:
    return SetDelta(
        added=frozenset(member for member, comes in moves.items() if comes),
        removed=frozenset(member for member, comes in moves.items() if not comes),
    )


def _in_words(wanted: Wanted) -> str:
    if isinstance(wanted, NamedPorts):
        return f"of ports {wanted.name!r} at {wanted.selector.text}"
    return f"of {wanted.text}"


def _family(member: Member) -> Family:
    return (member.address if isinstance(member, NamedPort) else member).version


def _members_of(whole: AddressSet | PortSet) -> Iterable[Member]:
    return whole.members if isinstance(whole, PortSet) else (*whole.addresses, *whole.networks)


def _contributed(wanted: Wanted, peer: Peer) -> frozenset[Member]:
    """The members that a peer brings into a set that selects it."""
    if not isinstance(wanted, NamedPorts):
        return frozenset((*peer.addresses, *peer.networks))
    ports = [each.port for each in peer.ports if (each.name, each.protocol) == (wanted.name, wanted.protocol)]
    return frozenset(NamedPort(wanted.protocol, address, port) for address in peer.addresses for port in ports)
