"""What a fault is: a name, what strikes and undoes it, and what it may cost.

A fault is an async generator over the scene: what comes before its `yield` strikes, what comes after takes the cause
away. It returns from each part when that is a fact. Where nothing is to be undone the `yield` is its last line.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from tests.soak.matrix.scene import Board, Scene

BACKENDS = ("nftables", "iptables-nft", "iptables-legacy")
STORES = ("sqlite", "etcd")
REPAIR_BOUND_S = 0.2

Strike = Callable[[Scene], AsyncIterator[None]]


@dataclass(frozen=True)
class Fault:
    """`lasts_s` is how long the cause stays, `takes_s` what the cell takes in all, for who plans.

    Packets may be lost only where `cuts` says how the fault itself cuts the path, or `loses` why there is no other way;
    `leaks` and `late` are the same for packets that must not arrive, and for a repair that takes longer than 200 ms.
    `felt` is a number on the board of the host's agent, greater afterwards if the fault took effect: one that is over
    within milliseconds cannot see that itself.
    """

    group: str
    name: str
    strike: Strike
    lasts_s: float = 0.0
    takes_s: float = 5.0
    backends: tuple[str, ...] = BACKENDS
    stores: tuple[str, ...] = STORES
    cuts: str = ""
    loses: str = ""
    leaks: str = ""
    late: str = ""
    late_bound_s: float = REPAIR_BOUND_S
    felt: Callable[[Board], int] | None = None

    def __str__(self) -> str:
        return f"{self.group}: {self.name}"


FAULTS: list[Fault] = []


def fault(group: str, name: str, **described: object) -> Callable[[Strike], Strike]:
    """Files what it decorates as a fault."""

    def file(strike: Strike) -> Strike:
        FAULTS.append(Fault(group, name, strike, **described))  # type: ignore[arg-type]
        return strike

    return file
