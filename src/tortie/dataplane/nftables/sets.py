"""The sets of selectors and of named ports: they may be large, so they change by their members, never as a whole.

Invariants:
* Of prefixes the kernel gets only those that lie within no other (`cover`).
* The members of a set that is gone are let go some at a time: a million in one step would hold the loop for seconds.
"""

from __future__ import annotations

from collections.abc import Iterable

from tortie.dataplane.nftables.cover import Cover
from tortie.dataplane.nftables.match import address_sets, member_of, port_sets
from tortie.dataplane.nftables.rows import MemberKey, RowKey, Rows, RowValue
from tortie.dataplane.wanted import WantedRows
from tortie.intent.policy import FAMILIES, AddressSet, Family, Member, Network, PortSet, SetId
from tortie.reconcile import Reconciler

# Letting go of so many holds the loop for some 10 ms.
GOING_PER_STEP = 1000


class SelectorSets:
    """Wants the sets as `rows`, and what is in them of `members`."""

    def __init__(self, rows: WantedRows[RowKey, RowValue], members: Reconciler[MemberKey, None]) -> None:
        self._rows = rows
        self._reconciler = members
        self._members: dict[SetId, set[MemberKey]] = {}
        self._covers: dict[tuple[SetId, Family], Cover] = {}
        self._leaving: dict[SetId, list[MemberKey]] = {}

    def put(self, new: AddressSet | PortSet) -> bool:
        """Takes a set, in the place of an old one of its name; True as for `change`."""
        self.drop(new.id)
        while self._let_some_go(new.id):
            pass
        rows: Rows = {}
        for family in FAMILIES:
            rows |= address_sets(new.id, family) if isinstance(new, AddressSet) else port_sets(new.id, family)
        self._rows.put(("set", new.id), rows)
        members: Iterable[Member] = (*new.addresses, *new.networks) if isinstance(new, AddressSet) else new.members
        return self.change(new.id, members, ())

    def drop(self, set_id: SetId) -> None:
        members = self._members.pop(set_id, None)
        if members is None:
            return
        self._rows.put(("set", set_id), {})
        self._leaving[set_id] = list(members)
        for family in FAMILIES:
            self._covers.pop((set_id, family), None)

    def change(self, set_id: SetId, added: Iterable[Member], removed: Iterable[Member]) -> bool:
        """True if the set holds prefixes of a family now and did not before, or the reverse."""
        members = self._members.setdefault(set_id, set())
        had = [self.has_networks(set_id, family) for family in FAMILIES]
        gained, lost = self._covered(set_id, added, removed)
        for member in lost:
            key = member_of(set_id, member)
            members.discard(key)
            self._reconciler.unwant(key)
        for member in gained:
            key = member_of(set_id, member)
            members.add(key)
            self._reconciler.want(key, None)
        return had != [self.has_networks(set_id, family) for family in FAMILIES]

    def has_networks(self, set_id: SetId, family: Family) -> bool:
        """Whether it holds prefixes, which stand in a kernel set of their own."""
        return bool(self._covers.get((set_id, family)))

    def let_go(self) -> bool:
        """Lets some members go of sets that are gone; False if there were none."""
        for set_id in self._leaving:
            self._let_some_go(set_id)
            return True
        return False

    @property
    def all_gone(self) -> bool:
        return not self._leaving

    def _let_some_go(self, set_id: SetId) -> bool:
        """True while more of them are left."""
        keys = self._leaving.get(set_id, [])
        for key in keys[-GOING_PER_STEP:]:
            self._reconciler.unwant(key)
        del keys[-GOING_PER_STEP:]
        if not keys:
            self._leaving.pop(set_id, None)
        return bool(keys)

    def _covered(
        self, set_id: SetId, added: Iterable[Member], removed: Iterable[Member]
    ) -> tuple[list[Member], list[Member]]:
        """What comes into the kernel's sets and what goes, of members that come and go."""
        gained: list[Member] = [member for member in added if not isinstance(member, Network)]
        lost: list[Member] = [member for member in removed if not isinstance(member, Network)]
        for family in FAMILIES:
            more, less = (
                [each for each in members if isinstance(each, Network) and each.version == family]
                for members in (added, removed)
            )
            if more or less:
                change = self._covers.setdefault((set_id, family), Cover(family)).change(more, less)
                gained += change.gained
                lost += change.lost
        return gained, lost
