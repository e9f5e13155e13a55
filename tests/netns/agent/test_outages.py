"""An agent whose datastore is gone: it waits at no cost, and takes up what happened meanwhile."""

from __future__ import annotations

from tests.netns import processor
from tests.netns.agent.running import RunningAgent
from tests.netns.conftest import NetnsFactory

MOST_OF_A_PROCESSOR = 0.02


def test_it_waits_at_no_cost(agent: RunningAgent, netns: NetnsFactory) -> None:
    agent.attach("web", netns=netns("web").path, addresses=["10.65.0.24"])
    aside = agent.store.with_name("aside")
    agent.store.rename(aside)
    board = agent.wait(lambda board: not board["connected"])
    assert "does not exist" in board["datastore_problem"]
    assert processor.share(agent.process, 10) < MOST_OF_A_PROCESSOR
    assert agent.routes() == ["10.65.0.24"]
    aside.rename(agent.store)
    board = agent.wait(lambda board: bool(board["connected"]))
    assert board["endpoints"]["default/host--a-tortie-web-eth0"]["state"] == "up"
