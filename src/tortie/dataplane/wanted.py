"""Which rows are wanted, and by whom: a row goes when nobody wants it any more.

Endpoints that go through the same policies want the same chains, and say the same of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tortie.dataplane.nftables.rows import Kind, RowKey, Rows
from tortie.reconcile import Reconciler

Owner = tuple[str, object]
"""A word for what it is, and which one."""


class WantedRows:
    """Told to the reconcilers."""

    def __init__(self, reconcilers: Mapping[Kind, Reconciler[Any, Any]]) -> None:
        self._reconcilers = reconcilers
        self._rows: dict[Owner, Rows] = {}
        self._owners: dict[RowKey, set[Owner]] = {}

    def put(self, owner: Owner, rows: Rows) -> None:
        """What an owner wants from now on, in the place of what it wanted before."""
        old = self._rows.pop(owner, {})
        if rows:
            self._rows[owner] = rows
        for row, value in rows.items():
            self._owners.setdefault(row, set()).add(owner)
            self._reconcilers[row.kind].want(row.key, value)
        for row in old.keys() - rows.keys():
            owners = self._owners[row]
            owners.discard(owner)
            if not owners:
                del self._owners[row]
                self._reconcilers[row.kind].unwant(row.key)

    def get(self, owner: Owner) -> Rows:
        return self._rows.get(owner, {})
