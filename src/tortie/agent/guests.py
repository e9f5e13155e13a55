"""Workloads that `attach` joined by a veth, and whose own end was set down and up: they get back what they lost by it.

The host hears of it as a loss of carrier. Those that a listener missed, or that fell between two agents, are found by
the kernel's count of losses.

Invariants:
* The kernel is looked at in a thread, one workload at a time, and for none more often than each `SHORTEST_GAP_S`; what
  fails is tried again, ever more seldom, and told of.
* TAPs, and veths that something else made, are none of our business.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from tortie.attach.guest import GuestSides
from tortie.attach.request import GUEST_INTERFACE, ORCHESTRATOR
from tortie.dataplane.l3.repairs import Repair
from tortie.errors import TortieError
from tortie.intent.l3 import LocalEndpoint
from tortie.intent.report import Noted
from tortie.kernel.netlink.link import Link
from tortie.kernel.netlink.monitor import Event, LinkChanged, LinkGone
from tortie.model.names import host_interface_name, parse_endpoint_name
from tortie.reconcile import Backoff

# A veth is made without carrier, which counts.
LOSSES_OF_A_NEW_ONE = 1
SHORTEST_GAP_S = 0.2
FIRST_RETRY_S = 1.0
LAST_RETRY_S = 60.0


class Guests:
    """`governing` is the endpoint of an interface by its name; `told` is called when there is something to tell."""

    def __init__(self, governing: Callable[[str], LocalEndpoint | None], told: Callable[[], None]) -> None:
        self._governing = governing
        self._told = told
        self._sides = GuestSides()
        self._losses: dict[int, int] = {}  # by index: of carrier, as far as they were answered
        self._due: dict[str, float] = {}  # by the name of the interface: when its end was seen to be up again
        self._not_before: dict[str, float] = {}  # by the same name: a workload may set its end down and up all the time
        self._backoff = Backoff[str](FIRST_RETRY_S, LAST_RETRY_S)
        self._problems: dict[str, Noted] = {}
        self._done: list[Repair] = []
        self._wake = asyncio.Event()

    def observe(self, event: Event) -> None:
        match event:
            case LinkChanged(link):
                self._see(link)
            case LinkGone(link):
                self._losses.pop(link.ifindex, None)
                self._not_before.pop(link.name, None)
                self._settle(link.name)

    def look(self, links: Iterable[Link]) -> None:
        """All that there are, as they were read back."""
        there = {link.ifindex: link for link in links}
        self._losses = {ifindex: losses for ifindex, losses in self._losses.items() if ifindex in there}
        for link in there.values():
            self._see(link)

    async def run(self) -> None:
        """Never ends."""
        while True:
            self._wake.clear()
            now = time.monotonic()
            for name in [name for name in self._due if self._due_at(name) <= now]:
                self._not_before[name] = now + SHORTEST_GAP_S
                await self._answer(name)
            try:
                async with asyncio.timeout(self._delay_s()):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def take(self) -> list[Repair]:
        """What is back since the last call."""
        done, self._done = self._done, []
        return done

    @property
    def problems(self) -> Iterable[Noted]:
        return self._problems.values()

    def _delay_s(self) -> float | None:
        """Until something may be done again; None: until something happens."""
        due = [self._due_at(name) for name in self._due]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _due_at(self, name: str) -> float:
        return max(self._not_before.get(name, 0.0), self._backoff.due_at(name))

    def _see(self, link: Link) -> None:
        if link.kind != "veth" or not link.running:
            return
        if link.carrier_losses > self._losses.get(link.ifindex, LOSSES_OF_A_NEW_ONE):
            self._due[link.name] = time.monotonic()
            self._backoff.clear(link.name)
            self._wake.set()
        self._losses[link.ifindex] = link.carrier_losses

    async def _answer(self, name: str) -> None:
        endpoint = self._governing(name)
        since = self._due.get(name)
        if endpoint is None or since is None or not _is_ours(endpoint):
            self._settle(name)
            return
        try:
            restored = await asyncio.to_thread(self._sides.restore, name, endpoint.addresses)
        except TortieError as error:
            if name in self._due:
                self._backoff.failed(name, time.monotonic())
                reason = f"its own end of {name} was set down and up, and what it lost by that could not be put back"
                self._problems[name] = Noted(subject=endpoint.key.full_name, reason=f"{reason}: {error}")
                self._told()
            return
        if self._due.get(name) == since:
            self._settle(name)
        if restored:
            took_ms = round(1000 * (time.monotonic() - since), 1)
            what = f"{', '.join(restored)} inside {endpoint.key.full_name}"
            self._done.append(Repair("guest", what, "its own end of the veth was set down and up", took_ms))
        self._told()

    def _settle(self, name: str) -> None:
        self._due.pop(name, None)
        self._backoff.clear(name)
        self._problems.pop(name, None)


def _is_ours(endpoint: LocalEndpoint) -> bool:
    name = parse_endpoint_name(endpoint.key.name)
    return (
        name is not None
        and (name.orchestrator, name.endpoint) == (ORCHESTRATOR, GUEST_INTERFACE)
        and endpoint.interface == host_interface_name(endpoint.key.namespace, name.workload, GUEST_INTERFACE)
    )
