"""The sets of selectors and of named ports: they may be large, so they change by their members, never as a whole.

Invariants:
* Of prefixes the kernel gets only those that lie within no other (`cover`), in a set of intervals or, of a length of
  which there are many, in a hash (`lengths`). What moves from one to the other is in the new place before rules ask
  there, and leaves the old one after.
* The members of a set that is gone are let go some at a time: a million in one step would hold the loop for seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tortie.dataplane.nftables.cover import Cover
from tortie.dataplane.nftables.lengths import Lengths
from tortie.dataplane.nftables.match import NO_PREFIXES, Prefixes, address_sets, member_of, port_sets
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
        self._lengths: dict[tuple[SetId, Family], Lengths] = {}
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
            self._lengths.pop((set_id, family), None)

    def change(self, set_id: SetId, added: Iterable[Member], removed: Iterable[Member]) -> bool:
        """True if prefixes of the set stand elsewhere now; see `prefixes`."""
        members = self._members.setdefault(set_id, set())
        before = {family: self.prefixes(set_id, family) for family in FAMILIES}
        gained, lost = self._covered(set_id, added, removed)
        moved = self._moved(set_id, gained, lost)
        after = {family: self.prefixes(set_id, family) for family in FAMILIES}
        if any(before[family].lengths != after[family].lengths for family in FAMILIES):
            rows: Rows = {}
            for family in FAMILIES:
                rows |= address_sets(set_id, family, after[family].lengths)
            self._rows.put(("set", set_id), rows)
        for member in (*lost, *moved):
            key = _key(set_id, member, before)
            members.discard(key)
            self._reconciler.unwant(key)
        for member in (*gained, *moved):
            key = _key(set_id, member, after)
            members.add(key)
            self._reconciler.want(key, None)
        return before != after

    def prefixes(self, set_id: SetId, family: Family) -> Prefixes:
        """Where its prefixes stand."""
        found = self._lengths.get((set_id, family))
        return NO_PREFIXES if found is None else Prefixes(found.any_other, tuple(sorted(found.own)))

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

    def _moved(self, set_id: SetId, gained: Iterable[Member], lost: Iterable[Member]) -> list[Network]:
        """The prefixes that stay, and have to stand elsewhere since their length became one of many, or of few."""
        moved: list[Network] = []
        new = {each for each in gained if isinstance(each, Network)}
        gone = [each for each in lost if isinstance(each, Network)]
        for family in {each.version for each in (*new, *gone)}:
            lengths = self._lengths.setdefault((set_id, family), Lengths())
            changed = lengths.change(*([each for each in some if each.version == family] for some in (new, gone)))
            if changed:
                outermost = self._covers[set_id, family].outermost
                moved += (each for each in outermost if each.prefixlen in changed and each not in new)
        return moved


def _key(set_id: SetId, member: Member, prefixes: Mapping[Family, Prefixes]) -> MemberKey:
    lengths = prefixes[member.version].lengths if isinstance(member, Network) else ()
    return member_of(set_id, member, lengths)
