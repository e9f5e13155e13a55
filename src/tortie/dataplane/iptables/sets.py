"""The sets of selectors and of named ports: they may be large, so they change by their members, never as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tortie.dataplane.iptables.match import ADDRESSES, NAMED_PORTS, members_of
from tortie.dataplane.iptables.rows import Kind, MemberKey, RowKey, Rows, SetSpec, set_name
from tortie.intent.policy import FAMILIES, AddressSet, Member, NamedPort, PortSet, SetId
from tortie.reconcile import Reconciler


class Sets:
    """Wants a set's rows by `set_rows`, and its members one by one."""

    def __init__(self, set_rows: Callable[[SetId, Rows], None], reconciler: Reconciler[MemberKey, None]) -> None:
        self._set_rows = set_rows
        self._reconciler = reconciler
        self._kinds: dict[SetId, str] = {}
        # An address and the prefix that holds nothing else are one member: it goes with the last of them.
        self.members: dict[SetId, dict[MemberKey, int]] = {}

    def put(self, new: AddressSet | PortSet) -> None:
        """A set in the place of an old one is the difference to it."""
        kind = ADDRESSES if isinstance(new, AddressSet) else NAMED_PORTS
        if self._kinds.get(new.id, kind) != kind:
            self.drop(new.id)
        self._kinds[new.id] = kind
        rows: Rows = {RowKey(Kind.SET, set_name(new.id, family)): SetSpec(kind, family) for family in FAMILIES}
        self._set_rows(new.id, rows)
        members: Iterable[Member] = (*new.addresses, *new.networks) if isinstance(new, AddressSet) else new.members
        before = self.members.pop(new.id, {})
        self.change(new.id, members, ())
        for gone in before.keys() - self.members[new.id].keys():
            self._reconciler.unwant(gone)

    def change(self, set_id: SetId, added: Iterable[Member], removed: Iterable[Member]) -> None:
        counts = self.members.setdefault(set_id, {})
        for key in _keys(set_id, removed):
            counts[key] = counts.get(key, 0) - 1
            if counts[key] <= 0:
                del counts[key]
                self._reconciler.unwant(key)
        for key in _keys(set_id, added):
            counts[key] = counts.get(key, 0) + 1
            self._reconciler.want(key, None)

    def drop(self, set_id: SetId) -> None:
        if self._kinds.pop(set_id, None) is None:
            return
        self._set_rows(set_id, {})
        for member in self.members.pop(set_id, {}):
            self._reconciler.unwant(member)


def _keys(set_id: SetId, members: Iterable[Member]) -> Iterator[MemberKey]:
    for member in members:
        version = member.address.version if isinstance(member, NamedPort) else member.version
        name = set_name(set_id, version)
        for text in members_of(member):
            yield MemberKey(name, text)
