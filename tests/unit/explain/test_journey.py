"""A packet's way through one node or two, and what was met there."""

from __future__ import annotations

import pytest

from tests.unit.calc.cluster import resource
from tests.unit.explain.scene import OBJECTS, endpoint, policy
from tortie.errors import UsageError
from tortie.explain import Cluster, Explanation, Leg, explain, find_party, parse_flow
from tortie.explain.report import as_json
from tortie.explain.words import in_words
from tortie.model.resource import Quarantined, ResourceKey

CLUSTER = Cluster(OBJECTS)


def asked(text: str, cluster: Cluster = CLUSTER, family: int = 4) -> Explanation:
    source, destination, flow = text.split()
    return explain(cluster, find_party(cluster, source), find_party(cluster, destination), parse_flow(flow), family)


def way(leg: Leg) -> str:
    return f"{leg.node}: {leg.arrives_by or '-'} > {leg.leaves_by or '-'} {leg.verdict.action} {leg.verdict.reason}"


@pytest.mark.parametrize(
    ("text", "ways"),
    [
        ("web db tcp/pg", ["a: caliweb > uplink accept policy", "b: uplink > calidb accept policy"]),
        ("probe db tcp/5432", ["a: caliprobe > uplink accept policy", "b: uplink > calidb drop tier-default"]),
        ("web db tcp/80", ["a: caliweb > uplink accept policy", "b: uplink > calidb drop tier-default"]),
        ("web probe udp/53", ["a: caliweb > caliprobe accept policy"]),
        ("web 192.0.2.1 icmp", ["a: caliweb > uplink accept policy"]),
        ("203.0.113.9 db tcp/5432", ["b: uplink > calidb accept policy"]),
        ("198.51.100.9 db tcp/5432", ["b: uplink > calidb drop tier-default"]),
        ("web a tcp/22", ["a: caliweb > - drop endpoint-to-host"]),
        ("web b tcp/22", ["a: caliweb > uplink accept policy", "b: uplink > - accept not-ours"]),
        ("a web tcp/22", ["a: - > caliweb accept from-host"]),
        ("a db tcp/22", ["a: - > uplink accept not-ours", "b: uplink > calidb drop tier-default"]),
        ("10.65.0.1 10.65.0.2 tcp/5432", ["a: caliweb > uplink accept policy", "b: uplink > calidb accept policy"]),
    ],
)
def test_who_may_speak_to_whom(text: str, ways: list[str]) -> None:
    found = asked(text)
    assert [way(leg) for leg in found.legs] == ways
    assert found.allowed == ways[-1].split()[-2].startswith("accept")


def test_the_same_over_ipv6() -> None:
    found = asked("web db tcp/pg", family=6)
    assert [str(leg.packet.source) for leg in found.legs] == ["fd00:65::1", "fd00:65::1"]
    assert found.allowed
    with pytest.raises(UsageError, match=r"^probe has no IPv6 address$"):
        asked("probe db tcp/pg", family=6)


def test_the_member_that_a_selector_meant_is_named() -> None:
    def matched(text: str) -> list[tuple[str, str, str]]:
        return [(each.end, each.member, each.of) for met in asked(text).legs[-1].met for each in met.matched]

    web = "WorkloadEndpoint(default/a-tortie-web-eth0)"
    assert matched("web db tcp/pg") == [("source", "10.65.0.1", web)]
    assert matched("203.0.113.9 db tcp/5432") == [("source", "203.0.113.0/24", "GlobalNetworkSet(office)")]


def test_what_leaves_the_pools_is_translated() -> None:
    (leg,) = asked("web 192.0.2.1 tcp/80").legs
    assert leg.verdict.translated is not None
    assert str(leg.verdict.translated.source) == "172.18.203.125"
    assert asked("web db tcp/pg").legs[0].verdict.translated is None


def test_an_outside_address_leads_to_its_workload() -> None:
    nats = [{"internalIP": "10.65.0.4", "externalIP": "192.0.2.80"}]
    floating = resource("FelixConfiguration", "default", {"floatingIPs": "Enabled"})
    cluster = Cluster([*OBJECTS, floating, endpoint("www", "b", "10.65.0.4", ipNATs=nats)])
    found = asked("198.51.100.9 192.0.2.80 tcp/80", cluster)
    assert [way(leg) for leg in found.legs] == ["b: uplink > caliwww accept policy"]


def test_the_host_endpoint_of_the_node_is_asked() -> None:
    host = resource("HostEndpoint", "b-eth0", {"node": "b", "interfaceName": "eth0"}, {"role": "host"})
    closing = policy("host", selector="role == 'host'", types=["Ingress"], ingress=[{"action": "Deny"}])
    cluster = Cluster([*OBJECTS, host, closing])
    assert [way(leg) for leg in asked("198.51.100.9 b tcp/80", cluster).legs] == ["b: eth0 > - drop policy"]
    assert [way(leg) for leg in asked("198.51.100.9 b tcp/22", cluster).legs] == ["b: eth0 > - accept failsafe"]


def test_a_broken_object_closes_what_it_may_and_is_listed() -> None:
    document = {"spec": {"selector": "app == 'web'", "types": ["Egress"]}}
    broken = Quarantined(
        key=ResourceKey("GlobalNetworkPolicy", "", "default.broken"), problems=(), revision=0, document=document
    )
    cluster = Cluster([*OBJECTS, broken])
    assert [way(leg) for leg in asked("web db tcp/pg", cluster).legs] == ["a: caliweb > uplink drop policy"]
    assert list(cluster.broken()) == [broken]


def test_a_set_above_the_limit_closes_and_is_told() -> None:
    limit = resource("FelixConfiguration", "node.b", {"maxIpsetSize": 1})
    cluster = Cluster([*OBJECTS, limit])
    found = asked("web db tcp/pg", cluster)
    assert [way(leg) for leg in found.legs][-1] == "b: uplink > calidb drop policy"
    said = "\n".join(in_words(cluster, found))
    assert "GlobalNetworkPolicy(default.db) as a whole, since a set of its rules is above maxIpsetSize" in said
    assert 'the set of app == "web" || role == "office" has 2 IPv4 members, and maxIpsetSize is 1' in said
    assert asked("db web tcp/80", cluster).legs[0].verdict.action == "drop"
    assert asked("web probe udp/53", cluster).allowed


def test_what_no_node_meets_is_refused() -> None:
    with pytest.raises(UsageError, match=r"neither 192\.0\.2\.1 nor 192\.0\.2\.2 is of this cluster"):
        asked("192.0.2.1 192.0.2.2 tcp/80")
    with pytest.raises(UsageError, match="db has no port called 'http' for that protocol; it has pg"):
        asked("web db tcp/http")


def test_in_words() -> None:
    assert list(in_words(CLUSTER, asked("probe db tcp/5432"))) == [
        "probe -> db tcp/5432: DENIED: the end of tier default, whose policies apply and did not decide, "
        "for WorkloadEndpoint(default/b-tortie-db-eth0)",
        "",
        "at node a, by caliprobe, to uplink: accept",
        "  packet       TCP 10.65.0.3:49152 -> 10.65.0.2:5432",
        "  egress of WorkloadEndpoint(default/a-tortie-probe-eth0)",
        "    Profile(open) egress rule 0: Allow",
        "      Allow",
        "  accept       everybody who has a say allows it",
        "",
        "at node b, by uplink, to calidb: drop",
        "  packet       TCP 10.65.0.3:49152 -> 10.65.0.2:5432",
        "  ingress of WorkloadEndpoint(default/b-tortie-db-eth0)",
        "    tier default, its end: Deny",
        "  drop         the end of tier default, whose policies apply and did not decide, "
        "for WorkloadEndpoint(default/b-tortie-db-eth0)",
    ]
    rule = "      Allow TCP from app == 'web' || role == 'office' to ports pg"
    assert rule in in_words(CLUSTER, asked("web db tcp/pg"))


def test_for_programs() -> None:
    said = as_json(asked("web db tcp/pg"))
    assert (said["allowed"], said["flow"], said["source"]["node"], said["destination"]["node"]) == (
        True,
        "tcp/pg",
        "a",
        "b",
    )
    step = said["nodes"][1]["steps"][0]
    assert (step["policy"], step["action"], step["matched"][0]["member"]) == (
        "GlobalNetworkPolicy(default.db)",
        "Allow",
        "10.65.0.1",
    )
