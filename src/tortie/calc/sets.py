"""The members of the sets that this node's rules look addresses up in.

Everything in the cluster that has labels and addresses is a peer: workload endpoints and host endpoints of all nodes,
and network sets. A set is wanted by the policies whose rules name it, and only wanted ones are computed.

Invariants:
* A member is in a set as long as one peer that the set selects has it: two endpoints may share an address.
* A set that is new comes out whole; later only what changed of it, and what was undone in between does not come out.
* Sets that select by the same labels are one set, whoever wrote the selector.
* No step is larger than its caller wants, however large a set is. One that is new to its receiver is ready when that
  has all of it: who names it waits until then.
* A set with more members of one family than the limit is withheld: nothing of it comes out, but who names it is known.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from itertools import islice
from typing import NamedTuple

import msgspec

from tortie.calc.labels import LabelIndex
from tortie.calc.rules import NamedPorts, set_id
from tortie.intent.policy import Address, AddressSet, Family, Member, NamedPort, Network, Oversize, PortSet, SetId
from tortie.intent.state import SetDelta
from tortie.model.selector import Selector
from tortie.model.selector.ast import Labels

Wanted = Selector | NamedPorts  # the addresses of a selector, or the ports of a name there
PeerKey = Hashable  # of an endpoint, or a part of a network set


class PeerPort(NamedTuple):
    """A port with a name."""

    name: str
    protocol: int
    port: int


class Peer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What sets need to know of an endpoint, or of a part of a network set; `labels` are those that selectors see."""

    labels: Labels
    addresses: tuple[Address, ...] = ()
    networks: tuple[Network, ...] = ()
    ports: tuple[PeerPort, ...] = ()


class SetChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the sets since the last flush."""

    new: tuple[AddressSet | PortSet, ...] = ()
    changed: Mapping[SetId, SetDelta] = {}
    gone: frozenset[SetId] = frozenset()


class _Filling:
    """What is known of a wanted set, and what of that its receiver does not know yet."""

    def __init__(self) -> None:
        self.unvisited: dict[PeerKey, None] | None = None  # peers that it was not looked for at yet; None: all
        self.moves: dict[Member, bool] = {}  # True: it comes, False: it goes
        self.sizes = Counter[Family]()  # as far as it was looked for members
        self.is_oversize = False  # then only sizes are kept
        self.is_told = False  # the receiver has it
        self.is_complete = False  # and had all of it once


class SetCalculator:
    """Peers in, changes of wanted sets out."""

    def __init__(self) -> None:
        self._index = LabelIndex[PeerKey]()
        self._peers: dict[PeerKey, Peer] = {}
        self._holders: dict[Address | Network, tuple[PeerKey, ...]] = {}
        self._owners: dict[Wanted, set[Hashable]] = {}
        self._by_selector: dict[Selector, set[Wanted]] = {}
        self._fillings: dict[Wanted, _Filling] = {}
        self._due: dict[Wanted, None] = {}  # with something to be done, in the order in which it came up
        self._growing: dict[PeerKey, Labels] = {}  # what is not all here yet
        self._withheld: dict[Wanted, tuple[int, Family]] = {}  # with the size of its larger family
        self._limit: int | None = None
        self._new: dict[SetId, AddressSet | PortSet] = {}  # to be collected, like the others
        self._changed: dict[SetId, SetDelta] = {}
        self._gone: set[SetId] = set()

    def put(self, key: PeerKey, peer: Peer) -> None:
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

    def drop(self, key: PeerKey) -> None:
        """Forgets a peer, if it is here."""
        peer = self._peers.pop(key, None)
        if peer is None:
            return
        self._release(key, peer)
        for selector in self._index.drop(key).lost:
            self._leave(selector, key, peer)

    def expect(self, key: PeerKey, labels: Labels | None) -> None:
        """More peers with these labels are to come for `key`: a set that selects them is not ready before; None: all of
        them are here."""
        self._growing.pop(key, None)
        if labels is not None:
            self._growing[key] = labels

    def want(self, owner: Hashable, wanted: Iterable[Wanted]) -> None:
        for each in wanted:
            owners = self._owners.setdefault(each, set())
            if not owners:
                selector = _selector(each)
                self._by_selector.setdefault(selector, set()).add(each)
                self._index.watch(selector)
                self._fillings[each] = _Filling()
                self._due[each] = None
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
            if self._fillings.pop(each).is_told:
                self._withdraw(each)
            self._due.pop(each, None)
            self._withheld.pop(each, None)

    def is_ready(self, wanted: Wanted) -> bool:
        """The receiver has all of it when it has what is to be collected, or it is withheld."""
        return self._fillings[wanted].is_complete or wanted in self._withheld

    @property
    def pending(self) -> bool:
        """There is more to fill."""
        return bool(self._due)

    def fill(self, limit: int | None = None, at_most: int | None = None) -> None:
        """Prepares what is to be collected. `limit` is of a set's size; of members about `at_most` are looked at, those
        of the smallest sets first: what a large one takes is no other's delay."""
        due: Iterable[Wanted] = list(self._due if limit == self._limit else self._owners)
        self._limit = limit
        left = math.inf if at_most is None else at_most
        if at_most is not None:
            self._due |= dict.fromkeys(due)
            due = sorted(due, key=self._left_to_do)
        for wanted in due:
            if left <= 0:
                break
            left -= self._fill(wanted, left)

    def collect(self) -> SetChanges:
        """What was prepared since the last time. A set that went and came again in between comes out whole."""
        changes = SetChanges(
            new=tuple(self._new.values()), changed=self._changed, gone=frozenset(self._gone) - self._new.keys()
        )
        self._new, self._changed, self._gone = {}, {}, set()
        return changes

    def flush(self, limit: int | None = None) -> SetChanges:
        """All that changed since the last time."""
        self.fill(limit)
        return self.collect()

    def withheld(self) -> dict[Hashable, Oversize]:
        """Who names a set that is withheld, each with the largest."""
        found: dict[Hashable, Oversize] = {}
        for wanted, (size, family) in self._withheld.items():
            assert self._limit is not None
            oversize = Oversize(_in_words(wanted), family, size, self._limit)
            for owner in self._owners[wanted]:
                found[owner] = max(oversize, found.get(owner, oversize), key=lambda each: (each.size, each))
        return found

    # --- Filling

    def _left_to_do(self, wanted: Wanted) -> int:
        filling = self._fillings[wanted]
        if filling.unvisited is None:
            return self._index.count(_selector(wanted))
        return len(filling.unvisited) + len(filling.moves)

    def _fill(self, wanted: Wanted, at_most: float) -> int:
        """Returns how many members it looked at."""
        filling, looked_at = self._fillings[wanted], 0
        while looked_at < at_most:
            looked_at += self._visit(wanted, filling, at_most - looked_at)
            if self._exceeds(filling):
                self._withhold(wanted, filling)
            if filling.unvisited:
                continue
            if filling.is_oversize and not self._exceeds(filling):
                # Of a set above the limit only the sizes are known.
                filling.unvisited, filling.sizes, filling.is_oversize = None, Counter(), False
                continue
            if not filling.is_complete and self._grows(wanted):
                break
            if looked_at < at_most and not filling.is_oversize:
                looked_at += self._tell(wanted, filling, at_most - looked_at)
            if filling.is_oversize or (filling.is_complete and not filling.moves):
                self._due.pop(wanted, None)
                break
        return looked_at

    def _visit(self, wanted: Wanted, filling: _Filling, at_most: float) -> int:
        """Takes the members of peers that were not looked at."""
        if filling.unvisited is None:
            filling.unvisited = dict.fromkeys(self._index.members(_selector(wanted)))
        looked_at = 0
        while filling.unvisited and looked_at < at_most:
            key, _ = filling.unvisited.popitem()
            found = _contributed(wanted, self._peers[key])
            self._move(wanted, key, found, comes=True)
            looked_at += 1 + len(found)
        return looked_at

    def _tell(self, wanted: Wanted, filling: _Filling, at_most: float) -> int:
        """Lets be collected what is to come and to go."""
        moves = filling.moves
        if len(moves) > at_most:
            moves = {member: filling.moves.pop(member) for member in list(islice(moves, int(at_most)))}
        else:
            filling.moves = {}
        added = frozenset(member for member, comes in moves.items() if comes)
        if not filling.is_told:
            whole = PortSet(id=wanted.id) if isinstance(wanted, NamedPorts) else AddressSet(id=_id(wanted))
            whole.change(added, ())
            self._new[whole.id] = whole
            filling.is_told = True
        elif moves:
            removed = frozenset(member for member, comes in moves.items() if not comes)
            self._changed[_id(wanted)] = SetDelta(added=added, removed=removed)
        if not filling.moves:
            filling.is_complete = True
            self._withheld.pop(wanted, None)
        return len(moves)

    def _grows(self, wanted: Wanted) -> bool:
        return any(_selector(wanted).matches(labels) for labels in self._growing.values())

    def _exceeds(self, filling: _Filling) -> bool:
        return self._limit is not None and max(filling.sizes.values(), default=0) > self._limit

    def _withhold(self, wanted: Wanted, filling: _Filling) -> None:
        if filling.is_told:
            self._withdraw(wanted)
        filling.is_told = filling.is_complete = False
        filling.is_oversize = True
        filling.moves = {}
        self._withheld[wanted] = max((size, family) for family, size in filling.sizes.items())

    def _withdraw(self, wanted: Wanted) -> None:
        """The receiver is to have it no more; what was prepared of it is of no use."""
        set_id = _id(wanted)
        self._changed.pop(set_id, None)
        if self._new.pop(set_id, None) is None:
            self._gone.add(set_id)

    # --- Members

    def _join(self, selector: Selector, key: PeerKey, peer: Peer) -> None:
        for wanted in self._by_selector[selector]:
            self._move(wanted, key, _contributed(wanted, peer), comes=True)

    def _leave(self, selector: Selector, key: PeerKey, peer: Peer) -> None:
        for wanted in self._by_selector[selector]:
            unvisited = self._fillings[wanted].unvisited
            if unvisited and key in unvisited:
                del unvisited[key]
            else:
                self._move(wanted, key, _contributed(wanted, peer), comes=False)

    def _put_addresses(self, key: PeerKey, before: Peer, now: Peer) -> None:
        """The peer has other addresses or ports than before, while its labels are still the old ones."""
        self._release(key, before)
        self._hold(key, now)
        for selector in self._index.matching(key):
            for wanted in self._by_selector[selector]:
                old, new = (_contributed(wanted, each) for each in (before, now))
                self._move(wanted, key, old - new, comes=False)
                self._move(wanted, key, new - old, comes=True)

    def _move(self, wanted: Wanted, key: PeerKey, members: Iterable[Member], *, comes: bool) -> None:
        """A peer begins or ceases to contribute members. Of one that another has too nothing changes."""
        filling = self._fillings[wanted]
        if filling.unvisited is None or key in filling.unvisited:
            return
        sizes, moves = filling.sizes, filling.moves
        self._due[wanted] = None
        for member in members:
            if self._is_held_by_another(wanted, filling, key, member):
                continue
            sizes[_family(member)] += 1 if comes else -1
            if filling.is_oversize:
                continue
            if moves.setdefault(member, comes) != comes:
                del moves[member]

    def _is_held_by_another(self, wanted: Wanted, filling: _Filling, key: PeerKey, member: Member) -> bool:
        holders = self._holders.get(member.address if isinstance(member, NamedPort) else member, ())
        if not holders or holders == (key,):
            return False
        unvisited = filling.unvisited or {}
        return any(
            other != key
            and other not in unvisited
            and self._index.matches(other, _selector(wanted))
            and (not isinstance(member, NamedPort) or member in _contributed(wanted, self._peers[other]))
            for other in holders
        )

    def _hold(self, key: PeerKey, peer: Peer) -> None:
        alone = (key,)
        for held in {*peer.addresses, *peer.networks}:
            others = self._holders.setdefault(held, alone)
            if others is not alone:
                self._holders[held] = (*others, key)

    def _release(self, key: PeerKey, peer: Peer) -> None:
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


def _in_words(wanted: Wanted) -> str:
    if isinstance(wanted, NamedPorts):
        return f"of ports {wanted.name!r} at {wanted.selector.text}"
    return f"of {wanted.text}"


def _family(member: Member) -> Family:
    return (member.address if isinstance(member, NamedPort) else member).version


def _contributed(wanted: Wanted, peer: Peer) -> frozenset[Member]:
    """The members that a peer brings into a set that selects it."""
    if not isinstance(wanted, NamedPorts):
        return frozenset((*peer.addresses, *peer.networks))
    ports = [each.port for each in peer.ports if (each.name, each.protocol) == (wanted.name, wanted.protocol)]
    return frozenset(NamedPort(wanted.protocol, address, port) for address in peer.addresses for port in ports)
