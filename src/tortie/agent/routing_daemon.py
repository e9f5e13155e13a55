"""BIRD's side of the agent: the newest BGP intent applied, and BIRD's state looked at, in a task of its own.

BIRD may be slow, stopped or not installed; none of that may hold back a route.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from tortie.bgp import Bgp, BirdState, Protocol, Unreachable
from tortie.errors import BirdError
from tortie.intent.bgp import BgpIntent
from tortie.intent.report import Noted
from tortie.status import Bird, Session

LOG = structlog.get_logger(__name__)

# BIRD sends no events: sessions and lost reloads are found by asking.
LOOK_INTERVAL_S = 2.0
# A text that BIRD refuses stays refused until the intent changes, or somebody repairs BIRD.
REFUSED_INTERVAL_S = 10.0


class RoutingDaemon:
    """Applies what `desire` said last; `report` and `problems` are what BIRD said last."""

    def __init__(self, sink: Bgp, wake: Callable[[], None], applied: Callable[[], None]) -> None:
        self.report = Bird(running=False, problem="not asked yet")
        self.problems: tuple[Noted, ...] = ()
        self._sink = sink
        self._wake = wake
        self._applied = applied  # called when BIRD runs what was desired last
        self._intent: BgpIntent | None = None
        self._changed = asyncio.Event()

    def desire(self, intent: BgpIntent) -> None:
        self._intent = intent
        self._changed.set()

    async def run(self) -> None:
        """Never ends; applies at once when the intent changes, and makes sure of it at every look."""
        while True:
            self._changed.clear()
            refused = self._intent is not None and await self._apply(self._intent)
            try:
                async with asyncio.timeout(REFUSED_INTERVAL_S if refused else LOOK_INTERVAL_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _apply(self, intent: BgpIntent) -> bool:
        """Applies the intent and asks for BIRD's state; True when BIRD refuses the text."""
        problem = ""
        refused = False
        left_out = intent.problems
        try:
            applied = await self._sink.apply(intent)
        except Unreachable as error:
            problem = str(error)
        except BirdError as error:
            problem = str(error)
            refused = True
            if problem != self.report.problem:
                LOG.warning("BIRD is not configured as wanted: trying again", reason=problem)
        else:
            left_out = (*left_out, *applied.left_out)
            if applied.reloaded:
                LOG.info("BIRD reloaded its configuration", peers=len(intent.peers))
        report = _report(await self._sink.state(), problem)
        if report.configured and not problem and intent is self._intent:
            self._applied()
        problems = tuple(Noted(subject=str(left.key), reason=left.reason) for left in left_out)
        if (report, problems) != (self.report, self.problems):
            self.report, self.problems = report, problems
            self._wake()
        return refused


def _report(state: BirdState, problem: str) -> Bird:
    if state.status is None:
        return Bird(running=False, problem=problem or state.problem)
    return Bird(
        running=True,
        version=state.status.version,
        configured=state.configured,
        problem=problem,
        sessions=tuple(_session(protocol) for protocol in state.sessions),
    )


def _session(protocol: Protocol) -> Session:
    return Session(
        name=protocol.name,
        kind=protocol.name.partition("_")[0].lower(),
        address=protocol.neighbor,
        state=protocol.info.split()[0] if protocol.info else protocol.state,
        since=protocol.since,
        info=protocol.info,
        imported=protocol.imported,
        exported=protocol.exported,
    )
