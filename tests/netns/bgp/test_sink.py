"""The sink against the real daemon: what it changes, what it leaves alone, and what it says when it cannot."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from tests.netns.bgp.hosts import Fabric, Host, bounced, until
from tests.unit.calc.cluster import bgp_configuration, bgp_peer, node
from tortie.agent.routing_daemon import RoutingDaemon
from tortie.bgp import Unreachable, write_initial
from tortie.errors import BirdError

A4, B4, C4 = "172.18.203.125", "172.18.203.126", "172.18.203.129"


async def until_not_established(host: Host) -> None:
    async with asyncio.timeout(30):
        while True:
            if [each.info for each in (await host.bgp.state()).sessions] != ["Established"]:
                return
            await asyncio.sleep(0.05)


async def last_reconfiguration(host: Host) -> str:
    status = (await host.bgp.state()).status
    assert status is not None
    return status.last_reconfiguration


async def test_the_same_again_is_no_reload(fabric: Fabric) -> None:
    a = fabric.host("a", f"{A4}/24")
    cluster = await fabric.start(node("b", f"{B4}/24"))
    await until(a.socket.exists)
    before, text = await last_reconfiguration(a), a.config.stat()
    for _ in range(100):
        assert not (await a.apply(cluster)).reloaded
    assert await last_reconfiguration(a) == before
    assert a.config.stat() == text


async def test_a_new_agent_adopts_a_running_bird(fabric: Fabric) -> None:
    a = fabric.host("a", f"{A4}/24")
    cluster = await fabric.start(node("b", f"{B4}/24"))
    await until(a.socket.exists)
    before = await last_reconfiguration(a)
    a.bgp = a.new_sink()
    assert not (await a.bgp.state()).configured  # it does not know yet what is wanted
    assert not (await a.apply(cluster)).reloaded
    assert (await a.bgp.state()).configured
    assert await last_reconfiguration(a) == before


async def test_state_shows_sessions(fabric: Fabric) -> None:
    a, b = fabric.host("a", f"{A4}/24"), fabric.host("b", f"{B4}/24")
    await fabric.start(node("dead", "172.18.203.99/24"), recover=False)
    a.add_workload("10.65.0.21")
    await until(lambda: b.next_hops() == {"10.65.0.21": A4})
    state = await b.bgp.state()
    assert state.status is not None
    assert (state.status.router_id, state.problem) == (B4, "")
    shown = {each.name: (each.neighbor, each.neighbor_as, each.state, each.imported) for each in state.sessions}
    assert shown == {
        "Mesh_172_18_203_125": (A4, 64512, "up", 1),
        "Mesh_172_18_203_99": ("172.18.203.99", 64512, "start", 0),
    }
    [peer] = [each for each in (await a.bgp.state()).sessions if each.neighbor == B4]
    assert (peer.info, peer.imported, peer.exported) == ("Established", 0, 1)


async def test_a_changed_cluster_touches_only_the_sessions_concerned(fabric: Fabric) -> None:
    a, b = fabric.host("a", f"{A4}/24"), fabric.host("b", f"{B4}/24")
    cluster = await fabric.start()
    await a.sessions_up(1)
    [before] = (await a.bgp.state()).sessions
    more = [*cluster, bgp_peer("tor", peerIP="172.18.203.1", asNumber=64601), node("c", f"{C4}/24")]
    assert (await a.apply(more)).reloaded
    names = {each.name for each in (await a.bgp.state()).sessions}
    assert names == {"Mesh_172_18_203_126", "Mesh_172_18_203_129", "Global_172_18_203_1"}
    assert (await a.apply(cluster)).reloaded
    [after] = (await a.bgp.state()).sessions
    assert not bounced(before, after)
    assert b.bird is not None


async def test_a_newcomer_with_the_address_of_another_node_bounces_nobody(fabric: Fabric) -> None:
    a, b = fabric.host("a", f"{A4}/24"), fabric.host("b", f"{B4}/24")
    cluster = await fabric.start()
    await a.sessions_up(1)
    [before] = (await a.bgp.state()).sessions
    twin = node("twin", f"{B4}/24", asNumber=65001)
    for host in (a, b):
        await host.apply([*cluster, twin])
        told = {str(problem.key) for problem in host.intent([*cluster, twin]).problems}
        assert {"Node(b)", "Node(twin)"} <= told
    [after] = (await a.bgp.state()).sessions
    assert not bounced(before, after)


async def test_a_reload_that_was_lost_is_made_up_for_within_5_s(fabric: Fabric, tmp_path: Path) -> None:
    """As when somebody else tells BIRD to read another file."""
    a = fabric.host("a", f"{A4}/24")
    cluster = await fabric.start(node("b", f"{B4}/24"))
    await until(a.socket.exists)
    other = tmp_path / "other.conf"
    write_initial(other)
    daemon = RoutingDaemon(a.bgp, tmp_path / "drained", lambda: None, lambda: None)
    daemon.desire(a.intent(cluster))
    task = asyncio.create_task(daemon.run())
    try:
        await until(lambda: daemon.report.configured)
        a.birdc(f"""configure '"{other}"'""")
        assert (await a.bgp.state()).sessions == ()
        began = asyncio.get_running_loop().time()
        await until(lambda: "Mesh_172_18_203_126" in a.birdc("show protocols"))
        assert asyncio.get_running_loop().time() - began < 5
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_bird_that_starts_later_runs_what_was_written(fabric: Fabric) -> None:
    a = fabric.host("a", f"{A4}/24")
    cluster = [a.node, node("b", f"{B4}/24")]
    with pytest.raises(Unreachable, match=f"BIRD is not running: there is no {a.socket}"):
        await a.apply(cluster)
    assert "BIRD is not running" in (await a.bgp.state()).problem
    a.start_bird()
    await until(a.socket.exists)
    assert not (await a.apply(cluster)).reloaded
    assert (await a.bgp.state()).configured


async def test_bird_with_the_initial_configuration_is_configured(fabric: Fabric) -> None:
    a = fabric.host("a", f"{A4}/24")
    assert write_initial(a.config)
    assert not write_initial(a.config)
    a.start_bird()
    await until(a.socket.exists)
    assert (await a.apply([a.node, node("b", f"{B4}/24")])).reloaded
    assert [each.name for each in (await a.bgp.state()).sessions] == ["Mesh_172_18_203_126"]


async def test_a_crash_between_file_and_reload_is_repaired(fabric: Fabric) -> None:
    a = fabric.host("a", f"{A4}/24")
    cluster = await fabric.start()
    await until(a.socket.exists)
    wanted = [*cluster, node("b", f"{B4}/24")]
    running = a.socket.rename(a.socket.with_name("elsewhere"))  # what an agent that dies after the rename leaves
    with pytest.raises(Unreachable):
        await a.apply(wanted)
    running.rename(a.socket)
    assert (await a.new_sink().apply(a.intent(wanted))).reloaded
    assert [each.name for each in (await a.bgp.state()).sessions] == ["Mesh_172_18_203_126"]


async def test_an_edited_file_is_put_right(fabric: Fabric) -> None:
    a = fabric.host("a", f"{A4}/24")
    cluster = await fabric.start()
    await until(a.socket.exists)
    text = a.config.read_text()
    a.config.write_text(text.replace("hold time 90", "hold time 9"))
    assert not (await a.apply(cluster)).reloaded  # BIRD never saw it
    assert a.config.read_text() == text


async def test_a_text_that_bird_refuses_never_gets_in_place(fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    a = fabric.host("a", f"{A4}/24")
    cluster = await fabric.start()
    await until(a.socket.exists)
    text, before = a.config.read_text(), await last_reconfiguration(a)
    with monkeypatch.context() as patch:
        patch.setattr("tortie.bgp.render._SESSION", "template bgp session { nonsense; }\n")
        with pytest.raises(BirdError, match=r"refuses the new configuration.*bird.conf.staged:\d+:\d+ syntax error"):
            await a.apply([*cluster, node("b", f"{B4}/24")])
    assert a.config.read_text() == text
    assert await last_reconfiguration(a) == before
    assert not (await a.bgp.state()).configured
    assert not (await a.apply(cluster)).reloaded
    assert (await a.bgp.state()).configured


async def test_a_bird_with_another_file_is_reported(fabric: Fabric, tmp_path: Path) -> None:
    a = fabric.host("a", f"{A4}/24")
    other = tmp_path / "other.conf"
    write_initial(other)
    a.start_bird(other)
    await until(a.socket.exists)
    with pytest.raises(BirdError, match=f"BIRD read {other}, but does not run what {a.config} says"):
        await a.apply([a.node])


class TestPassword:
    REF = {"secretKeyRef": {"name": "bgp", "key": "mesh"}}
    WITH = bgp_configuration(nodeMeshPassword=REF)

    def give(self, host: Host, password: str) -> None:
        secret = host.config.parent / "bgp" / "mesh"
        secret.parent.mkdir(exist_ok=True)
        secret.write_text(password)

    async def test_of_both_sides_must_be_equal(self, fabric: Fabric) -> None:
        a, b = fabric.host("a", f"{A4}/24"), fabric.host("b", f"{B4}/24")
        self.give(a, "correct horse\n")
        self.give(b, "battery")
        cluster = await fabric.start(self.WITH)
        await until(lambda: a.socket.exists() and b.socket.exists())
        self.give(b, "correct horse\n")
        assert (await b.apply(cluster)).reloaded
        await b.sessions_up(1)
        assert "horse" not in repr(a.intent(cluster))
        self.give(b, "staple")
        assert (await b.apply(cluster)).reloaded
        await until_not_established(b)

    async def test_that_is_missing_costs_its_sessions_only(self, fabric: Fabric) -> None:
        a = fabric.host("a", f"{A4}/24")
        tor = bgp_peer(
            "tor", peerIP="172.18.203.1", asNumber=64601, password={"secretKeyRef": {"name": "x", "key": "y"}}
        )
        cluster = [a.node, node("b", f"{B4}/24"), tor]
        write_initial(a.config)
        a.start_bird()
        await until(a.socket.exists)
        applied = await a.apply(cluster)
        assert [each.name for each in (await a.bgp.state()).sessions] == ["Mesh_172_18_203_126"]
        [problem] = applied.left_out
        assert problem.key == tor.key
        assert problem.reason.startswith(f"no session with 172.18.203.1: password file {a.config.parent}/x/y:")


async def test_kernel_metric(fabric: Fabric) -> None:
    a, b = fabric.host("a", f"{A4}/24"), fabric.host("b", f"{B4}/24")
    b.bgp = b.new_sink(kernel_metric=0)
    await fabric.start()
    await b.sessions_up(1)
    a.add_workload("10.65.0.21")
    await until(lambda: b.bird_routes() == {"10.65.0.21": f"via {A4} dev eth0"})


async def test_an_uplink_that_goes_and_comes_brings_its_routes_back(fabric: Fabric) -> None:
    a, b = fabric.host("a", f"{A4}/24"), fabric.host("b", f"{B4}/24")
    await fabric.start()
    await a.sessions_up(1)
    a.add_workload("10.65.0.21")
    await until(lambda: b.next_hops() == {"10.65.0.21": A4})
    b.ip("link set eth0 down")
    assert b.next_hops() == {}
    b.ip("link set eth0 up")
    await until(lambda: b.next_hops() == {"10.65.0.21": A4})
