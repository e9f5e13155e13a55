"""The current board, and waiting until it says something."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tortie.status import Board


class Noticeboard:
    """Holds one board; whoever waits is woken by each new one."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._waiters: set[asyncio.Future[None]] = set()

    def post(self, board: Board) -> None:
        """Replaces the board; an equal one wakes nobody."""
        if board == self.board:
            return
        self.board = board
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def changed(self) -> None:
        """Returns at the next new board."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def wait_for(self, holds: Callable[[Board], bool], timeout_s: float) -> bool:
        """Returns True as soon as `holds` is true of the board, False when the time is up."""
        try:
            async with asyncio.timeout(timeout_s):
                while not holds(self.board):
                    await self.changed()
        except TimeoutError:
            return False
        return True
