"""Kinds: found by their folder, named as calicoctl names them, shown in its columns."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.unit.model.documents import SPECS, document, key
from tortie.errors import UsageError
from tortie.model import KINDS, Resource, from_store, kind_named
from tortie.model.kind import Cluster
from tortie.model.kinds import Kinds, kind_of_plural
from tortie.model.scalars import AsNumber

ALIASES = {
    "IPPool": "ippool ippools ipp ipps pool pools IPPool IpPools",
    "BGPConfiguration": "bgpconfiguration bgpconfigurations bgpconfig bgpconfigs BGPConfig",
    "BGPPeer": "bgppeer bgppeers bgpp bgpps bp bps",
    "Node": "node nodes no nos NODE",
    "WorkloadEndpoint": "workloadendpoint workloadendpoints wep weps",
    "Profile": "profile profiles pro pros",
    "FelixConfiguration": "felixconfiguration felixconfigurations felixconfig felixconfigs",
    "ClusterInformation": "clusterinformation clusterinformations clusterinfo clusterinfos",
    "IPReservation": "ipreservation ipreservations reservation reservations",
    "BGPFilter": "bgpfilter bgpfilters bgpf bgpfs bf bfs",
    "KubeControllersConfiguration": "kubecontrollersconfiguration kubecontrollersconfigurations "
    "kubecontrollersconfig kubecontrollersconfigs",
    "CalicoNodeStatus": "caliconodestatus caliconodestatuses nodestatus nodestatuses",
    "IPAMConfiguration": "ipamconfiguration ipamconfigurations ipamconfig ipamconfigs",
    "BlockAffinity": "blockaffinity blockaffinities affinity affinities",
    "LiveMigration": "livemigration livemigrations",
    "Tier": "tier tiers",
    "NetworkPolicy": "networkpolicy networkpolicies policy policies np pol pols",
    "GlobalNetworkPolicy": "globalnetworkpolicy globalnetworkpolicies gnp gnps",
    "StagedNetworkPolicy": "stagednetworkpolicy stagednetworkpolicies stagedpolicy stagedpolicies snp spol spols",
    "StagedGlobalNetworkPolicy": "stagedglobalnetworkpolicy stagedglobalnetworkpolicies sgnp sgnps",
    "StagedKubernetesNetworkPolicy": "stagedkubernetesnetworkpolicy stagedkubernetesnetworkpolicies "
    "stagedkubernetespolicy stagedkubernetespolicies sknp skpol skpols",
    "HostEndpoint": "hostendpoint hostendpoints hep heps",
    "NetworkSet": "networkset networksets netsets",
    "GlobalNetworkSet": "globalnetworkset globalnetworksets gnetsets",
}


@pytest.mark.parametrize("kind", ALIASES)
def test_aliases(kind: str) -> None:
    assert {kind_named(alias).name for alias in ALIASES[kind].split()} == {kind}


def test_no_alias_means_two_kinds() -> None:
    aliases = [alias for kind in KINDS.values() for alias in {kind.name.lower(), kind.plural, *kind.aliases}]
    assert len(aliases) == len(set(aliases))
    assert all(alias == alias.lower() for alias in aliases)


def test_an_unknown_kind_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"^resource type 'ipool' is not supported; did you mean 'ippool'\?$"):
        kind_named("ipool")
    with pytest.raises(UsageError, match=r"^resource type 'xyzzy' is not supported$"):
        kind_named("xyzzy")


def test_a_kind_is_a_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "more_kinds"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "widget.py").write_text(
        "from tortie.model.kind import NAME, Kind\n"
        "from tortie.model.schema import Spec\n"
        "class WidgetSpec(Spec, frozen=True):\n"
        "    size: int = 0\n"
        'KIND = Kind(name="Widget", plural="widgets", aliases=("w",), spec=WidgetSpec, columns=(NAME,), wide=(NAME,))\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = Kinds("more_kinds", [str(package)])
    assert {name: kind.plural for name, kind in found.items()} == {"Widget": "widgets"}
    assert found["Widget"].list_name == "WidgetList"
    assert "widget" not in found
    with pytest.raises(KeyError):
        found["Gadget"]


def test_a_file_bears_the_name_of_its_kind() -> None:
    assert all(KINDS.in_file(kind.name.lower()) is kind for kind in KINDS.values())
    assert list(KINDS) == sorted(KINDS)
    assert len(KINDS) == len(list(KINDS))


def test_the_word_that_a_kind_is_stored_under() -> None:
    assert all(kind_of_plural(kind.plural) is kind for kind in KINDS.values())
    assert kind_of_plural("node") is None
    assert kind_of_plural("networkpolicys") is None


TABLES = {
    # kind: heading and cell of each column, of the plain table, then of the wide one
    "IPPool": (
        {"NAME": "pool-a", "CIDR": "10.65.0.0/16", "SELECTOR": "rack == 'a'"},
        {
            "NAME": "pool-a",
            "CIDR": "10.65.0.0/16",
            "NAT": "true",
            "IPIPMODE": "Never",
            "VXLANMODE": "Never",
            "DISABLED": "false",
            "DISABLEBGPEXPORT": "false",
            "SELECTOR": "rack == 'a'",
            "ASSIGNMENTMODE": "Automatic",
        },
    ),
    "BGPConfiguration": (
        {"NAME": "default", "LOGSEVERITY": "Info", "MESHENABLED": "false", "ASNUMBER": "64512"},
        {"NAME": "default", "LOGSEVERITY": "Info", "MESHENABLED": "false", "ASNUMBER": "64512"},
    ),
    "BGPPeer": (
        {"NAME": "tor-rack1", "PEERIP": "172.18.203.1:1790", "NODE": "rack == 'rack1'", "ASN": "64601"},
        {"NAME": "tor-rack1", "PEERIP": "172.18.203.1:1790", "NODE": "rack == 'rack1'", "ASN": "64601"},
    ),
    "Node": (
        {"NAME": "node-1"},
        {"NAME": "node-1", "ASN": "64512", "IPV4": "172.18.203.126/24", "IPV6": "fd00::126/64"},
    ),
    "WorkloadEndpoint": (
        {
            "WORKLOAD": "3f2a9c41d7be",
            "NODE": "node-1",
            "NETWORKS": "10.65.0.24/32,fd00::24/128",
            "INTERFACE": "cali3f2a9c41d7b",
        },
        {
            "NAME": "node--1-cni-3f2a9c41d7be-eth0",
            "WORKLOAD": "3f2a9c41d7be",
            "NODE": "node-1",
            "NETWORKS": "10.65.0.24/32,fd00::24/128",
            "INTERFACE": "cali3f2a9c41d7b",
            "PROFILES": "web-net",
            "NATS": "10.65.0.24->192.0.2.24",
        },
    ),
    "Profile": ({"NAME": "web-net"}, {"NAME": "web-net", "LABELS": "web-net="}),
    "FelixConfiguration": ({"NAME": "default"}, {"NAME": "default"}),
    "IPReservation": ({"NAME": "router-addrs"}, {"NAME": "router-addrs", "CIDRS": "10.65.0.0/30,10.65.0.21/32"}),
    "BGPFilter": (
        {"NAME": "only-pools", "NUMEXPORTV4": "2", "NUMIMPORTV4": "0", "NUMEXPORTV6": "0", "NUMIMPORTV6": "1"},
        {"NAME": "only-pools", "NUMEXPORTV4": "2", "NUMIMPORTV4": "0", "NUMEXPORTV6": "0", "NUMIMPORTV6": "1"},
    ),
    "KubeControllersConfiguration": ({"NAME": "default"}, {"NAME": "default"}),
    "CalicoNodeStatus": (
        {"NAME": "node-1", "NODE": "node-1"},
        {"NAME": "node-1", "NODE": "node-1", "CLASSES": "Agent,BGP,Routes"},
    ),
    "IPAMConfiguration": (
        {"NAME": "default", "STRICTAFFINITY": "false", "AUTOALLOCATEBLOCKS": "true"},
        {"NAME": "default", "STRICTAFFINITY": "false", "AUTOALLOCATEBLOCKS": "true", "MAXBLOCKSPERHOST": "4"},
    ),
    "BlockAffinity": (
        {"NAME": "node-1-10-65-0-0-26"},
        {
            "NAME": "node-1-10-65-0-0-26",
            "CIDR": "10.65.0.0/26",
            "NODE": "node-1",
            "TYPE": "host",
            "STATE": "confirmed",
        },
    ),
    "LiveMigration": (
        {"NAME": "lm-1"},
        {"NAME": "lm-1", "SOURCE": "node-1/openstack/b7a1c3de", "TARGET": "vm == 'web'"},
    ),
    "Tier": ({"NAME": "platform", "ORDER": "200.5"}, {"NAME": "platform", "ORDER": "200.5"}),
    "NetworkPolicy": (
        {"NAME": "allow-web", "TIER": "default"},
        {"NAME": "allow-web", "TIER": "default", "ORDER": "100", "SELECTOR": "app == 'web'"},
    ),
    "GlobalNetworkPolicy": (
        {"NAME": "deny-all", "TIER": "platform"},
        {"NAME": "deny-all", "TIER": "platform", "ORDER": "1.5", "SELECTOR": "all()"},
    ),
    "StagedNetworkPolicy": (
        {"NAME": "try-it", "TIER": "default"},
        {"NAME": "try-it", "TIER": "default", "ORDER": "<nil>", "SELECTOR": "app == 'web'"},
    ),
    "StagedGlobalNetworkPolicy": (
        {"NAME": "try-global", "TIER": "default"},
        {"NAME": "try-global", "TIER": "default", "ORDER": "<nil>", "SELECTOR": "all()"},
    ),
    "StagedKubernetesNetworkPolicy": (
        {"NAME": "sk"},
        {"NAME": "sk", "PODSELECTOR": "app=web,tier in (a,b),!old"},
    ),
    "HostEndpoint": (
        {"NAME": "node-1-eth0", "NODE": "node-1"},
        {
            "NAME": "node-1-eth0",
            "NODE": "node-1",
            "INTERFACE": "eth0",
            "IPS": "172.18.203.126,fd00::126",
            "PROFILES": "projectcalico-default-allow",
        },
    ),
    "NetworkSet": ({"NAME": "partners"}, {"NAME": "partners", "NETS": "192.0.2.0/24,2001:db8::/48"}),
    "GlobalNetworkSet": ({"NAME": "blocklist"}, {"NAME": "blocklist", "NETS": "203.0.113.7/32,203.0.113.8/32"}),
    "ClusterInformation": (
        {
            "NAME": "default",
            "CLUSTERGUID": "8c1f0d3e5b7a49cfa1e2d3c4b5a69788",
            "CLUSTERTYPE": "tortie",
            "CALICOVERSION": "",
            "DATASTOREREADY": "false",
        },
        {
            "NAME": "default",
            "CLUSTERGUID": "8c1f0d3e5b7a49cfa1e2d3c4b5a69788",
            "CLUSTERTYPE": "tortie",
            "CALICOVERSION": "",
            "DATASTOREREADY": "false",
        },
    ),
}


def stored(kind: str, **spec: object) -> Resource[object]:
    resource = from_store(key(kind), msgspec.json.encode(document(kind, **spec)))
    assert isinstance(resource, Resource), resource
    return resource


def cells(kind: str, cluster: Cluster, wide: bool, **spec: object) -> dict[str, str]:
    columns = KINDS[kind].wide if wide else KINDS[kind].columns
    return {column.heading: column.cell(stored(kind, **spec), cluster) for column in columns}


@pytest.mark.parametrize("kind", SPECS)
def test_columns(kind: str) -> None:
    plain, wide = TABLES[kind]
    assert list(cells(kind, Cluster(), wide=False).items()) == list(plain.items())
    assert list(cells(kind, Cluster(), wide=True).items()) == list(wide.items())


class TestCellsOfUnsetFields:
    def test_a_node_without_as_number_shows_that_of_the_cluster(self) -> None:
        cluster = Cluster(AsNumber(65001))
        assert cells("Node", cluster, wide=True, bgp=None)["ASN"] == "(65001)"
        assert cells("Node", cluster, wide=True, bgp={"ipv4Address": "10.0.0.1/24"})["ASN"] == "(65001)"
        assert cells("Node", cluster, wide=True, bgp=None)["IPV4"] == ""

    def test_bgp_configuration_shows_dashes(self) -> None:
        unset = dict.fromkeys(SPECS["BGPConfiguration"][1])
        assert list(cells("BGPConfiguration", Cluster(), wide=True, **unset).values()) == ["default", "-", "-", "-"]

    def test_peer_of_all_nodes_is_global(self) -> None:
        shown = cells("BGPPeer", Cluster(), wide=False, nodeSelector=None, peerIP=None, asNumber=None, reachableBy=None)
        assert shown == {"NAME": "tor-rack1", "PEERIP": "", "NODE": "(global)", "ASN": "0"}

    def test_cluster_that_never_said_whether_it_is_ready(self) -> None:
        assert cells("ClusterInformation", Cluster(), wide=False, datastoreReady=None)["DATASTOREREADY"] == ""

    def test_an_ipam_configuration_without_fields_shows_what_calico_takes_it_for(self) -> None:
        unset = dict.fromkeys(SPECS["IPAMConfiguration"][1])
        assert list(cells("IPAMConfiguration", Cluster(), wide=True, **unset).values()) == [
            "default",
            "false",
            "false",
            "0",
        ]

    def test_a_long_list_of_reservations_is_cut(self) -> None:
        cidrs = [f"10.65.0.{host}/32" for host in range(20)]
        shown = cells("IPReservation", Cluster(), wide=True, reservedCIDRs=cidrs)["CIDRS"]
        assert shown == ",".join(cidrs)[:77] + "..."

    def test_a_pool_with_an_empty_selector_shows_that_of_all_nodes(self) -> None:
        assert cells("IPPool", Cluster(), wide=False, nodeSelector="")["SELECTOR"] == "all()"

    def test_a_long_list_of_networks_is_cut(self) -> None:
        nets = [f"10.65.0.{host}/32" for host in range(20)]
        shown = cells("NetworkSet", Cluster(), wide=True, nets=nets)["NETS"]
        assert shown == ",".join(nets)[:77] + "..."

    def test_a_policy_without_order_and_selector(self) -> None:
        shown = cells("NetworkPolicy", Cluster(), wide=True, tier=None, order=None, selector=None)
        assert shown == {"NAME": "allow-web", "TIER": "default", "ORDER": "<nil>", "SELECTOR": ""}

    def test_a_tier_without_order_shows_what_calico_takes_it_for(self) -> None:
        assert cells("Tier", Cluster(), wide=False, order=None)["ORDER"] == "1e+06"

    @pytest.mark.parametrize(
        ("selector", "shown"),
        [
            (None, "<none>"),
            ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, "a"),
            ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}, "a notin (b)"),
        ],
    )
    def test_selectors_of_kubernetes(self, selector: object, shown: str) -> None:
        kind = "StagedKubernetesNetworkPolicy"
        assert cells(kind, Cluster(), wide=True, podSelector=selector)["PODSELECTOR"] == shown

    def test_orchestrator_is_shown_on_request_only(self) -> None:
        (column,) = KINDS["WorkloadEndpoint"].hidden
        assert (column.heading, column.cell(stored("WorkloadEndpoint"), Cluster())) == ("ORCHESTRATOR", "cni")
