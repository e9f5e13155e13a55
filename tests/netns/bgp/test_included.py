"""A BIRD that the host runs anyway, with sessions of its own, includes our part."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.netns.bgp.hosts import POOLS, Fabric, Host, bounced, until
from tests.netns.bgp.test_terms import A4, TOR4, session
from tests.unit.calc.cluster import bgp_peer, node
from tortie.bgp import Control, Protocol, table, write_initial
from tortie.errors import BirdError

B4 = "172.18.203.126"

BEFORE = """\
log stderr all;
timeformat protocol iso long ms;
router id 192.0.2.77;
graceful restart wait 15;
protocol device { scan time 10; }
"""
DIRECT = 'protocol direct { interface -"cali*", -"tap*", "*"; ipv4; }\n'
KERNEL = "protocol kernel { learn; persist; scan time 10; metric 32; merge paths on; ipv4 { %s }; }\n"
RIGHT = "import filter tortie_from_kernel4; export where source = RTS_BGP;"


class TestIncluded:
    def host(self, fabric: Fabric, text: str) -> Host:
        """A host whose own configuration ends with this text; `tortie.conf` is our part of it."""
        a = fabric.host("a", f"{A4}/24")
        a.config = a.config.with_name("tortie.conf")
        a.bgp = a.new_sink(included=True)
        write_initial(a.config, included=True)
        main = a.config.with_name("main.conf")
        main.write_text(f'{BEFORE}include "{a.config}";\n{text}')
        a.start_bird(main)
        return a

    async def test_routes_travel_and_the_hosts_own_sessions_never_notice(self, fabric: Fabric) -> None:
        channel = "ipv4 { import all; export none; };"
        own = f"protocol bgp rack {{ local {A4} as 65001; neighbor {TOR4} as 64601; {channel} }}\n"
        tor = fabric.stranger("tor", f"{TOR4}/24", session(A4, 64601, 65001))
        a = self.host(fabric, DIRECT + KERNEL % RIGHT + own)
        b = fabric.host("b", f"{B4}/24")
        cluster = [a.node, b.node, *POOLS]

        async def rack() -> Protocol:
            [found] = [each for each in await Control(a.socket).protocols() if each.name == "rack"]
            return found

        write_initial(b.config)
        b.start_bird()
        await until(lambda: a.socket.exists() and b.socket.exists())
        await b.apply(cluster)
        await until(lambda: "Established" in a.birdc("show protocols rack"))
        assert (await a.bgp.state()).sessions == (), "it is the host's own"
        before = await rack()
        assert (await a.apply(cluster)).reloaded
        a.add_workload("10.65.0.21")
        b.add_workload("10.65.0.22")
        await until(lambda: (a.next_hops(), b.next_hops()) == ({"10.65.0.22": B4}, {"10.65.0.21": A4}))
        state = await a.bgp.state()
        assert (state.configured, state.lacking) == (True, ())
        assert state.status is not None
        assert state.status.router_id == "192.0.2.77"
        assert not (await a.apply(cluster)).reloaded
        for _ in range(3):  # BIRD by itself looks each 10 s
            a.ip("route flush proto bird")
            await a.bgp.look_at_kernel()
            await until(lambda: a.next_hops() == {"10.65.0.22": B4}, timeout_s=2)
        assert [each.name for each in (await a.bgp.state()).sessions] == ["Mesh_172_18_203_126"]
        assert not bounced(before, await rack())
        assert tor.bird_routes() == {}

    async def test_what_the_host_must_add_is_told(self, fabric: Fabric) -> None:
        a = self.host(fabric, KERNEL % "import all; export none;")
        await until(a.socket.exists)
        await a.apply([a.node, node("b", f"{B4}/24"), *POOLS])
        assert (await a.bgp.state()).lacking == (
            "it has no `protocol direct` with ipv4, so it finds no next hop",
            "its `protocol kernel` must say `import filter tortie_from_kernel4;` in ipv4",
            "its `protocol kernel` must say `export where source = RTS_BGP;` in ipv4",
        )

    async def test_a_kernel_protocol_that_does_not_learn(self, fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
        a = self.host(fabric, DIRECT + (KERNEL % RIGHT).replace("learn; ", ""))
        await until(a.socket.exists)
        await a.apply([a.node, *POOLS])
        assert (await a.bgp.state()).lacking == ()
        a.add_workload("10.65.0.21")
        here = a.namespace.call(table._routed)
        monkeypatch.setattr(table, "_routed", lambda: here)  # the agent stands in the host's namespace, and we do not
        [told] = (await a.bgp.state()).lacking
        assert told.startswith("its `protocol kernel` must say `learn;`")

    async def test_a_clash_with_the_hosts_lines_leaves_the_old_part_in_place(self, fabric: Fabric) -> None:
        """Or its BIRD would not start again."""
        own = f"protocol bgp Mesh_172_18_203_126 {{ local as 1; neighbor {TOR4} as 1; ipv4; }}\n"
        a = self.host(fabric, DIRECT + KERNEL % RIGHT + own)
        await until(a.socket.exists)
        text = a.config.read_text()
        with pytest.raises(BirdError, match=r"BIRD refuses `configure`: .*Mesh_172_18_203_126"):
            await a.apply([a.node, node("b", f"{B4}/24")])
        assert a.config.read_text() == text
        peer = bgp_peer("tor", peerIP="172.18.203.2", asNumber=64601, reachableBy=TOR4)
        applied = await a.apply([a.node, peer])
        assert [problem.key for problem in applied.left_out] == [peer.key]

    async def test_a_bird_that_does_not_include_it_is_told(
        self, fabric: Fabric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(table, "RELOAD_WAITS_S", (0.1,))
        a = fabric.host("a", f"{A4}/24")
        main = tmp_path / "main.conf"
        main.write_text(BEFORE)
        a.bgp = a.new_sink(included=True)
        a.start_bird(main)
        await until(a.socket.exists)
        with pytest.raises(BirdError, match=f"BIRD read {main}, .* it must include that file"):
            await a.apply([a.node])
