"""The agent as `attach` sees it: who holds an address, and when an endpoint is routed or gone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tortie.agent.cluster import Cluster
from tortie.agent.noticeboard import Noticeboard
from tortie.agent.uplink import Uplink
from tortie.attach.request import Address
from tortie.attach.service import Routed
from tortie.calc.graph import Graph
from tortie.intent.report import EndpointReport, EndpointState
from tortie.model.resource import ResourceKey
from tortie.status import Board

# An error that is a race of the first pass (an interface that settles) is over by then.
ERROR_GRACE_S = 1.0


class AttachView:
    """Implements `attach.service.Dataplane`."""

    def __init__(self, graph: Graph, cluster: Cluster, noticeboard: Noticeboard, drained: Path, uplink: Uplink) -> None:
        self._graph = graph
        self._cluster = cluster
        self._noticeboard = noticeboard
        self._drained = drained
        self._uplink = uplink

    @property
    def uplink_mtu(self) -> int:
        return self._uplink.mtu

    @property
    def drained(self) -> bool:
        return self._drained.exists()

    @property
    def locked(self) -> bool:
        return self._cluster.locked

    def holder(self, address: Address) -> ResourceKey | None:
        return self._graph.holder(address)

    async def wait_routed(
        self, name: str, revision: int, addresses: Sequence[Address], timeout_s: float, waiting_will_do: bool
    ) -> Routed:
        expected = {str(address) for address in addresses}

        def report(board: Board) -> EndpointReport | None:
            found = board.endpoints.get(name) if board.revision >= revision else None
            return found if found is not None and set(found.addresses) == expected else None

        def settled(board: Board) -> bool:
            found = report(board)
            if found is None:
                return False
            return found.state is EndpointState.UP or (waiting_will_do and found.state is EndpointState.DOWN)

        def failed(board: Board) -> bool:
            found = report(board)
            return found is not None and found.state is EndpointState.ERROR

        async def wait() -> None:
            if not await self._noticeboard.wait_for(lambda board: settled(board) or failed(board), timeout_s):
                return
            if not settled(self._noticeboard.board):
                await self._noticeboard.wait_for(settled, min(ERROR_GRACE_S, timeout_s))

        await wait()
        found = report(self._noticeboard.board)
        if found is None:
            return Routed(up=False, waiting=False, reason=self._silence())
        return Routed(
            up=found.state is EndpointState.UP, waiting=found.state is EndpointState.DOWN, reason=found.reason
        )

    async def wait_gone(self, name: str, revision: int, timeout_s: float) -> bool:
        return await self._noticeboard.wait_for(
            lambda board: board.revision >= revision and name not in board.endpoints, timeout_s
        )

    def _silence(self) -> str:
        board = self._noticeboard.board
        return board.datastore_problem or "the agent has not seen it yet in the datastore"
