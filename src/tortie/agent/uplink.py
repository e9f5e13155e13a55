"""The node's own address and the interface that holds it: whether it is there, and how large a packet it takes.

Invariants:
* The Node's address is used as it stands and never changed here; that it is gone is told.
* Workloads follow a change of the uplink's MTU at once, but those that were given one of their own. Of what was there
  before the agent started only what the uplink does not take is changed: who gave it what is not known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address

import structlog

from tortie.attach.uplink import follow
from tortie.dataplane.l3.facts import Facts
from tortie.errors import KernelError
from tortie.intent.l3 import LocalEndpoint
from tortie.intent.report import Noted
from tortie.model.resource import ResourceKey

LOG = structlog.get_logger(__name__)

Address = IPv4Address | IPv6Address


class Uplink:
    """Looks at the facts at each pass, which costs nothing while no link and no address changes."""

    def __init__(self, node: str, facts: Facts) -> None:
        self._node = node
        self._facts = facts
        self._addresses: tuple[Address, ...] = ()
        self._endpoints: dict[ResourceKey, LocalEndpoint] = {}
        self._seen = -1  # `Facts.changes` of the last look
        self._missing: tuple[Address, ...] = ()
        self._mtu = 0  # 0: not known yet
        self._given = 0  # what workloads have
        self._changed = asyncio.Event()

    def desire(self, addresses: Iterable[Address]) -> None:
        self._addresses = tuple(addresses)
        self._seen = -1

    def take(self, endpoints: Mapping[ResourceKey, LocalEndpoint | None]) -> None:
        for key, endpoint in endpoints.items():
            if endpoint is None:
                self._endpoints.pop(key, None)
            else:
                self._endpoints[key] = endpoint

    def look(self) -> None:
        if self._seen == self._facts.changes:
            return
        self._seen = self._facts.changes
        holders = {address: self._facts.holders(address) for address in self._addresses}
        self._missing = tuple(address for address, links in holders.items() if not links)
        mtu = min((each.mtu for links in holders.values() for each in links if not each.loopback), default=0)
        if mtu not in (0, self._mtu):
            self._mtu = mtu
            self._changed.set()

    @property
    def mtu(self) -> int:
        """In bytes, as it was last seen; 0: no interface but the loopback has had an address of the node."""
        return self._mtu

    @property
    def problems(self) -> tuple[Noted, ...]:
        return tuple(
            Noted(
                subject=f"Node({self._node})",
                reason=f"its address {address} is on no interface of this host, so other nodes do not reach it: give it"
                " back, or write another with `tortie node init`; it is never changed by itself",
            )
            for address in self._missing
        )

    def _is_fit(self, endpoint: LocalEndpoint) -> bool:
        """Anybody may write an endpoint that names an interface of the host's own."""
        found = self._facts.link(endpoint.interface)
        return found is not None and not self._facts.unfit(found)

    async def run(self) -> None:
        """Never ends; gives workloads the MTU of the uplink whenever that changes."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            before, now = self._given, self._mtu
            self._given = now
            interfaces = {each.interface for each in self._endpoints.values() if not each.mtu and self._is_fit(each)}
            try:
                lost = await asyncio.to_thread(follow, interfaces, before, now)
            except KernelError as error:
                LOG.warning("workloads do not get the MTU of the uplink", mtu_bytes=now, reason=str(error))
                continue
            if lost:
                LOG.warning("some workloads keep their MTU: their namespace is not found", interfaces=sorted(lost)[:5])
            elif before:
                LOG.info("workloads follow the MTU of the uplink", mtu_bytes=now, before_bytes=before)
