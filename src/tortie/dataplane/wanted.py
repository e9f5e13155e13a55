"""Which rows a backend wants, and in whose name: a row goes when nobody wants it any more.

Endpoints that go through the same policies want the same chains, and say the same of them.
"""

from __future__ import annotations

from collections.abc import Hashable, ItemsView, Mapping
from typing import Any, Generic, Protocol, TypeVar

from tortie.reconcile import Reconciler

Owner = tuple[str, object]
"""A word for what it is, and which one."""


class Row(Hashable, Protocol):
    """Of which table it is, and its key there."""

    @property
    def kind(self) -> Any: ...

    @property
    def key(self) -> Any: ...


R = TypeVar("R", bound=Row)
V = TypeVar("V")


class WantedRows(Generic[R, V]):
    """Told to the reconcilers, of which there is one for each kind."""

    def __init__(self, reconcilers: Mapping[Any, Reconciler[Any, Any]]) -> None:
        self._reconcilers = reconcilers
        self._rows: dict[Owner, Mapping[R, V]] = {}
        self._owners: dict[R, set[Owner]] = {}

    def put(self, owner: Owner, rows: Mapping[R, V]) -> None:
        """What an owner wants from now on, in the place of what it wanted before."""
        old = self._rows.pop(owner, {})
        if rows:
            self._rows[owner] = rows
        for row, value in rows.items():
            if row not in old:
                self._owners.setdefault(row, set()).add(owner)
            elif old[row] == value:
                continue
            self._reconcilers[row.kind].want(row.key, value)
        for row in old.keys() - rows.keys():
            owners = self._owners[row]
            owners.discard(owner)
            if not owners:
                del self._owners[row]
                self._reconcilers[row.kind].unwant(row.key)

    def get(self, owner: Owner) -> Mapping[R, V]:
        return self._rows.get(owner, {})

    def items(self) -> ItemsView[Owner, Mapping[R, V]]:
        """Of every owner that wants any."""
        return self._rows.items()
