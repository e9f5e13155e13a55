"""BIRD's side of the agent: the newest BGP intent applied, and BIRD's state looked at, in a task of its own.

BIRD may be slow, stopped or not installed, or find its port taken; none of that may hold back a route.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from tortie.bgp import Applied, Bgp, BirdState, Protocol, Unreachable
from tortie.errors import BirdError
from tortie.intent.bgp import BgpIntent
from tortie.intent.report import Noted
from tortie.kernel.listening import Listener, listeners
from tortie.status import Bird, Session

LOG = structlog.get_logger(__name__)

# BIRD sends no events: sessions and lost reloads are found by asking.
LOOK_INTERVAL_S = 2.0
# While peers may still have a route of a host that is being drained.
WITHDRAWING_INTERVAL_S = 0.1
# A text that BIRD refuses stays refused until the intent changes, or somebody repairs BIRD.
REFUSED_INTERVAL_S = 10.0

_NO_PORT = "No listening socket"  # BIRD's words; such a session does not try again by itself


class RoutingDaemon:
    """Applies what `desire` said last; `report` and `problems` are what BIRD said last.

    While the file `drained` is there, peers are told of no route, also before anything is known of the cluster.
    """

    def __init__(self, sink: Bgp, drained: Path, wake: Callable[[], None], applied: Callable[[], None]) -> None:
        self.report = Bird(running=False, problem="not asked yet")
        self.problems: tuple[Noted, ...] = ()
        self._sink = sink
        self._drained = drained
        self._wake = wake
        self._applied = applied  # called when BIRD runs what was desired last
        self._intent: BgpIntent | None = None
        self._announcing = True  # what was applied last
        self._changed = asyncio.Event()

    def desire(self, intent: BgpIntent) -> None:
        self._intent = intent
        self._changed.set()

    async def sessions(self) -> tuple[Session, ...]:
        """What BIRD says of them now, which the report will say after the next look."""
        return tuple(map(_session, (await self._sink.state()).sessions))

    def look(self) -> None:
        """Makes sure of everything now, and not at the next look."""
        self._changed.set()
        self._wake()

    async def run(self) -> None:
        """Never ends; applies at once when the intent changes, and makes sure of it at every look."""
        while True:
            self._changed.clear()
            announcing = not self._drained.exists()
            refused = (self._intent is not None or not announcing) and await self._apply(self._intent, announcing)
            withdrawing = not announcing and self.report.running and not self.report.silent
            usual_s = WITHDRAWING_INTERVAL_S if withdrawing else LOOK_INTERVAL_S
            try:
                async with asyncio.timeout(REFUSED_INTERVAL_S if refused else usual_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _apply(self, intent: BgpIntent | None, announcing: bool) -> bool:
        """Applies the intent and asks for BIRD's state; True when BIRD refuses the text."""
        problem = ""
        refused = False
        left_out = intent.problems if intent else ()
        try:
            applied = await self._write(intent, announcing)
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
                LOG.info("BIRD reloaded its configuration", peers=len(intent.peers) if intent else 0)
            self._announcing = announcing
        state = await self._sink.state()
        report = _report(state, problem, self._announcing, intent)
        if report.configured and not problem and intent is not None and intent is self._intent:
            self._applied()
        lacking = tuple(Noted(subject="the host's BIRD", reason=each) for each in state.lacking)
        problems = (
            *(Noted(subject=str(left.key), reason=left.reason) for left in left_out),
            *lacking,
            *(await self._retry_port(state, intent.listen_port) if intent is not None else ()),
        )
        if (report, problems) != (self.report, self.problems):
            self.report, self.problems = report, problems
            self._wake()
        return refused

    async def _write(self, intent: BgpIntent | None, announcing: bool) -> Applied:
        if intent is None:
            await self._sink.withdraw()
            return Applied(reloaded=False)
        return await self._sink.apply(msgspec.structs.replace(intent, announcing=announcing))

    async def _retry_port(self, state: BirdState, port: int) -> tuple[Noted, ...]:
        """Who holds the port that sessions gave up for; they try again when it is nobody, or BIRD itself."""
        waiting = [each.name for each in state.sessions if each.state == "down" and _NO_PORT in each.info]
        if not waiting:
            return ()
        others = [each for each in await asyncio.to_thread(listeners, port) if each.pid != state.pid]
        if others:
            return (_taken(port, others, len(waiting)),)
        try:
            await self._sink.enable(waiting)
        except BirdError as error:
            LOG.warning("BIRD does not take up sessions that waited for their port", reason=str(error))
        return ()


def _taken(port: int, others: list[Listener], waiting: int) -> Noted:
    return Noted(
        subject=f"TCP port {port}",
        reason=f"{', '.join(map(str, others))} listens there, so {waiting} BGP sessions of this host wait: stop it, or"
        " set listenPort in BGPConfiguration; if it is a BIRD that the host needs, let it include tortie's"
        " configuration (bird_included). What is local goes on, and the sessions start when the port is free",
    )


def _report(state: BirdState, problem: str, announcing: bool, intent: BgpIntent | None) -> Bird:
    if state.status is None:
        return Bird(running=False, announcing=announcing, problem=problem or state.problem)
    return Bird(
        running=True,
        version=state.status.version,
        configured=state.configured,
        problem=problem,
        sessions=tuple(_session(protocol) for protocol in state.sessions),
        announcing=announcing,
        reflector=intent is not None and intent.cluster_id is not None,
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
