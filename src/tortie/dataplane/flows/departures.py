"""Addresses that left a workload: whoever has them next must not inherit what it began."""

from __future__ import annotations

from typing import NamedTuple

from tortie.intent.policy import WorkloadPolicy
from tortie.intent.state import PolicyChanges


class _Place(NamedTuple):
    interface: str = ""
    addresses: frozenset[bytes] = frozenset()


class Departures:
    """Follows the changes of workloads."""

    def __init__(self) -> None:
        self._places: dict[object, _Place] = {}

    def take(self, changes: PolicyChanges) -> set[bytes]:
        """The addresses that are no longer where they were: at this workload, on this interface."""
        left: set[bytes] = set()
        for key, workload in changes.workloads.items():
            before = self._places.pop(key, _Place())
            after = _place(workload)
            if workload is not None:
                self._places[key] = after
            stays = before.interface == after.interface
            left |= before.addresses - after.addresses if stays else before.addresses
        return left


def _place(workload: WorkloadPolicy | None) -> _Place:
    if workload is None:
        return _Place()
    floating = (each.outside.packed for each in workload.floating)
    return _Place(workload.interface, frozenset((*(each.packed for each in workload.addresses), *floating)))
