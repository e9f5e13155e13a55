"""BIRD's routes that others delete from the kernel: BIRD looks at once, and what is back is told of.

BIRD takes the news of its own routes for echoes (sysdep/linux/netlink.c), and so misses a deletion until its next look
at the kernel's table, each 10 s. A look writes what is missing and touches no other route: of 10,000 one was back in
48 ms, all in 130 ms, without any other event.

Invariants:
* What BIRD itself deletes is no harm: its sockets are known by their port ids.
* `GAP_S` lies between two looks at least, so that who deletes without end costs BIRD no more than that.
"""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_address
from typing import NamedTuple

import structlog

from tortie.bgp import Bgp
from tortie.dataplane.l3.repairs import Repair
from tortie.errors import BirdError
from tortie.kernel.netlink import sender
from tortie.kernel.netlink.monitor import Event, RouteAdded, RouteDeleted
from tortie.kernel.netlink.route import PROTOCOL_BIRD, Route

LOG = structlog.get_logger(__name__)

# Who flushes sends many deletions: BIRD looks when no more came for as long, but does not wait longer than that.
PAUSE_S, PAUSES = 0.02, 5
GAP_S = 0.5


class _Key(NamedTuple):
    table: int
    destination: bytes
    prefix_length: int
    metric: int


class _Harm(NamedTuple):
    since: float
    port: int
    by: str


class BirdRoutes:
    """Plain calls but for `run`."""

    def __init__(self, bird: Bgp) -> None:
        self._bird = bird
        self._own_ports: frozenset[int] = frozenset()  # of BIRD, as far as was asked
        self._lost: dict[_Key, _Harm] = {}
        self._author = (0, "")  # of many routes that go at once most have one
        self._struck = asyncio.Event()
        self._done: list[Repair] = []

    def observe(self, event: Event) -> None:
        match event:
            case RouteDeleted(route, port) if route.protocol == PROTOCOL_BIRD and port and port not in self._own_ports:
                if port != self._author[0]:
                    self._author = port, sender.describe(port)
                self._lost.setdefault(_key(route), _Harm(time.monotonic(), *self._author))
                self._struck.set()
            case RouteAdded(route) if self._lost and route.protocol == PROTOCOL_BIRD:
                if (harm := self._lost.pop(_key(route), None)) is not None:
                    took_ms = round(1000 * (time.monotonic() - harm.since), 1)
                    self._done.append(Repair("bgp", _words(route), harm.by, took_ms))

    def take(self) -> list[Repair]:
        """What is back since the last call."""
        done, self._done = self._done, []
        return done

    async def run(self) -> None:
        """Never ends; BIRD that does not answer looks by itself when it starts."""
        while True:
            await self._struck.wait()
            for _ in range(PAUSES):
                self._struck.clear()
                await asyncio.sleep(PAUSE_S)
                if not self._struck.is_set():
                    break
            self._struck.clear()
            began = time.monotonic()
            try:
                self._own_ports = await self._bird.ports()
                self._lost = {key: harm for key, harm in self._lost.items() if harm.port not in self._own_ports}
                if self._lost:
                    await self._bird.look_at_kernel()
            except BirdError as error:
                LOG.warning("BIRD does not look for the routes that others deleted", reason=str(error))
            await asyncio.sleep(GAP_S)
            # What did not come back is not wanted any more.
            self._lost = {key: harm for key, harm in self._lost.items() if harm.since >= began}


def _key(route: Route) -> _Key:
    return _Key(route.table, route.destination, route.prefix_length, route.metric)


def _words(route: Route) -> str:
    return f"BGP route {ip_address(route.destination)}/{route.prefix_length}"
