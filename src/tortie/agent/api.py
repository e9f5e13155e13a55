"""The local API: HTTP on a unix socket, for the CLI, the CNI plugin and `curl --unix-socket`.

Invariants:
* Reading is for everyone who may open the socket (0660, group `tortie`); changes need root, as the kernel says it.
* A request is bounded in size; an answer is JSON, an error is `{"error": "a sentence"}` with a fitting status.
* The API holds no state: it reads the board, and hands requests on.
"""

from __future__ import annotations

import grp
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog
from aiohttp import web

from tortie.agent.counting import Counting
from tortie.agent.draining import Draining
from tortie.agent.facts import facts_between
from tortie.agent.metrics import render_metrics
from tortie.agent.noticeboard import Noticeboard
from tortie.agent.packets import PacketLog
from tortie.attach import AttachRequest, AttachService, DetachRequest
from tortie.dataplane.events import Kind
from tortie.errors import (
    AlreadyExists,
    AttachError,
    Conflict,
    ForeignCluster,
    FormatTooNew,
    InvalidResource,
    NotFound,
    TortieError,
    Unavailable,
    UsageError,
)
from tortie.status import Board

LOG = structlog.get_logger(__name__)

MAX_REQUEST_BYTES = 1 << 20
MAX_WAIT_S = 60.0
GROUP = "tortie"

_STATUS_OF_ERROR: tuple[tuple[type[TortieError], int], ...] = (
    (UsageError, 400),
    (InvalidResource, 422),
    (NotFound, 404),
    (AlreadyExists, 409),
    (Conflict, 409),
    (AttachError, 409),
    (ForeignCluster, 409),
    (FormatTooNew, 409),
    (Unavailable, 503),
    (TortieError, 500),
)

Body = TypeVar("Body")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """Serves the board, what packets meet, and the attach service on one socket."""

    def __init__(
        self,
        noticeboard: Noticeboard,
        board: Callable[[], Awaitable[Board]],
        attach: AttachService,
        packets: PacketLog,
        counting: Counting,
        lacking: Callable[[str], str],
        draining: Draining,
    ) -> None:
        self._noticeboard = noticeboard
        self._board = board  # the same with what is measured when it is asked for
        self._attach = attach
        self._packets = packets
        self._counting = counting
        self._lacking = lacking
        self._draining = draining
        app = web.Application(client_max_size=MAX_REQUEST_BYTES, middlewares=[_errors])
        app.router.add_get("/v1/status", self._status)
        app.router.add_get("/v1/health/live", self._live)
        app.router.add_get("/v1/health/ready", self._ready)
        app.router.add_get("/v1/packets", self._told)
        app.router.add_get("/v1/counters", self._counted)
        app.router.add_get("/v1/facts", self._facts)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_post("/v1/attach", self._do_attach)
        app.router.add_post("/v1/detach", self._do_detach)
        app.router.add_post("/v1/drain", self._do_drain)
        app.router.add_post("/v1/uncordon", self._do_uncordon)
        # An access log of a status poll would be most of the log; failures are logged where they happen.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self, path: Path) -> None:
        """Listens; a socket left by a dead agent is replaced, one of a living agent is an error."""
        _clear(path)
        await self._runner.setup()
        old_mask = os.umask(0o117)
        try:
            await web.UnixSite(self._runner, str(path)).start()
        finally:
            os.umask(old_mask)
        try:
            os.chown(path, -1, grp.getgrnam(GROUP).gr_gid)
        except (KeyError, PermissionError):
            LOG.info("socket is for root only", path=str(path), reason=f"there is no group {GROUP}")

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _status(self, request: web.Request) -> web.StreamResponse:
        return _json(await self._board())

    async def _live(self, request: web.Request) -> web.StreamResponse:
        """Live: the event loop turns, since this was answered."""
        return _json({"live": True})

    async def _ready(self, request: web.Request) -> web.StreamResponse:
        """Ready: the state in force is known and every row that can be written is."""
        board = self._noticeboard.board
        ready = board.in_sync and not board.pending
        return _json({"ready": ready, "pending": len(board.pending)}, status=200 if ready else 503)

    async def _told(self, request: web.Request) -> web.StreamResponse:
        """Packets of a `kind` behind the number `since`, for which it waits up to `wait_s` seconds."""
        asked = _convert(dict(request.query), _Told)
        return _json(await self._packets.page(asked.kind, asked.since, asked.counter, min(asked.wait_s, MAX_WAIT_S)))

    async def _counted(self, request: web.Request) -> web.StreamResponse:
        """What was dropped for each reason, and what the rules of each `policy` decided."""
        return _json(await self._counting.counted(request.query.getall("policy", [])))

    async def _facts(self, request: web.Request) -> web.StreamResponse:
        """What the kernel knows about packets from a `source` to a `destination`."""
        asked = _convert(dict(request.query), _Between)
        board, ring = self._noticeboard.board, self._packets.ring
        return _json(await facts_between(asked.source, asked.destination, board, self._lacking, ring))

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=render_metrics(await self._board()), content_type="text/plain")

    async def _do_attach(self, request: web.Request) -> web.StreamResponse:
        _require_root(request)
        return _json(await self._attach.attach(_decode(await request.read(), AttachRequest)))

    async def _do_detach(self, request: web.Request) -> web.StreamResponse:
        _require_root(request)
        return _json({"detached": await self._attach.detach(_decode(await request.read(), DetachRequest))})

    async def _do_drain(self, request: web.Request) -> web.StreamResponse:
        """Withdraws this host's routes, and answers when no peer with a session has one any more."""
        _require_root(request)
        return _json(await self._draining.drain(_decode(await request.read(), _Within).timeout_s))

    async def _do_uncordon(self, request: web.Request) -> web.StreamResponse:
        _require_root(request)
        return _json(await self._draining.uncordon(_decode(await request.read(), _Within).timeout_s))


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except TortieError as error:
        status = next(status for kind, status in _STATUS_OF_ERROR if isinstance(error, kind))
        return _json({"error": str(error)}, status=status)
    except web.HTTPException as error:
        return _json({"error": f"{request.method} {request.path}: {error.reason}"}, status=error.status)
    except Exception as error:
        # A fault of one request is reported, and must not take the agent with it.
        LOG.exception("request failed", path=request.path)
        return _json({"error": f"internal error: {error!r}; the agent's log has the details"}, status=500)


class _Told(msgspec.Struct, frozen=True):
    kind: Kind
    since: int = 0
    counter: str = ""
    wait_s: float = 0.0


class _Between(msgspec.Struct, frozen=True):
    source: str
    destination: str


class _Within(msgspec.Struct, frozen=True):
    timeout_s: float = 30.0


def _convert(query: dict[str, str], kind: type[Body]) -> Body:
    try:
        return msgspec.convert(query, kind, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"query: {error}") from error


def _decode(body: bytes, kind: type[Body]) -> Body:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise UsageError(f"request body: {error}") from error


def _require_root(request: web.Request) -> None:
    transport = request.transport
    peer = transport.get_extra_info("socket") if transport is not None else None
    if peer is None:
        raise web.HTTPForbidden(reason="the connection is gone")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    if uid != 0:
        raise web.HTTPForbidden(reason="changes need root")


def _clear(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if _answers(path):
        raise UsageError(f"another agent listens on {path}: stop it first, or give this one another run_dir")
    path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")
