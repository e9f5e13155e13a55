"""A host that is drained: its routes are withdrawn, and nothing is attached to it, until it is uncordoned.

Invariants:
* A file in the state directory says so, and nothing else: it survives agent, BIRD and a reboot, needs no datastore, and
  counts for a running agent whoever made it.
* Who asks is answered when no peer with a session has a route from this host any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from tortie.agent.noticeboard import Noticeboard
from tortie.agent.routing_daemon import RoutingDaemon
from tortie.bootstrap.settings import DRAINED_TEXT
from tortie.errors import BirdError, TortieError
from tortie.status import Board

LOG = structlog.get_logger(__name__)


class Draining:
    """The file, and what follows from it in BIRD."""

    def __init__(self, file: Path, bird: RoutingDaemon, noticeboard: Noticeboard) -> None:
        self._file = file
        self._bird = bird
        self._noticeboard = noticeboard

    async def drain(self, timeout_s: float) -> dict[str, Any]:
        """Raises BirdError when a peer may still have a route after the time; the host stays drained."""
        before = await self._bird.sessions()
        await self._change(lambda: self._file.write_text(DRAINED_TEXT))
        LOG.info("this host is drained: its routes are withdrawn, and nothing may be attached")
        if not await self._noticeboard.wait_for(lambda board: board.bird.silent, timeout_s):
            raise BirdError(f"nothing is attached any more, but routes may still be announced: {self._why(timeout_s)}")
        return {
            "withdrawn": {each.address: each.exported for each in before if each.state == "Established"},
            "not_told": [each.address for each in before if each.state != "Established"],
        }

    async def uncordon(self, timeout_s: float) -> dict[str, Any]:
        """Raises BirdError when BIRD does not announce after the time; the host is no longer drained."""
        was_drained = self._file.exists()
        await self._change(lambda: self._file.unlink(missing_ok=True))

        def announces(board: Board) -> bool:
            return board.bird.announcing and board.bird.configured

        if not await self._noticeboard.wait_for(announces, timeout_s):
            raise BirdError(f"this host is no longer drained, but does not announce: {self._why(timeout_s)}")
        return {"was_drained": was_drained}

    async def _change(self, write: Callable[[], object]) -> None:
        try:
            await asyncio.to_thread(write)
        except OSError as error:
            raise TortieError(f"{self._file} cannot be changed: {error.strerror}") from error
        self._bird.look()

    def _why(self, timeout_s: float) -> str:
        bird = self._noticeboard.board.bird
        left = ", ".join(f"{each.address} has {each.exported}" for each in bird.sessions if each.exported)
        return bird.problem or left or f"BIRD does not run what it should after {timeout_s:g} s"
