"""Whether the store that answers is still the one that answered before.

An etcd restored from a backup counts its revisions on from an older one, and nothing in its answers need differ:
cluster id, member id and Raft term come again as they were. What differs is history. So the last key seen changing
is remembered for each prefix, and a watch over a new connection begins with the question whether the store says the
same of that key at that revision. If not, or if nothing was seen that could be asked for, the prefix is to be
listed again. A restored server never keeps a connection, so on the same one there is nothing to ask.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tortie.datastore.api import Event, Item
from tortie.datastore.etcd import wire
from tortie.datastore.etcd.connection import Connection


class _Witness(NamedTuple):
    """A key, and what the store said of it: its value's hash at `revision`, None if it was deleted then."""

    connection: int
    key: str
    revision: int
    value: int | None


class History:
    """What was seen of each prefix that was listed."""

    def __init__(self) -> None:
        self._witnesses: dict[str, _Witness] = {}

    def listed(self, prefix: str, items: list[Item], connection: Connection) -> None:
        last = max(items, key=lambda item: item.revision, default=Item("", b"", 0, 0))
        self._witnesses[prefix] = _Witness(connection.number, last.key, last.revision, hash(last.value))

    def changed(self, prefix: str, event: Event, connection: Connection) -> None:
        value = None if event.value is None else hash(event.value)
        self._witnesses[prefix] = _Witness(connection.number, event.key, event.revision, value)

    async def is_continued(self, prefix: str, connection: Connection) -> bool:
        """Whether the store has the history that was seen. Raises `Rejected`, also when it is compacted."""
        witness = self._witnesses.get(prefix)
        if witness is None or witness.connection == connection.number:
            return True
        if not witness.key:
            return False
        request = wire.RangeRequest(key=witness.key.encode(), revision=witness.revision)
        kvs: list[Any] = (await connection.call(wire.RANGE, request)).kvs
        if kvs and (kvs[0].mod_revision != witness.revision or hash(kvs[0].value) != witness.value):
            return False
        if not kvs and witness.value is not None:
            return False
        self._witnesses[prefix] = witness._replace(connection=connection.number)
        return True
