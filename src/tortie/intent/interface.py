"""An interface of this host, as the kernel has it: what becomes of one is told to whoever enforces policy."""

from __future__ import annotations

from typing import NamedTuple

from tortie.intent.policy import Address


class Interface(NamedTuple):
    """Its name may change, and another may get it; its index is its own until it leaves the kernel."""

    ifindex: int
    addresses: frozenset[Address] = frozenset()  # of the host
    governed: bool = False  # it is, or has been, a workload's: without an endpoint nothing passes it, whatever its name
