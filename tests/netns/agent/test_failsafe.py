"""A host that denies everything on its uplink stays in its cluster: etcd and a BGP peer, on ports of their own."""

from __future__ import annotations

import json
import shlex
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.netns.agent.conftest import AgentFactory
from tests.netns.agent.running import RunningAgent
from tests.netns.agent.test_life import PREFIX
from tests.netns.conftest import Namespace, NetnsFactory
from tests.netns.datastore.distant import HOST, STORE, DistantEtcd
from tortie.kernel.netfilter import conntrack
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.lab import etcd

ETCD_PORT = 12379  # neither is among the default failsafe ports
BGP_PORT = 1790
PEER = f"""
router id {STORE};
protocol device {{ }}
protocol bgp host {{
    local {STORE} port {BGP_PORT} as 64512;
    neighbor {HOST} as 64512;
    connect delay time 1; connect retry time 1; error wait time 1, 1;
    ipv4 {{ import all; export none; }};
}}
"""


class Daemon:
    """A program in a namespace, which may be started anew."""

    def __init__(self, namespace: Namespace, *command: str) -> None:
        self._command = ["nsenter", f"--net={namespace.path}", *command]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


class Uplink:
    """A host with its agent and BIRD, and what is on the other side of its uplink: etcd and a BGP peer."""

    def __init__(self, agent: RunningAgent, store: DistantEtcd, peer: Daemon) -> None:
        self.agent = agent
        self.store = store
        self.peer = peer

    def put(self, kind: str, name: str, spec: dict[str, Any]) -> int:
        """Writes an object; its revision."""
        metadata = {"name": name, "labels": {"role": "host"}}
        document = {"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": metadata, "spec": spec}
        said = self.store.ctl(
            "put", f"{PREFIX}/{kind.lower()}s/{name}", shlex.quote(json.dumps(document)), "-w", "json"
        )
        return int(json.loads(said)["header"]["revision"])

    def enforce(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        revision = self.put(kind, name, spec)
        self.agent.wait(lambda board: board["enforced_revision"] >= revision)


@pytest.fixture
def uplink(agents: AgentFactory, netns: NetnsFactory, tmp_path: Path) -> Iterator[Uplink]:
    if what := etcd.missing():
        pytest.skip(what)
    if shutil.which("bird") is None:
        pytest.skip("BIRD is not installed")
    agent = agents("host-a")
    with ExitStack() as ends:
        store = DistantEtcd(agent.namespace, netns("far"), tmp_path, ETCD_PORT)
        ends.callback(store.close)
        agent.config.write_text(agent.config.read_text().replace(f"sqlite://{agent.store}", store.url))
        (tmp_path / "peer.conf").write_text(PEER)
        peer = Daemon(
            store.store, "bird", "-f", "-c", str(tmp_path / "peer.conf"), "-s", str(tmp_path / "peer.ctl"), "-R"
        )
        ends.callback(peer.end)
        made = Uplink(agent, store, peer)
        made.put("Node", "host-a", {"bgp": {"ipv4Address": f"{HOST}/24", "asNumber": 64512}})
        made.put("BGPConfiguration", "default", {"nodeToNodeMeshEnabled": False})
        made.put("BGPPeer", "far", {"peerIP": f"{STORE}:{BGP_PORT}", "asNumber": 64512})
        agent.start_and_wait()
        directory = agent.directory
        bird = Daemon(
            agent.namespace,
            *("bird", "-f", "-c", f"{directory}/state/bird.conf", "-s", f"{directory}/run/bird.ctl", "-R"),
        )
        ends.callback(bird.end)
        agent.wait(session_is(up=True))
        yield made


def session_is(*, up: bool) -> Callable[[dict[str, Any]], bool]:
    return lambda board: [each["state"] == "Established" for each in board["bird"]["sessions"]] == [up]


def reaches(namespace: Namespace, address: str, port: int) -> bool:
    """Whether a new connection is made, or refused by the host itself."""

    def connect() -> bool:
        try:
            socket.create_connection((address, port), timeout=0.5).close()
        except TimeoutError:
            return False
        except ConnectionRefusedError:
            return True
        return True

    return namespace.call(connect)


def tracked(namespace: Namespace) -> set[int]:
    """The ports of connections that the kernel tracks."""
    with NetfilterSocket.open_in(namespace.path) as sock:
        return {each.original.destination_port for piece in conntrack.walk(sock) for each in piece}


def test_a_host_that_denies_everything_stays_in_its_cluster(uplink: Uplink) -> None:
    agent, store = uplink.agent, uplink.store
    host, far = agent.namespace, store.store
    assert reaches(far, HOST, 8080)
    assert reaches(host, STORE, 8080)
    uplink.enforce("HostEndpoint", "uplink", {"node": "host-a", "interfaceName": "w0"})
    assert not reaches(far, HOST, 8080)
    assert not reaches(host, STORE, 8080)
    board = agent.wait(lambda board: board["connected"])
    assert session_is(up=True)(board)
    assert ETCD_PORT in tracked(host)
    # Not only what was open before: both begin anew, and the agent hears of what is new.
    uplink.peer.end()
    agent.wait(session_is(up=False))
    uplink.peer.start()
    agent.wait(session_is(up=True))
    store.stop()
    agent.wait(lambda board: not board["connected"])
    store.start()
    agent.wait(lambda board: board["connected"])
    # An explicit empty list is what the user wants: nothing is open, and what was is cut.
    uplink.put("FelixConfiguration", "default", {"failsafeInboundHostPorts": [], "failsafeOutboundHostPorts": []})
    agent.wait(lambda _: not reaches(host, STORE, ETCD_PORT))
    assert not reaches(far, HOST, 179)
    assert not reaches(host, STORE, BGP_PORT)
    agent.wait(lambda _: tracked(host).isdisjoint({ETCD_PORT, BGP_PORT, 179}))
