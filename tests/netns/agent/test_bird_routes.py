"""Routes that BIRD wrote and others delete: BIRD has them back at once, and who took them is told."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.netns.agent.conftest import AgentFactory
from tests.netns.agent.running import RunningAgent
from tests.netns.agent.test_bird import put_node, started
from tests.netns.agent.test_repairs import entry, unreaped
from tests.netns.conftest import NetnsFactory
from tortie.agent.bird_routes import GAP_S

ROUTES = [f"10.65.1.{number}" for number in range(1, 101)]
PEER = """\
log stderr all;
router id 172.18.203.6;
protocol device {{}}
protocol static workloads {{
  ipv4;
{routes}
}}
protocol bgp host_a {{
  local 172.18.203.6 as 64512;
  neighbor 172.18.203.5 as 64512;
  direct;
  connect delay time 1;
  ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }};
}}
"""


class Host:
    """A host's agent and its BIRD, which has routes of a peer's."""

    def __init__(self, agent: RunningAgent, peer: Path, bird_log: Path) -> None:
        self.agent = agent
        self._peer = peer
        self._bird_log = bird_log

    def bgp_routes(self) -> list[str]:
        lines = self.agent.namespace.run("ip route show proto bird").splitlines()
        return sorted((line.split()[0] for line in lines), key=lambda each: int(each.rpartition(".")[2]))

    def looks(self) -> int:
        """How often BIRD was asked to look at the kernel's table."""
        return self._bird_log.read_text().count("Reloading protocol kernel4")

    def withdraw(self) -> None:
        subprocess.run(["birdc", "-s", self._peer, "disable workloads"], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture
def host(agents: AgentFactory, netns: NetnsFactory, tmp_path: Path) -> Iterator[Host]:
    if shutil.which("bird") is None:
        pytest.skip("BIRD is not installed")
    agent, peer = agents("host-a"), netns("peer")
    agent.namespace.run(f"ip link add eth0 type veth peer name eth0 netns {peer.name} && ip link set eth0 up")
    agent.namespace.run("ip addr add 172.18.203.5/24 dev eth0")
    peer.run("ip addr add 172.18.203.6/24 dev eth0 && ip link set eth0 up")
    agent.start_and_wait()
    put_node(agent, "host-a", "172.18.203.5/24")
    put_node(agent, "host-b", "172.18.203.6/24")
    text = tmp_path / "peer.conf"
    text.write_text(PEER.format(routes="\n".join(f"  route {each}/32 blackhole;" for each in ROUTES)))
    log = tmp_path / "bird.log"
    own = ("bird", "-f", "-c", f"{agent.directory}/state/bird.conf", "-s", f"{agent.directory}/run/bird.ctl")
    with ExitStack() as stack:
        stack.enter_context(started(agent.namespace, "sh", "-c", f"exec {' '.join(own)} 2>{log}"))
        stack.enter_context(started(peer, "bird", "-f", "-c", str(text), "-s", str(tmp_path / "peer.ctl")))
        made = Host(agent, tmp_path / "peer.ctl", log)
        agent.wait(lambda board: [each["imported"] for each in board["bird"]["sessions"]] == [len(ROUTES)])
        agent.wait(lambda _: made.bgp_routes() == ROUTES)
        yield made


def test_a_deleted_route_is_back_at_once_and_who_took_it_is_told(host: Host) -> None:
    what = f"BGP route {ROUTES[0]}/32"
    for number in range(1, 4):  # BIRD by itself looks each 10 s
        with unreaped(host.agent.namespace, "ip", "route", "del", ROUTES[0]) as process:
            board = host.agent.wait(lambda board, n=number: board["repaired"].get("bgp") == n)  # type: ignore[misc]
        told = entry(board, what)
        assert told is not None
        assert (told["table"], told["times"]) == ("bgp", number)
        assert told["by"] == f"port id {process.pid}, perhaps process {process.pid} (ip)"
        assert host.bgp_routes() == ROUTES
        assert told["longest_ms"] < 2000, told


def test_all_flushed_at_once_cost_one_look(host: Host) -> None:
    before = host.looks()
    host.agent.namespace.run("ip route flush proto bird")
    host.agent.wait(lambda board: board["repaired"].get("bgp") == len(ROUTES))
    assert host.bgp_routes() == ROUTES
    assert host.looks() - before == 1


def test_what_bird_withdraws_itself_is_no_harm(host: Host) -> None:
    before = host.looks()
    host.withdraw()
    host.agent.wait(lambda _: host.bgp_routes() == [])
    # What is asked now is answered after the look that would have been due by then.
    host.agent.namespace.run("ip route add 10.65.2.1/32 via 172.18.203.6 proto bird metric 32")
    host.agent.namespace.run("ip route del 10.65.2.1/32")
    host.agent.wait(lambda _: host.looks() > before)
    assert host.looks() - before == 1
    board = host.agent.status()
    assert (board["repairs"], board["repaired"]) == ([], {})


def test_who_deletes_without_end_costs_a_bounded_number_of_looks(host: Host) -> None:
    before, began = host.looks(), time.monotonic()
    deletions = 0
    while time.monotonic() < began + 4 * GAP_S:
        host.agent.namespace.run(f"ip route del {ROUTES[0]}", check=False)
        deletions += 1
    assert 2 <= host.looks() - before <= (time.monotonic() - began) / GAP_S + 1
    assert deletions > 20
    host.agent.wait(lambda _: host.bgp_routes() == ROUTES)
