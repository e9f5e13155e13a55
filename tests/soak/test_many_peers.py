"""Two hundred routers come and go one by one, and the sessions that stay never notice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.bgp.hosts import Fabric, bounced, until
from tests.netns.bgp.test_terms import TOR4, session
from tests.netns.conftest import NetnsFactory, netns
from tests.unit.calc.cluster import bgp_peer

__all__ = ["netns"]  # a fixture

PEERS = 200


@pytest.fixture
def fabric(netns: NetnsFactory, tmp_path: Path) -> Iterator[Fabric]:
    fabric = Fabric(netns, tmp_path)
    yield fabric
    fabric.end()


async def test_sessions_that_a_change_does_not_concern_never_bounce(fabric: Fabric) -> None:
    a, b = fabric.host("a", "172.18.203.125/24"), fabric.host("b", "172.18.203.126/24")
    tor = fabric.stranger("tor", f"{TOR4}/24", session("172.18.203.125", 64601, 64512))
    cluster = await fabric.start(bgp_peer("tor", node="a", peerIP=TOR4, asNumber=64601))
    await a.sessions_up(2)
    a.add_workload("10.65.0.21")
    await until(lambda: "10.65.0.21" in b.bird_routes() and "10.65.0.21" in tor.bird_routes())
    before = {each.name: each for each in (await a.bgp.state()).sessions}
    peers = [bgp_peer(f"p{number}", peerIP=f"172.18.204.{number}", asNumber=64602) for number in range(1, PEERS + 1)]
    for count in (*range(1, PEERS + 1), *range(PEERS - 1, -1, -1)):
        assert (await a.apply([*cluster, *peers[:count]])).reloaded
        now = (await a.bgp.state()).sessions
        assert len(now) == count + len(before)
        assert [each.name for each in now if each.name in before and bounced(before[each.name], each)] == []
    assert "10.65.0.21" in b.bird_routes()
    assert "10.65.0.21" in tor.bird_routes()
