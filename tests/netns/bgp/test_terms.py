"""What a BGPPeer says of its sessions, and BGPFilters, towards real routers that know nothing of us."""

from __future__ import annotations

import json

from tests.netns.bgp.hosts import Fabric, Host, bounced, until
from tests.unit.calc.cluster import bgp_configuration, bgp_peer, resource

A4, TOR4, TOR4B = "172.18.203.125", "172.18.203.1", "172.18.203.2"


def session(peer: str, local_as: int, peer_as: int, more: str = "", route: str = "all") -> str:
    return (
        f"protocol bgp to_{peer.replace('.', '_')} {{ local as {local_as}; neighbor {peer} as {peer_as};"
        f" connect delay time 1; connect retry time 1; error wait time 1, 1; {more}"
        f" ipv4 {{ import all; export where {'source = RTS_STATIC' if route == 'all' else route}; }}; }}\n"
    )


def statics(*prefixes: str) -> str:
    return f"protocol static {{ ipv4; {''.join(f'route {prefix} blackhole; ' for prefix in prefixes)} }}\n"


def known(host: Host, prefix: str) -> str:
    """All that BIRD knows of its best route to the prefix; empty for none."""
    return host.namespace.run(f"birdc -s {host.socket} show route primary all {prefix}", check=False)


async def test_filters_and_communities(fabric: Fabric) -> None:
    a = fabric.host("a", f"{A4}/24")
    table = statics("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "203.0.113.7/32")
    tor = fabric.stranger("tor", f"{TOR4}/24", session(A4, 64601, 64512) + table)
    ours = resource(
        "BGPFilter",
        "ours",
        {
            "exportV4": [
                {"action": "Reject", "matchOperator": "In", "cidr": "10.65.1.0/24"},
                {
                    "action": "Accept",
                    "matchOperator": "Equal",
                    "cidr": "10.65.2.2/32",
                    "peerType": "eBGP",
                    "operations": [
                        {"addCommunity": {"value": "64512:7"}},
                        {"addCommunity": {"value": "64512:7:9"}},
                        {"prependASPath": {"prefix": [65001, 65002]}},
                    ],
                },
                {"action": "Reject", "priority": 512},
                {"action": "Accept", "matchOperator": "Equal", "cidr": "10.99.0.0/16"},
                {"action": "Accept", "matchOperator": "Equal", "cidr": "0.0.0.0/0"},
            ],
            "importV4": [
                {"action": "Reject", "matchOperator": "In", "cidr": "203.0.113.0/24", "prefixLength": {"min": 30}},
                {"action": "Reject", "matchOperator": "Equal", "cidr": "198.51.100.0/24", "asPathPrefix": [64601]},
                {
                    "action": "Accept",
                    "matchOperator": "NotIn",
                    "cidr": "203.0.113.0/24",
                    "operations": [{"setPriority": {"value": 100}}],
                },
            ],
        },
    )
    gifts = bgp_configuration(
        communities=[{"name": "rack", "value": "64512:100"}],
        prefixAdvertisements=[{"cidr": "10.65.3.0/24", "communities": ["rack", "64512:1:2"]}],
    )
    peer = bgp_peer("tor", peerIP=TOR4, asNumber=64601, filters=["ours"])
    await fabric.start(ours, gifts, peer)
    await a.sessions_up(1)
    a.ip(f"route add default via {TOR4}")
    a.ip("route add 10.99.0.0/16 via 172.18.203.99")  # by the peer itself BIRD would not tell it
    for address in ("10.65.1.1", "10.65.2.2", "10.65.3.3"):
        a.add_workload(address)
    a.add_workload("10.65.4.4", protocol=118)
    a.add_workload("10.65.3.4")  # the last one, so all others had their chance
    await until(lambda: "10.65.3.4/32" in known(tor, "10.65.3.4/32"))
    marked, given = known(tor, "10.65.2.2/32"), known(tor, "10.65.3.3/32")
    assert "as_path: 64512 65001 65002" in marked
    assert "community: (64512,7)" in marked
    assert "large_community: (64512, 7, 9)" in marked
    assert "community: (64512,100)" in given
    assert "large_community: (64512, 1, 2)" in given
    assert "BGP" in known(tor, "10.99.0.0/16")  # not a workload's, but accepted by name
    for rejected in ("10.65.1.1/32", "10.65.4.4/32", "0.0.0.0/0"):
        assert "BGP" not in known(tor, rejected), rejected

    assert "BGP.local_pref: 2147483547" in known(a, "192.0.2.0/24")
    assert "(200)" in known(a, "192.0.2.0/24")  # above our own normal routes, as Calico has it
    assert "(100)" in known(a, "203.0.113.0/24")  # no rule says anything
    for rejected in ("203.0.113.7/32", "198.51.100.0/24"):
        assert "BGP" not in known(a, rejected), rejected


async def test_a_changed_filter_bounces_no_session(fabric: Fabric) -> None:
    a = fabric.host("a", f"{A4}/24")
    tor = fabric.stranger("tor", f"{TOR4}/24", session(A4, 64601, 64512) + statics("192.0.2.0/24"))
    peer = bgp_peer("tor", peerIP=TOR4, asNumber=64601, filters=["ours"])
    everything = resource("BGPFilter", "ours", {"exportV4": [{"action": "Accept"}]})
    nothing = resource("BGPFilter", "ours", {"exportV4": [{"action": "Reject"}], "importV4": [{"action": "Reject"}]})
    cluster = await fabric.start(peer, everything)
    await a.sessions_up(1)
    a.add_workload("10.65.0.21")
    await until(lambda: "10.65.0.21" in tor.bird_routes() and "192.0.2.0/24" in a.birdc("show route"))
    [before] = (await a.bgp.state()).sessions
    await a.apply([*(each for each in cluster if each is not everything), nothing])
    await until(lambda: tor.bird_routes() == {} and "192.0.2.0/24" not in a.birdc("show route"))
    [after] = (await a.bgp.state()).sessions
    assert not bounced(before, after)


async def test_ttl_security_local_as_own_as_in_the_path_and_the_address_that_listens(fabric: Fabric) -> None:
    a = fabric.host("a", f"{A4}/24")
    a.ip("addr add 172.18.203.77/24 dev eth0")
    safe = session(A4, 64601, 65009, "ttl security on; ", "(source = RTS_STATIC)")
    # It says that the route came by our own AS, as a router does that connects two of our sites.
    looped = "protocol static { ipv4; route 192.0.2.0/24 blackhole { bgp_path.prepend(65009); }; }\n"
    fabric.stranger("tor", f"{TOR4}/24", safe + looped)
    fabric.stranger("far", f"{TOR4B}/24", session(A4, 64602, 65009))  # its packets could have come from anywhere
    peers = [
        bgp_peer(
            name,
            peerIP=address,
            asNumber=as_number,
            localASNumber=65009,
            ttlSecurity=1,
            numAllowedLocalASNumbers=1,
            maxRestartTime="77s",
            keepaliveTime="10s",
        )
        for name, address, as_number in (("tor", TOR4, 64601), ("far", TOR4B, 64602))
    ]
    await fabric.start(*peers, bgp_configuration(bindMode="NodeIP"))

    async def states() -> dict[str, str]:
        return {each.neighbor: each.info.split()[0] for each in (await a.bgp.state()).sessions}

    found: dict[str, str] = {}
    await until(lambda: a.socket.exists())
    while found.get(TOR4) != "Established":
        found = await states()
    assert found[TOR4B] != "Established"
    await until(lambda: "192.0.2.0/24" in a.birdc("show route"))
    shown = a.birdc("show protocols all Global_172_18_203_1")
    assert "Local AS:         65009" in shown
    assert "Restart time: 77" in shown
    assert "/10" in next(line for line in shown.splitlines() if "Keepalive timer" in line)
    listening = a.namespace.run("ss -Hltn 'sport = :179'").split()
    assert f"{A4}:179" in listening
    assert not {"0.0.0.0:179", "*:179"} & set(listening)


async def test_a_peer_behind_a_gateway_that_announces_its_own_address(fabric: Fabric) -> None:
    """Without the host route the peer's own route to itself would be the way to it, and go with the session."""
    a = fabric.host("a", f"{A4}/24")
    router = fabric.router("172.18.203.1/24", "172.18.204.1/24")
    del router
    a.ip("route add 172.18.204.0/24 via 172.18.203.1")
    far = session(A4, 64601, 64512, "multihop; ") + statics("172.18.204.9/32", "192.0.2.0/24")
    tor = fabric.stranger("tor", "172.18.204.9/24", far)
    tor.ip("route add 172.18.203.0/24 via 172.18.204.1")
    await fabric.start(bgp_peer("tor", peerIP="172.18.204.9", asNumber=64601, reachableBy="172.18.203.1"))
    await a.sessions_up(1)
    await until(lambda: a.next_hops().get("192.0.2.0/24") == "172.18.203.1")
    best = a.birdc("show route primary 172.18.204.9/32")
    assert "reachable4" in best
    assert "172.18.204.9" not in a.bird_routes()  # BIRD's own knowledge, and nobody else's


async def test_two_tops_of_rack_and_an_as_for_each_host(fabric: Fabric) -> None:
    """Both hosts are on two links, and no router knows the other; each link may go."""
    a, b = fabric.host("a", "10.1.1.2/24", asNumber=65001), fabric.host("b", "10.1.2.2/24", asNumber=65002)
    fabric.plug(a.namespace, "eth1", "10.2.1.2/24")
    fabric.plug(b.namespace, "eth1", "10.2.2.2/24")
    peers = []
    for rack in (1, 2):
        sessions = [
            session(f"10.{rack}.{host}.2", 65100 + rack, 65000 + host, "", "source = RTS_BGP") for host in (1, 2)
        ]
        tor = fabric.stranger(f"tor{rack}", f"10.{rack}.1.1/24", "".join(sessions))
        fabric.plug(tor.namespace, "eth1", f"10.{rack}.2.1/24")
        for host in (1, 2):
            name = "ab"[host - 1]
            peers.append(
                bgp_peer(
                    f"{name}-tor{rack}",
                    node=name,
                    peerIP=f"10.{rack}.{host}.1",
                    asNumber=65100 + rack,
                    sourceAddress="None",
                )
            )
    await fabric.start(*peers, bgp_configuration(nodeToNodeMeshEnabled=False))
    await a.sessions_up(2)
    await b.sessions_up(2)
    a.add_workload("10.65.0.21")

    def gateways() -> set[str]:
        [route] = json.loads(b.ip("-json route show 10.65.0.21 proto bird") or "[{}]") or [{}]
        hops = route.get("nexthops") or [route]
        return {hop["gateway"] for hop in hops if "gateway" in hop}

    await until(lambda: gateways() == {"10.1.2.1", "10.2.2.1"})
    b.ip("link set eth1 down")
    await until(lambda: gateways() == {"10.1.2.1"})
    b.ip("link set eth1 up")
    await until(lambda: gateways() == {"10.1.2.1", "10.2.2.1"})
