"""What policy forbids is cut, in the middle of a conversation, whoever speaks first; everything else goes on."""

from __future__ import annotations

import select
import socket
from ipaddress import ip_address, ip_network

import msgspec
import pytest

from tests.netns.flows.scene import MACS, V4, V6, Net, Scene, talk
from tests.unit.intent.policy_text import chain, policy, profile, workload
from tortie.dataplane.flows.audit import AGAIN_S
from tortie.intent.policy import BothWays, FailsafePort, FloatingAddress, HostEndpointPolicy, NatPool, PolicySettings
from tortie.intent.state import PolicyChanges
from tortie.kernel.netfilter.conntrack import Connection
from tortie.model.resource import ResourceKey

BOTH = pytest.mark.parametrize("net", [V4, V6], ids=["IPv4", "IPv6"])
TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
MARKER = 9999

OPEN = profile("open", ingress="Allow", egress="Allow")
# a serves; b may be told markers, and else only hears answers.
SERVER = policy("server", ingress="Allow destination=80:90")
CLIENT = policy("client", ingress=f"Allow udp destination={MARKER}")
CLOSED = policy("server", ingress="Deny destination=80\nAllow destination=80:90")
A = workload("a", f"{V4.a},{V6.a}", ingress="default=server", egress="| open", mac=MACS["a"])
B = workload("b", f"{V4.b},{V6.b}", ingress="default=client", egress="| open", mac=MACS["b"])
POOLS = (NatPool(ip_network("10.65.0.0/16"), outgoing=False), NatPool(ip_network("fd00:65::/64"), outgoing=False))
ALL = PolicyChanges(
    policies={each.key: each for each in (OPEN, SERVER, CLIENT)},
    workloads={each.key: each for each in (A, B)},
    pools=POOLS,
)
CUT = PolicyChanges(policies={CLOSED.key: CLOSED})


def waiting(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


def assert_cut(scene: Scene, net: Net, client: socket.socket, server: socket.socket) -> None:
    """The server speaks first, then the client; a marker that is allowed overtakes neither."""
    heard = scene.udp(scene.b, net.b, MARKER)
    speaker = scene.udp(scene.a, net.a)
    server.send(b"peer first")
    speaker.sendto(b"marker", (net.b, MARKER))
    assert heard.recv(10) == b"marker"
    assert not waiting(client)
    at_server = scene.udp(scene.a, net.a, 89)
    client.send(b"and the client")
    scene.udp(scene.b, net.b).sendto(b"marker", (net.a, 89))
    assert at_server.recv(10) == b"marker"
    assert not waiting(server)


def served(scene: Scene, net: Net, port: int) -> tuple[socket.socket, socket.socket]:
    """Datagrams from b to that port of a, and an answer."""
    server, client = scene.udp(scene.a, net.a, port), scene.udp(scene.b, net.b)
    client.connect((net.a, port))
    client.send(b"x")
    _, seen = server.recvfrom(10)
    server.connect(seen)
    talk(client, server)
    return client, server


def ids(connections: list[Connection], port: int) -> set[int]:
    return {each.id for each in connections if each.original.destination_port == port}


@BOTH
def test_tcp(scene: Scene, net: Net) -> None:
    scene.agent.take(ALL)
    client, server = scene.tcp(scene.b, scene.a, net.a, 80)
    kept = scene.tcp(scene.b, scene.a, net.a, 81)
    before = scene.connections(TCP)
    scene.agent.take(CUT)
    assert_cut(scene, net, client, server)
    talk(*kept)
    after = scene.connections(TCP)
    assert ids(before, 80)
    assert not ids(after, 80)
    assert ids(after, 81) == ids(before, 81)
    assert scene.agent.audit.cut == 1


@BOTH
def test_udp(scene: Scene, net: Net) -> None:
    scene.agent.take(ALL)
    client, server = served(scene, net, 80)
    kept = served(scene, net, 81)
    scene.agent.take(CUT)
    assert_cut(scene, net, client, server)
    talk(*kept)


@BOTH
def test_from_and_to_the_outside(scene: Scene, net: Net) -> None:
    """The world asks a, and b asks the world; both are forbidden, and others are not."""
    scene.agent.take(ALL)
    client, server = scene.tcp(scene.world, scene.a, net.a, 80)
    kept = scene.tcp(scene.world, scene.a, net.a, 81)
    asking, world = scene.tcp(scene.b, scene.world, net.world, 80)
    asking_on, world_on = scene.tcp(scene.b, scene.world, net.world, 443)
    quiet = msgspec.structs.replace(B, policy=workload("b", net.b, ingress="default=client", egress="default=q").policy)
    q = policy("q", egress="Allow tcp destination=443")
    scene.agent.take(PolicyChanges(policies={CLOSED.key: CLOSED, q.key: q}, workloads={B.key: quiet}))
    heard = scene.udp(scene.world, net.world, MARKER)
    server.send(b"peer first")
    scene.udp(scene.a, net.a).sendto(b"marker", (net.world, MARKER))
    assert heard.recv(10) == b"marker"
    assert not waiting(client)
    at_b = scene.udp(scene.b, net.b, MARKER)
    world.send(b"peer first")
    scene.udp(scene.world, net.world).sendto(b"marker", (net.b, MARKER))
    assert at_b.recv(10) == b"marker"
    assert not waiting(asking)
    talk(*kept)
    talk(asking_on, world_on)


@BOTH
def test_an_agent_that_starts_cuts_without_a_memory(scene: Scene, net: Net) -> None:
    scene.agent.take(ALL)
    client, server = scene.tcp(scene.b, scene.a, net.a, 80)
    kept = scene.tcp(scene.b, scene.a, net.a, 81)
    scene.restart()
    scene.agent.take(msgspec.structs.replace(ALL, policies={**ALL.policies, **CUT.policies}))
    assert_cut(scene, net, client, server)
    talk(*kept)


@BOTH
def test_a_deleted_endpoint_leaves_nothing(scene: Scene, net: Net) -> None:
    scene.agent.take(ALL)
    scene.tcp(scene.b, scene.a, net.a, 80)
    scene.tcp(scene.a, scene.world, net.world, 80)
    kept = scene.tcp(scene.b, scene.world, net.world, 81)
    scene.agent.take(PolicyChanges(workloads={A.key: None}))
    assert [each for each in scene.connections(TCP) if ip_address(net.a).packed in each.original[:2]] == []
    talk(*kept)


@BOTH
def test_what_an_endpoint_did_that_was_deleted_without_an_agent_is_cut(scene: Scene, net: Net) -> None:
    """Nobody remembers it, and its route went with it; connections of the host and of others stay."""
    scene.agent.take(ALL)
    scene.tcp(scene.a, scene.world, net.world, 80)
    kept = scene.tcp(scene.b, scene.world, net.world, 81)
    with_host = scene.tcp(scene.host, scene.world, net.world, 82)
    scene.restart()
    scene.host.run(f"ip route del {net.a}" if net is V4 else f"ip -6 route del {net.a}")
    scene.agent.take(msgspec.structs.replace(ALL, workloads={B.key: B}))
    left = scene.connections(TCP)
    assert ids(left, 80) == set()
    assert (len(ids(left, 81)), len(ids(left, 82))) == (1, 1)
    talk(*kept)
    talk(*with_host)


@BOTH
def test_an_address_that_moved_takes_no_connection_along(scene: Scene, net: Net) -> None:
    scene.agent.take(ALL)
    scene.tcp(scene.b, scene.a, net.a, 80)
    kept = scene.tcp(scene.b, scene.world, net.world, 81)
    elsewhere = msgspec.structs.replace(A, interface="tapother")
    scene.agent.take(PolicyChanges(workloads={A.key: elsewhere}))
    assert ids(scene.connections(TCP), 80) == set()
    talk(*kept)


def test_what_others_translate_is_judged_by_what_it_became(scene: Scene) -> None:
    """A port of the host that somebody's own rule leads to a workload."""
    scene.agent.take(ALL)
    scene.host.run(
        "nft add table ip theirs; nft add chain ip theirs pre '{ type nat hook prerouting priority dstnat; }';"
        f"nft add rule ip theirs pre tcp dport 8080 dnat to {V4.a}:80;"
        f"nft add rule ip theirs pre tcp dport 8081 dnat to {V4.a}:81"
    )
    ends = {}
    for port, inner in ((8080, 80), (8081, 81)):
        listener = scene.a.call(lambda inner=inner: socket.create_server((V4.a, inner)))  # type: ignore[misc]
        with listener:
            ends[port] = scene.connect(scene.world, V4.host, port, listener)
    scene.agent.take(CUT)
    left = scene.connections(TCP)
    assert (len(ids(left, 8080)), len(ids(left, 8081))) == (0, 1)
    talk(*ends[8081])


def test_what_the_backend_translates(scene: Scene) -> None:
    """In by a floating address, out through the host's own."""
    outside = ip_address("192.0.2.77")
    floating = msgspec.structs.replace(A, floating=(FloatingAddress(outside, ip_address(V4.a)),))
    scene.world.run(f"ip route add {outside} via {V4.host}")
    outgoing = (NatPool(ip_network("10.65.0.0/16"), outgoing=True),)
    scene.agent.take(msgspec.structs.replace(ALL, workloads={A.key: floating, B.key: B}, pools=outgoing))
    ends = {}
    for port in (80, 81):
        with scene.a.call(lambda port=port: socket.create_server((V4.a, port))) as listener:  # type: ignore[misc]
            ends[port] = scene.connect(scene.world, str(outside), port, listener)
    asking = scene.tcp(scene.b, scene.world, V4.world, 443)
    assert asking[1].getpeername()[0] == V4.host
    q = policy("q", egress="Deny tcp destination=443\nAllow")
    quiet = msgspec.structs.replace(B, policy=workload("b", V4.b, ingress="default=client", egress="default=q").policy)
    scene.agent.take(PolicyChanges(policies={CLOSED.key: CLOSED, q.key: q}, workloads={B.key: quiet}))
    left = scene.connections(TCP)
    assert [len(ids(left, port)) for port in (80, 81, 443)] == [0, 1, 0]
    talk(*ends[81])


@BOTH
def test_a_host_endpoint(scene: Scene, net: Net) -> None:
    """The host's own connections, but those on a failsafe port."""
    host = policy("host", ingress="Allow", egress="Allow")
    eth0 = HostEndpointPolicy(
        key=ResourceKey("HostEndpoint", "", "eth0"),
        interface="eth0",
        normal=BothWays(ingress=chain("default=host"), egress=chain("default=host")),
    )
    scene.agent.take(
        msgspec.structs.replace(
            ALL,
            policies={**ALL.policies, host.key: host},
            host_endpoints={eth0.key: eth0},
            settings=PolicySettings(failsafe_inbound=(FailsafePort(TCP, 22),)),
        )
    )
    cut = scene.tcp(scene.world, scene.host, net.host, 23)
    safe = scene.tcp(scene.world, scene.host, net.host, 22)
    through = scene.tcp(scene.world, scene.a, net.a, 81)
    closed = policy("host", ingress="Deny", egress="Allow icmp\nDeny")
    scene.agent.take(PolicyChanges(policies={closed.key: closed}))
    talk(*safe)
    talk(*through)
    cut[1].send(b"peer first")
    cut[0].send(b"and the client")
    talk(*safe)
    assert [waiting(end) for end in cut] == [False, False]


def test_a_walk_that_fails_is_told_and_repeated(scene: Scene) -> None:
    scene.agent.take(ALL)
    client, server = scene.tcp(scene.b, scene.a, V4.a, 80)
    scene.agent.enforce(CUT)
    scene.agent.refusals = 1
    while scene.agent.refusals:
        scene.agent.step()
    assert scene.agent.audit.problem is not None
    assert scene.agent.audit.problem.reason == "they are not audited: list connections: try again"
    scene.agent.settle()
    assert_cut(scene, V4, client, server)


def test_a_burst_of_changes_is_one_walk(scene: Scene) -> None:
    scene.agent.take(ALL)
    walks = scene.agent.audit.walks
    for policies in (CUT.policies, ALL.policies, CUT.policies):
        scene.agent.enforce(PolicyChanges(policies=policies))
    scene.agent.settle()
    assert scene.agent.audit.walks == walks + 1


def test_what_comes_back_is_looked_for_at_growing_intervals(scene: Scene) -> None:
    """The kernel lets it in again: somebody took the rules away."""
    scene.agent.take(ALL)
    client, _ = served(scene, V4, 80)
    audit, now = scene.agent.audit, scene.agent.now
    for part in (scene.agent.state, scene.agent.judge, audit):
        part.take(CUT)
    pauses: list[float] = []
    for _ in range(4):
        walks = audit.walks
        while audit.walks == walks:
            if not audit.apply(now) and audit.walks == walks:
                now = audit.next_due() or now
        client.send(b"again")
        pauses.append((audit.next_due() or now) - now)
    assert audit.cut == len(pauses)
    assert all(pause >= AGAIN_S * 4**number for number, pause in enumerate(pauses)), pauses


def test_a_change_during_a_walk_is_followed_by_another(scene: Scene) -> None:
    scene.agent.take(ALL)
    client, server = scene.tcp(scene.b, scene.a, V4.a, 80)
    audit = scene.agent.audit
    audit.demand()
    walks = audit.walks
    audit.apply(scene.agent.now)
    assert audit.next_due() is not None
    scene.agent.enforce(CUT)
    scene.agent.now = audit.next_due() or 0.0
    while audit.walks == walks:
        scene.agent.step()
    scene.agent.settle()
    assert_cut(scene, V4, client, server)


def test_a_change_that_closes_nothing_walks_nothing(scene: Scene) -> None:
    scene.agent.take(ALL)
    walks = scene.agent.audit.walks
    scene.agent.take(PolicyChanges(pools=()))
    new = policy("new", ingress="Deny")
    scene.agent.take(PolicyChanges(policies={new.key: new}))
    assert scene.agent.audit.walks == walks
    scene.agent.take(CUT)
    assert scene.agent.audit.walks > walks
