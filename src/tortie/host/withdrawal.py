"""This host's routes withdrawn where no agent runs: by BIRD alone, from the configuration that it has."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tortie import bgp
from tortie.bgp import Bgp
from tortie.bootstrap import Bootstrap
from tortie.bootstrap.settings import DRAINED_TEXT
from tortie.errors import BirdError, UsageError

_LOOK_AGAIN_S = 0.05


def withdraw(settings: Bootstrap, for_good: bool, timeout_s: float) -> Mapping[str, Any]:
    """What the agent answers to `POST /v1/drain`; for good means until the host is uncordoned. Raises BirdError."""
    if for_good:
        try:
            settings.drained.parent.mkdir(parents=True, exist_ok=True)
            settings.drained.write_text(DRAINED_TEXT)
        except OSError as error:
            raise UsageError(f"{settings.drained} cannot be written: {error.strerror}") from error
    return asyncio.run(_withdraw(sink(settings), timeout_s))


def sink(settings: Bootstrap) -> Bgp:
    """BIRD as the settings have it."""
    host = bgp.Host(settings.bird_kernel_metric, settings.bird_included)
    return bgp.make(Path(settings.bird_config), Path(settings.bird_socket), host)


async def _withdraw(bird: Bgp, timeout_s: float) -> Mapping[str, Any]:
    before = await bird.state()
    if before.status is None:
        raise BirdError(before.problem)
    await bird.withdraw()
    await wait_silent(bird, timeout_s)
    told = before.announced
    return {"withdrawn": told, "not_told": [each.neighbor for each in before.sessions if each.neighbor not in told]}


async def wait_silent(bird: Bgp, timeout_s: float) -> None:
    """Returns when no peer with a session has a route from here; raises BirdError when one still has after the time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while left := {address: routes for address, routes in (await bird.state()).announced.items() if routes}:
        if loop.time() >= deadline:
            peers = ", ".join(f"{address} has {routes}" for address, routes in left.items())
            raise BirdError(f"after {timeout_s:g} s peers still have routes of this host: {peers}")
        await asyncio.sleep(_LOOK_AGAIN_S)
