"""What the kernel counted: of each rule what it decided, of each reason what was dropped.

Invariants:
* Nothing is read while nobody asks, and then just what is asked for, in a thread.
* Drops are asked for by everybody who looks at status: they are read once in `FRESH_S` at most, and who asks never
  waits longer than `PATIENCE_S` for them: then he gets what was read before.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import msgspec
import structlog

from tortie.dataplane import contract
from tortie.dataplane.events import DropCounters
from tortie.errors import TortieError, UsageError
from tortie.intent.policy import RuleOrigin
from tortie.intent.report import Count
from tortie.intent.verdict import Reason
from tortie.kernel import no_routes
from tortie.model.resource import ResourceKey
from tortie.status import Dropped

LOG = structlog.get_logger(__name__)

FRESH_S = 2.0
PATIENCE_S = 1.0
MOST_POLICIES = 1000

_KEY = re.compile(r"(\w+)\((?:([^/()]+)/)?([^/()]+)\)")

Reader = Callable[[], Mapping[RuleOrigin, Count]]


class RuleCount(msgspec.Struct, frozen=True, kw_only=True):
    """Packets that a rule decided, since it was written on this node, for all its endpoints together."""

    direction: str
    rule: int  # its number in the policy, from 0 on
    packets: int
    bytes: int


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """`policies` are those that were asked for, without those that no endpoint of this node has."""

    node: str
    backend: str
    dropped: Mapping[str, Dropped]
    policies: Mapping[str, tuple[RuleCount, ...]]


class Backend(Protocol):
    """Whose counters count: `Enforcement`. `name` is empty while nobody enforces policy."""

    @property
    def name(self) -> str: ...

    def counts(self, policies: Collection[ResourceKey]) -> Reader: ...


class Counting:
    """For the API and the metrics."""

    def __init__(self, node: str, backend: Backend) -> None:
        self._node = node
        self._backend = backend
        self._drops = DropCounters()
        self._read_at: float | None = None  # loop time
        self._reading: asyncio.Task[None] | None = None

    async def counted(self, policies: Collection[str]) -> Counted:
        """Raises UsageError for what is no name of a policy, and KernelError."""
        keys = [_key(text) for text in policies]
        if len(keys) > MOST_POLICIES:
            raise UsageError(f"query: {len(keys)} policies, {MOST_POLICIES} are allowed at once")
        backend = self._backend.name
        found = await asyncio.to_thread(self._backend.counts(keys)) if keys else {}
        by_policy: dict[str, list[RuleCount]] = {}
        for origin, count in sorted(found.items(), key=lambda pair: (pair[0].direction, pair[0].number)):
            by_policy.setdefault(str(origin.owner), []).append(
                RuleCount(
                    direction=str(origin.direction), rule=origin.number, packets=count.packets, bytes=count.octets
                )
            )
        dropped = {
            str(reason): Dropped(packets=n.packets, bytes=n.octets) for reason, n in (await self.drops()).items()
        }
        return Counted(
            node=self._node,
            backend=backend,
            dropped=dropped,
            policies={name: tuple(some) for name, some in by_policy.items()},
        )

    async def drops(self) -> Mapping[Reason, Count]:
        """Totals by reason, as they were some seconds ago at most if the kernel answers."""
        now = asyncio.get_running_loop().time()
        if self._reading is None and (self._read_at is None or now - self._read_at >= FRESH_S):
            self._reading = asyncio.create_task(self._read(self._backend.name))
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=PATIENCE_S)
        return self._drops.totals

    async def _read(self, backend: str) -> None:
        try:
            if backend:
                found = dict(await asyncio.to_thread(contract.load(backend).drops))
                found[Reason.NO_ROUTE] = Count(await asyncio.to_thread(no_routes.count), 0)
                self._drops.take(backend, found)
        except (TortieError, OSError) as error:
            LOG.warning("drops cannot be counted", reason=str(error))
        finally:
            self._read_at = asyncio.get_running_loop().time()
            self._reading = None


def _key(text: str) -> ResourceKey:
    found = _KEY.fullmatch(text)
    if found is None:
        raise UsageError(f"query: policy {text!r}: write it as NetworkPolicy(NAMESPACE/NAME) or KIND(NAME)")
    return ResourceKey(found[1], found[2] or "", found[3])
