"""Labs of real agents and BIRDs, one per test."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable

import pytest

from tests.netns.lab.conftest import traces
from tortie.lab import topology
from tortie.lab.down import down
from tortie.lab.topology import Topology
from tortie.lab.up import up


@pytest.fixture
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Topology]:
    """The scene that the test's parameter makes, up and with all routes; removed without a trace."""
    make: Callable[[], Topology] = request.param
    wanted = topology.renamed(make(), f"tt{secrets.token_hex(4)}")
    try:
        assert await up(wanted, print, wait_s=30) == {}
        yield wanted
    finally:
        down(wanted.name)
    assert traces(wanted.name) == []
