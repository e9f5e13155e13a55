"""Cluster in, one node's BGP out, as text: one line per session, one per problem."""

from __future__ import annotations

import random
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest

from tests.unit.calc.cluster import LINK, A, B, C, bgp_configuration, bgp_filter, bgp_peer, node, pool
from tortie.calc.bgp import compute_bgp
from tortie.intent.bgp import BgpIntent, NextHop, Peer
from tortie.model.resource import Resource

NO_MESH = bgp_configuration(nodeToNodeMeshEnabled=False)
REFLECTORS = bgp_peer("reflectors", nodeSelector="!has(reflector)", peerSelector="has(reflector)")


def reflector(name: str, address: str, cluster: str = "244.0.0.1", **bgp: Any) -> Resource[Any]:
    return node(name, address, labels={"reflector": "yes"}, routeReflectorClusterID=cluster, **bgp)


R, S = reflector("r", f"{LINK}.200/24"), reflector("s", f"{LINK}.201/24")


def created(resource: Resource[Any], time: str) -> Resource[Any]:
    metadata = msgspec.structs.replace(resource.metadata, creation_timestamp=time)
    return msgspec.structs.replace(resource, metadata=metadata)


def compute(name: str, *objects: Resource[Any], prefixes: tuple[str, ...] = ("cali", "tap")) -> BgpIntent:
    def of(kind: str) -> Iterable[Resource[Any]]:
        return [each for each in objects if each.key.kind == kind]

    return compute_bgp(
        name,
        nodes=of("Node"),
        peers=of("BGPPeer"),
        configurations=of("BGPConfiguration"),
        pools=of("IPPool"),
        filters=of("BGPFilter"),
        interface_prefixes=prefixes,
    )


def described(peer: Peer) -> str:
    words = [peer.name, f"{peer.port}", f"as {peer.as_number}", f"node {peer.node}" if peer.node else "no node"]
    words += ["passive"] * peer.passive + ["client"] * peer.reflector_client + ["off-link"] * (not peer.on_link)
    words += [f"next hop {peer.next_hop.lower()}"] * (peer.next_hop is not NextHop.AUTO)
    words += ["any source"] * (peer.local_address is None)
    words += [f"password {peer.password.name}/{peer.password.key}"] if peer.password else []
    return ", ".join(words)


def sessions(name: str, *objects: Resource[Any]) -> list[str]:
    return [described(peer) for peer in compute(name, *objects).peers]


def problems(name: str, *objects: Resource[Any]) -> list[str]:
    return [f"{problem.key}: {problem.reason}" for problem in compute(name, *objects).problems]


MESH_OF_A = [
    "Mesh_172_18_203_126, 179, as 64512, node b",
    "Mesh_172_18_203_129, 179, as 64512, node c",
]


class TestMesh:
    def test_is_the_default(self) -> None:
        assert sessions("a", A, B, C) == MESH_OF_A

    @pytest.mark.parametrize("name", ["a", "b", "c"])
    def test_of_a_pair_one_side_waits(self, name: str) -> None:
        for peer in compute(name, A, B, C).peers:
            mirrored = next(each for each in compute(peer.node, A, B, C).peers if each.node == name)
            assert peer.passive != mirrored.passive

    def test_the_waiting_side_is_the_higher_address_as_text(self) -> None:
        """As Calico compares: by number .9 would be lower than .10, and both sides of a mixed pair might wait."""
        nine, ten = node("nine", f"{LINK}.9/24"), node("ten", f"{LINK}.10/24")
        assert sessions("nine", nine, ten) == ["Mesh_172_18_203_10, 179, as 64512, node ten, passive"]
        assert sessions("ten", nine, ten) == ["Mesh_172_18_203_9, 179, as 64512, node nine"]

    def test_can_be_switched_off(self) -> None:
        assert sessions("a", A, B, C, NO_MESH) == []

    def test_only_the_default_configuration_switches_it_off(self) -> None:
        elsewhere = bgp_configuration("node.b", listenPort=1790)
        assert sessions("a", A, B, C, elsewhere) == [MESH_OF_A[0].replace("179,", "1790,"), MESH_OF_A[1]]

    def test_has_no_reflectors(self) -> None:
        assert sessions("a", A, B, R) == MESH_OF_A[:1]
        assert sessions("r", A, B, R) == []

    def test_needs_one_as(self) -> None:
        other = node("b", f"{LINK}.126/24", asNumber=65001)
        assert sessions("a", A, other, C) == MESH_OF_A[1:]
        assert problems("a", A, other, C) == [
            "Node(b): not in the mesh: its AS is 65001, ours 64512; a BGPPeer can connect them"
        ]

    def test_a_node_of_another_as_with_a_peering_is_no_problem(self) -> None:
        other = node("b", f"{LINK}.126/24", asNumber=65001)
        to_b = bgp_peer("to-b", nodeSelector="all()", peerIP=f"{LINK}.126")
        assert sessions("a", A, other, to_b) == ["Node_172_18_203_126, 179, as 65001, node b"]
        assert problems("a", A, other, to_b) == []

    def test_as_of_the_cluster(self) -> None:
        intent = compute("a", A, B, bgp_configuration(asNumber=65000))
        assert (intent.as_number, intent.peers[0].as_number, intent.peers[0].local_as) == (65000, 65000, 65000)

    def test_both_families(self) -> None:
        a, b = node("a", f"{LINK}.125/24", "fd00::125/64"), node("b", f"{LINK}.126/24", "fd00::126/64")
        assert sessions("a", a, b) == [
            "Mesh_172_18_203_126, 179, as 64512, node b",
            "Mesh_fd00__126, 179, as 64512, node b",
        ]

    def test_only_families_that_both_have(self) -> None:
        dual = node("b", f"{LINK}.126/24", "fd00::126/64")
        assert sessions("a", A, dual) == MESH_OF_A[:1]
        assert problems("a", A, dual) == []

    def test_no_common_family_is_a_problem(self) -> None:
        assert problems("a", A, node("b", "fd00::126/64")) == [
            "Node(b): no session: it has no address of an IP version that Node(a) has"
        ]

    def test_a_node_behind_a_router_is_off_link(self) -> None:
        far = node("far", "172.18.204.10/24")
        assert sessions("a", A, far) == ["Mesh_172_18_204_10, 179, as 64512, node far, off-link"]

    def test_a_bare_node_address_has_nobody_on_its_link(self) -> None:
        assert sessions("a", node("a", f"{LINK}.125"), B) == ["Mesh_172_18_203_126, 179, as 64512, node b, off-link"]

    def test_password(self) -> None:
        configuration = bgp_configuration(nodeMeshPassword={"secretKeyRef": {"name": "bgp", "key": "mesh"}})
        assert sessions("a", A, B, configuration) == ["Mesh_172_18_203_126, 179, as 64512, node b, password bgp/mesh"]


class TestOwnNode:
    def test_without_a_node_object(self) -> None:
        assert sessions("x", A, B) == []
        assert problems("x", A, B) == [
            "Node(x): no BGP: it has no spec.bgp.ipv4Address or ipv6Address; `tortie node init` sets them"
        ]

    def test_without_an_address_no_peer_is_blamed(self) -> None:
        assert [key.split(":")[0] for key in problems("x", node("x"), A, R, REFLECTORS)] == ["Node(x)"]

    def test_router_id_is_the_ipv4_address(self) -> None:
        assert str(compute("a", A).router_id) == f"{LINK}.125"

    def test_router_id_without_ipv4_is_stable_and_its_own(self) -> None:
        nodes = [node(f"n{i}", f"fd00::{i}/64") for i in range(1, 50)]
        ids = [compute(each.key.name, *nodes).router_id for each in nodes]
        assert ids == [compute(each.key.name, each).router_id for each in nodes]
        assert len(set(ids)) == len(nodes)

    def test_port_of_one_node_beats_that_of_all(self) -> None:
        ports = bgp_configuration(listenPort=1179), bgp_configuration("node.b", listenPort=1790)
        assert compute("a", A, B, *ports).listen_port == 1179
        assert compute("b", A, B, *ports).listen_port == 1790
        assert sessions("a", A, B, *ports) == ["Mesh_172_18_203_126, 1790, as 64512, node b"]

    @pytest.mark.parametrize("address", ["fe80::1/64", "ff02::1/64", "127.0.0.1/8", "0.0.0.0/0", "224.0.0.5/24"])
    def test_an_address_that_is_no_hosts_own(self, address: str) -> None:
        odd = node("odd", address)
        assert sessions("odd", odd, A) == []
        assert f"Node(odd): no BGP with {address.split('/')[0]}: not an address of one host" in problems("odd", odd, A)
        assert sessions("a", odd, A, B) == MESH_OF_A[:1]


class TestReflector:
    CLUSTER = (A, B, R, S, REFLECTORS, NO_MESH)

    def test_client_peers_with_every_reflector(self) -> None:
        assert sessions("a", *self.CLUSTER) == [
            "Node_172_18_203_200, 179, as 64512, node r",
            "Node_172_18_203_201, 179, as 64512, node s",
        ]

    def test_reflector_peers_back(self) -> None:
        assert sessions("r", *self.CLUSTER) == [
            "Node_172_18_203_125, 179, as 64512, node a, passive, client",
            "Node_172_18_203_126, 179, as 64512, node b, passive, client",
        ]
        assert str(compute("r", *self.CLUSTER).cluster_id) == "244.0.0.1"

    @pytest.mark.parametrize("name", ["a", "b", "r", "s"])
    def test_of_a_pair_one_side_waits(self, name: str) -> None:
        for peer in compute(name, *self.CLUSTER).peers:
            mirrored = next(each for each in compute(peer.node, *self.CLUSTER).peers if each.node == name)
            assert peer.passive != mirrored.passive

    def test_manual_reverse_peering_is_one_sided(self) -> None:
        manual = bgp_peer("m", nodeSelector="!has(reflector)", peerSelector="has(reflector)", reversePeering="Manual")
        assert len(sessions("a", A, R, NO_MESH, manual)) == 1
        assert sessions("r", A, R, NO_MESH, manual) == []

    def test_reflectors_of_one_cluster_are_no_clients(self) -> None:
        among = bgp_peer("among", nodeSelector="has(reflector)", peerSelector="has(reflector)")
        assert sessions("r", R, S, among) == ["Node_172_18_203_201, 179, as 64512, node s"]

    def test_reflectors_of_two_clusters_are_clients_of_each_other(self) -> None:
        other = reflector("s", f"{LINK}.201/24", cluster="244.0.0.2")
        among = bgp_peer("among", peerSelector="has(reflector)")
        assert sessions("r", R, other, among) == ["Global_172_18_203_201, 179, as 64512, node s, client"]

    def test_a_router_of_the_same_as_is_a_client(self) -> None:
        gateway = bgp_peer("gateway", node="r", peerIP=f"{LINK}.1", asNumber=64512)
        assert sessions("r", R, gateway) == ["Node_172_18_203_1, 179, as 64512, no node, client"]

    def test_a_router_of_another_as_is_no_client(self) -> None:
        gateway = bgp_peer("gateway", node="r", peerIP=f"{LINK}.1", asNumber=64601)
        assert sessions("r", R, gateway) == ["Node_172_18_203_1, 179, as 64601, no node"]

    def test_nodes_stay_in_the_mesh_until_it_is_switched_off(self) -> None:
        assert sessions("a", A, B, R, REFLECTORS) == [MESH_OF_A[0], "Node_172_18_203_200, 179, as 64512, node r"]


class TestBgpPeer:
    def test_global(self) -> None:
        tor = bgp_peer("tor", peerIP=f"{LINK}.1", asNumber=64601)
        for name in ("a", "b"):
            assert sessions(name, A, B, NO_MESH, tor) == ["Global_172_18_203_1, 179, as 64601, no node"]

    def test_of_one_node(self) -> None:
        tor = bgp_peer("tor", node="a", peerIP=f"{LINK}.1", asNumber=64601)
        assert sessions("a", A, B, NO_MESH, tor) == ["Node_172_18_203_1, 179, as 64601, no node"]
        assert sessions("b", A, B, NO_MESH, tor) == []

    def test_of_nodes_by_label(self) -> None:
        rack = node("b", f"{LINK}.126/24", labels={"rack": "1"})
        tor = bgp_peer("tor", nodeSelector="rack == '1'", peerIP=f"{LINK}.1", asNumber=64601)
        assert sessions("a", A, rack, NO_MESH, tor) == []
        assert sessions("b", A, rack, NO_MESH, tor) == ["Node_172_18_203_1, 179, as 64601, no node"]

    def test_port_address_source_and_next_hop(self) -> None:
        tor = bgp_peer("tor", peerIP="192.0.2.1:1790", asNumber="64.1", sourceAddress="None", nextHopMode="Self")
        assert sessions("a", A, tor) == [
            "Global_192_0_2_1, 1790, as 4194305, no node, off-link, next hop self, any source"
        ]

    def test_keep_original_next_hop_is_the_old_form_of_keep(self) -> None:
        old = bgp_peer("tor", peerIP=f"{LINK}.1", asNumber=64601, keepOriginalNextHop=True)
        new = bgp_peer("tor", peerIP=f"{LINK}.1", asNumber=64601, nextHopMode="Keep")
        assert sessions("a", A, old) == sessions("a", A, new)
        assert sessions("a", A, old) == ["Global_172_18_203_1, 179, as 64601, no node, next hop keep"]

    def test_password(self) -> None:
        ref = {"secretKeyRef": {"name": "bgp", "key": "tor"}}
        tor = bgp_peer("tor", peerIP=f"{LINK}.1", asNumber=64601, password=ref)
        assert sessions("a", A, tor) == ["Global_172_18_203_1, 179, as 64601, no node, password bgp/tor"]

    def test_a_password_without_a_secret_is_one_that_cannot_be_had(self) -> None:
        tor = bgp_peer("tor", peerIP=f"{LINK}.1", asNumber=64601, password={})
        assert sessions("a", A, tor) == ["Global_172_18_203_1, 179, as 64601, no node, password /"]

    def test_oneself_is_no_peer(self) -> None:
        everywhere = bgp_peer("r", peerIP=f"{LINK}.200", asNumber=64512)
        assert sessions("r", R, A, everywhere) == []
        assert problems("r", R, A, everywhere) == []
        assert sessions("a", R, A, everywhere) == ["Global_172_18_203_200, 179, as 64512, node r"]

    def test_address_of_a_node_brings_its_port_and_as(self) -> None:
        r = reflector("r", f"{LINK}.200/24", asNumber=65005)
        port = bgp_configuration("node.r", listenPort=1790)
        everywhere = bgp_peer("r", peerIP=f"{LINK}.200")
        assert sessions("a", A, r, port, everywhere) == ["Global_172_18_203_200, 1790, as 65005, node r"]

    def test_as_per_node(self) -> None:
        nodes = [node(n, f"{LINK}.{i}/24", asNumber=65000 + i) for i, n in enumerate("abc", start=1)]
        all_pairs = bgp_peer("all-pairs", nodeSelector="all()", peerSelector="all()")
        assert sessions("b", *nodes, NO_MESH, all_pairs) == [
            "Node_172_18_203_1, 179, as 65001, node a, passive",
            "Node_172_18_203_3, 179, as 65003, node c",
        ]
        assert not compute("b", *nodes, NO_MESH, all_pairs).peers[0].internal

    def test_one_session_with_a_node_that_is_peer_both_ways(self) -> None:
        all_pairs = bgp_peer("all-pairs", nodeSelector="all()", peerSelector="all()")
        assert sessions("a", A, B, all_pairs) == ["Node_172_18_203_126, 179, as 64512, node b"]
        assert problems("a", A, B, all_pairs) == []

    def test_beats_the_mesh(self) -> None:
        explicit = bgp_peer("to-b", node="a", peerIP=f"{LINK}.126", asNumber=64512, nextHopMode="Self")
        assert sessions("a", A, B, C, explicit) == [
            "Node_172_18_203_126, 179, as 64512, node b, next hop self",
            MESH_OF_A[1],
        ]
        assert problems("a", A, B, C, explicit) == []

    def test_for_some_nodes_beats_one_for_all_and_the_loser_is_told(self) -> None:
        everywhere = bgp_peer("a-everywhere", peerIP=f"{LINK}.1", asNumber=64601)
        here = bgp_peer("z-here", node="a", peerIP=f"{LINK}.1", asNumber=64602)
        assert sessions("a", A, everywhere, here) == ["Node_172_18_203_1, 179, as 64602, no node"]
        assert problems("a", A, everywhere, here) == [
            "BGPPeer(a-everywhere): no session with 172.18.203.1 by its terms: BGPPeer(z-here) sets others, and wins"
        ]

    def test_two_that_agree_are_no_problem(self) -> None:
        twice = [bgp_peer(name, peerIP=f"{LINK}.1", asNumber=64601) for name in ("x", "y")]
        assert len(sessions("a", A, *twice)) == 1
        assert problems("a", A, *twice) == []

    @pytest.mark.parametrize(
        ("peer_ip", "as_number", "reason"),
        [
            ("fd00::1", 64601, "Node(a) has no spec.bgp.ipv6Address"),
            ("fe80::1", 64601, "not an address of one host"),
            ("0.0.0.0", 64601, "not an address of one host"),
            (f"{LINK}.1", None, "spec.asNumber is missing, and no Node has this address"),
        ],
    )
    def test_a_session_that_cannot_be(self, peer_ip: str, as_number: int | None, reason: str) -> None:
        fields = {"asNumber": as_number} if as_number else {}
        odd = bgp_peer("odd", peerIP=peer_ip, **fields)
        assert sessions("a", A, B, odd) == MESH_OF_A[:1]
        assert problems("a", A, B, odd) == [f"BGPPeer(odd): no session with {peer_ip}: {reason}"]

    @pytest.mark.parametrize(
        ("fields", "rendered"),
        [
            ({"localASNumber": 65009}, {"local_as": 65009}),
            ({"maxRestartTime": "60s"}, {"restart_time_s": 60}),
            ({"maxRestartTime": "10h"}, {"restart_time_s": 4095}),
            ({"keepaliveTime": "100ms"}, {"keepalive_time_s": 1}),
            ({"numAllowedLocalASNumbers": 2}, {"own_as_allowed": 2}),
            ({"numAllowedLocalASNumbers": -1}, {"own_as_allowed": 0}),
            ({"ttlSecurity": 1}, {"hops": 1}),
            ({"reachableBy": f"{LINK}.1"}, {"reachable_by": ip_address(f"{LINK}.1")}),
            ({"filters": ["second", "first"]}, {"filters": ("second", "first")}),
            ({"keepOriginalNextHop": True}, {"next_hop": NextHop.KEEP}),
            ({"keepOriginalNextHop": True, "localASNumber": 64601}, {"next_hop": NextHop.AUTO, "local_as": 64601}),
            ({"nextHopMode": "Keep", "localASNumber": 64601}, {"next_hop": NextHop.KEEP, "local_as": 64601}),
        ],
        ids=str,
    )
    def test_terms(self, fields: dict[str, Any], rendered: dict[str, Any]) -> None:
        [plain] = compute("a", A, bgp_peer("tor", peerIP="192.0.2.1", asNumber=64601)).peers
        tor = bgp_peer("tor", peerIP="192.0.2.1", asNumber=64601, **fields)
        intent = compute("a", A, tor, *(bgp_filter(name) for name in ("first", "second", "unused")))
        assert intent.peers == (msgspec.structs.replace(plain, **rendered),)
        assert intent.problems == ()
        assert [each.name for each in intent.filters] == sorted(rendered.get("filters", ()))

    def test_without_its_filter_there_is_no_session(self) -> None:
        tor = bgp_peer("tor", peerIP="192.0.2.1", asNumber=64601, filters=["there", "lost"])
        assert sessions("a", A, tor, bgp_filter("there")) == []
        assert problems("a", A, tor, bgp_filter("there")) == [
            "BGPPeer(tor): not configured: spec.filters: BGPFilter(lost) does not exist, or is invalid"
        ]

    def test_a_local_as_number_is_what_the_other_end_expects(self) -> None:
        rule = bgp_peer("r", nodeSelector="!has(reflector)", peerSelector="has(reflector)", localASNumber=65009)
        assert sessions("a", A, R, rule, NO_MESH) == ["Node_172_18_203_200, 179, as 64512, node r"]
        assert compute("a", A, R, rule, NO_MESH).peers[0].local_as == 65009
        assert sessions("r", A, R, rule, NO_MESH) == ["Node_172_18_203_125, 179, as 65009, node a, passive"]
        both = bgp_peer("all", nodeSelector="all()", peerSelector="all()", localASNumber=65009)
        for name in "ab":
            [peer] = compute(name, A, B, both, NO_MESH).peers
            assert (peer.local_as, peer.as_number) == (65009, 65009)

    def test_restart_time_of_the_mesh(self) -> None:
        [peer] = compute("a", A, B, bgp_configuration(nodeMeshMaxRestartTime="5m")).peers
        assert peer.restart_time_s == 300

    def test_peering_with_workloads_is_not_supported(self) -> None:
        workloads = bgp_peer("workloads", localWorkloadSelector="all()", asNumber=64601)
        assert problems("a", A, workloads) == [
            "BGPPeer(workloads): not configured: spec.localWorkloadSelector not supported yet"
        ]

    def test_a_field_of_a_newer_calico_costs_the_session(self) -> None:
        tor = bgp_peer("tor", peerIP=f"{LINK}.1", asNumber=64601)
        newer = {**tor.document, "spec": {**tor.document["spec"], "role": "provider"}}
        tor = msgspec.structs.replace(tor, source=newer)
        assert sessions("a", A, tor) == []
        assert problems("a", A, tor) == ["BGPPeer(tor): not configured: spec.role not supported yet"]

    def test_a_rule_for_other_nodes_is_no_problem_here(self) -> None:
        elsewhere = bgp_peer("tor", node="b", peerIP="fd00::1", asNumber=64601, filters=["lost"])
        assert problems("a", A, B, elsewhere) == []


class TestSharedAddress:
    TWIN = node("twin", f"{LINK}.126/24")

    def test_the_older_keeps_its_session_whatever_the_newcomer_says(self) -> None:
        older = created(B, "2026-01-01T00:00:00Z")
        newcomer = created(node("aa", f"{LINK}.126/24", asNumber=65001), "2026-01-02T00:00:00Z")
        everyone = bgp_peer("everyone", nodeSelector="all()", peerSelector="all()")
        for rules in ((), (everyone, NO_MESH)):
            before, after = (compute("a", A, older, *more, *rules).peers for more in ((), (newcomer,)))
            assert after == before

    def test_others_keep_one_session_with_it_and_both_are_told(self) -> None:
        assert sessions("a", A, B, self.TWIN) == MESH_OF_A[:1]
        assert problems("a", A, B, self.TWIN) == [
            f"Node(b): its address {LINK}.126 is also that of Node(twin): give it another",
            f"Node(twin): its address {LINK}.126 is also that of Node(b): give it another",
        ]

    @pytest.mark.parametrize("name", ["b", "twin"])
    def test_the_two_keep_their_sessions_with_others(self, name: str) -> None:
        assert sessions(name, A, B, self.TWIN) == ["Mesh_172_18_203_125, 179, as 64512, node a, passive"]


class TestPoolsAndInterfaces:
    def test_pools(self) -> None:
        intent = compute(
            "a",
            pool("v6", "fd65::/64"),
            pool("quiet", "10.66.0.0/16", disableBGPExport=True),
            pool("off", "10.64.0.0/16", disabled=True),
            pool("main", "10.65.0.0/16"),
        )
        assert [(str(each.network), each.exported) for each in intent.pools] == [
            ("10.64.0.0/16", True),  # disabled means no new addresses: those given are still announced
            ("10.65.0.0/16", True),
            ("10.66.0.0/16", False),
            ("fd65::/64", True),
        ]

    def test_of_two_pools_with_one_prefix_the_cautious_one_counts(self) -> None:
        twice = pool("x", "10.65.0.0/16"), pool("y", "10.65.0.0/16", disableBGPExport=True)
        for order in (twice, twice[::-1]):
            assert [(str(each.network), each.exported) for each in compute("a", *order).pools] == [
                ("10.65.0.0/16", False)
            ]

    def test_hidden_interfaces(self) -> None:
        ignored = bgp_configuration(ignoredInterfaces=["docker0", "virbr*"])
        assert compute("a", ignored).hidden_interfaces == ("cali*", "docker0", "ns-*", "tap*", "virbr*")

    def test_a_prefix_that_begins_no_name_is_left_out_and_told(self) -> None:
        intent = compute("a", A, prefixes=("cali", 'x"; }'))
        assert intent.hidden_interfaces == ("cali*", "ns-*")
        assert [str(problem.key) for problem in intent.problems] == ["FelixConfiguration(default)"]


def test_settings_that_have_no_effect_are_told() -> None:
    configuration = bgp_configuration(
        logSeverityScreen="Info",
        programClusterRoutes="Disabled",
        serviceLoadBalancerAggregation="Enabled",
        serviceClusterIPs=[{"cidr": "10.96.0.0/12"}],
    )
    assert problems("a", A, B, configuration) == [
        "BGPConfiguration(default): spec.programClusterRoutes is not supported yet: ignored",
        "BGPConfiguration(default): spec.serviceClusterIPs is not supported yet: ignored",
    ]
    assert sessions("a", A, B, configuration) == MESH_OF_A[:1]


def test_settings_of_another_node_are_not_our_problem() -> None:
    assert problems("a", A, B, bgp_configuration("node.b", programClusterRoutes="Disabled")) == []


def test_the_address_that_listens() -> None:
    everywhere = bgp_peer("tor", peerIP=f"{LINK}.1", asNumber=64601, sourceAddress="None")
    bound = bgp_configuration(bindMode="NodeIP")
    assert not compute("a", A, B).node_address_only
    assert compute("a", A, B, bound).node_address_only
    assert problems("a", A, B, bound) == []
    assert problems("a", A, B, bound, everywhere) == [
        "BGPPeer(tor): spec.sourceAddress None: BGP listens on every IPv4 address for it, in spite of bindMode NodeIP"
    ]


class TestCommunities:
    RULE = (
        ("10.65.1.0/24", ("rack", "64512:1:2")),
        ("10.65.2.0/24", ()),
    )

    def configuration(self, name: str, *rules: tuple[str, tuple[str, ...]], **more: Any) -> Resource[Any]:
        advertised = [{"cidr": cidr, "communities": list(communities)} for cidr, communities in rules]
        return bgp_configuration(name, prefixAdvertisements=advertised, **more)

    def test_names_and_values(self) -> None:
        named = [{"name": "rack", "value": "64512:100"}]
        [rule] = compute("a", A, self.configuration("default", *self.RULE, communities=named)).advertisements
        assert (str(rule.network), rule.communities) == ("10.65.1.0/24", ((64512, 100), (64512, 1, 2)))

    def test_those_of_the_node_count_alone(self) -> None:
        everywhere = self.configuration("default", ("10.65.1.0/24", ("1:1",)))
        here = self.configuration("node.a", ("10.65.2.0/24", ("2:2",)))
        assert [str(rule.network) for rule in compute("a", A, everywhere, here).advertisements] == ["10.65.2.0/24"]
        assert [str(rule.network) for rule in compute("b", B, everywhere, here).advertisements] == ["10.65.1.0/24"]


EVERYTHING = (
    *(A, B, C, R, S, REFLECTORS, node("twin", f"{LINK}.126/24"), node("six", "fd00::6/64"), node("mute")),
    node("other-as", f"{LINK}.90/24", asNumber=65090),
    bgp_peer("tor", peerIP=f"{LINK}.1", asNumber=64601),
    bgp_peer("tor-again", peerIP=f"{LINK}.1", asNumber=64602),
    bgp_peer("tor-here", node="a", peerIP=f"{LINK}.1", asNumber=64603),
    bgp_peer("filtered", peerIP=f"{LINK}.2", asNumber=64601, filters=["x", "y"]),
    *(bgp_filter("x"), bgp_filter("y"), bgp_filter("z")),
    bgp_configuration(listenPort=1179, ignoredInterfaces=["docker0"], bindMode="NodeIP"),
    bgp_configuration("node.b", listenPort=1790),
    *(pool("main", "10.65.0.0/16"), pool("twice", "10.65.0.0/16", disableBGPExport=True), pool("v6", "fd65::/64")),
)


@pytest.mark.parametrize("name", ["a", "b", "twin", "r", "six", "mute", "absent"])
def test_the_order_of_the_objects_does_not_matter(name: str) -> None:
    expected = compute(name, *EVERYTHING)
    shuffler = random.Random(name)
    for _ in range(50):
        assert compute(name, *shuffler.sample(EVERYTHING, len(EVERYTHING))) == expected
