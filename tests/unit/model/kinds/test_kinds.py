"""Kinds: found by their folder, named as calicoctl names them, shown in its columns."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.unit.model.documents import SPECS, document, key
from tortie.errors import UsageError
from tortie.model import KINDS, Resource, from_store, kind_named
from tortie.model.kind import Cluster
from tortie.model.kinds import discover
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
    found = discover("more_kinds", [str(package)])
    assert {name: kind.plural for name, kind in found.items()} == {"Widget": "widgets"}
    assert found["Widget"].list_name == "WidgetList"


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

    def test_orchestrator_is_shown_on_request_only(self) -> None:
        (column,) = KINDS["WorkloadEndpoint"].hidden
        assert (column.heading, column.cell(stored("WorkloadEndpoint"), Cluster())) == ("ORCHESTRATOR", "cni")
