"""Agents of one store, each in a namespace of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.netns.agent.running import RunningAgent
from tests.netns.conftest import NetnsFactory
from tortie.kernel import libc
from tortie.kernel.bpf import pin

AgentFactory = Callable[[str], RunningAgent]


@pytest.fixture
def agents(netns: NetnsFactory, tmp_path: Path) -> Iterator[AgentFactory]:
    """`agents("host-a")` makes the agent of a host, not yet started; all share the store `tmp_path`/store.db."""
    made: list[RunningAgent] = []
    mounts: list[Path] = []

    def make(node: str) -> RunningAgent:
        bpffs = tmp_path / f"bpf-{node}"
        pin.mount(str(bpffs))
        mounts.append(bpffs)
        agent = RunningAgent(netns(node), tmp_path / node, bpffs, tmp_path / "store.db", node)
        made.append(agent)
        return agent

    yield make
    for agent in made:
        agent.close()
    for path in mounts:
        libc.umount(str(path), libc.MNT_DETACH)


@pytest.fixture
def agent(agents: AgentFactory) -> RunningAgent:
    """A running agent of `host-a`."""
    made = agents("host-a")
    made.namespace.run("ip addr add 172.18.203.5/32 dev lo && ip -6 addr add fd00:1::5/128 dev lo")
    made.start_and_wait()
    return made
