"""The rules of each kind: what no single field shows. A case says the places that are wrong."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.model.documents import document
from tortie.errors import InvalidResource
from tortie.model import from_user

V6 = {"cidr": "fd00:65::/64", "blockSize": 122}

# kind, fields of the spec (None takes one away), places of the problems
RULES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("IPPool", {"cidr": "10.65.0.0/26"}, []),
    ("IPPool", {"cidr": "10.65.0.0/27"}, ["spec.cidr"]),
    ("IPPool", {"cidr": "10.65.0.0/27", "disabled": True}, []),
    ("IPPool", {"cidr": "10.65.0.1"}, ["spec.cidr"]),
    ("IPPool", {"cidr": "169.254.1.0/24"}, ["spec.cidr"]),
    ("IPPool", {"cidr": "0.0.0.0/0"}, ["spec.cidr"]),
    ("IPPool", {"cidr": "fe80::/64", "blockSize": None}, ["spec.cidr"]),
    ("IPPool", V6, []),
    ("IPPool", V6 | {"blockSize": None}, []),
    ("IPPool", V6 | {"blockSize": 26}, ["spec.blockSize"]),
    ("IPPool", {"blockSize": 20}, []),
    ("IPPool", {"blockSize": 32}, []),
    ("IPPool", {"blockSize": 19}, ["spec.blockSize"]),
    ("IPPool", {"blockSize": 33}, ["spec.blockSize"]),
    ("IPPool", {"blockSize": -1}, ["spec.blockSize"]),
    ("IPPool", {"ipipMode": "Always"}, []),
    ("IPPool", V6 | {"ipipMode": "Always"}, ["spec.ipipMode"]),
    ("IPPool", {"ipipMode": "Always", "vxlanMode": "CrossSubnet"}, ["spec.vxlanMode"]),
    ("IPPool", {"allowedUses": ["LoadBalancer"], "nodeSelector": "all()"}, []),
    ("IPPool", {"allowedUses": ["LoadBalancer"], "nodeSelector": None}, []),
    ("IPPool", {"allowedUses": ["LoadBalancer"]}, ["spec.nodeSelector"]),
    (
        "IPPool",
        {
            "allowedUses": ["LoadBalancer", "Workload"],
            "nodeSelector": None,
            "disableBGPExport": True,
            "vxlanMode": "Always",
        },
        ["spec.allowedUses", "spec.disableBGPExport", "spec.vxlanMode"],
    ),
    ("Node", {"bgp": {}}, ["spec.bgp"]),
    ("Node", {"bgp": None}, []),
    ("BGPPeer", {"node": "n", "nodeSelector": None}, []),
    ("BGPPeer", {"node": "n"}, ["spec.node"]),
    ("BGPPeer", {"peerSelector": "has(rr)", "reachableBy": None}, ["spec.peerIP", "spec.asNumber"]),
    ("BGPPeer", {"peerSelector": "has(rr)", "peerIP": None, "asNumber": None, "reachableBy": None}, []),
    ("BGPPeer", {"peerSelector": "has(rr)", "peerIP": None, "asNumber": 0, "reachableBy": None}, []),
    ("BGPPeer", {"peerIP": None}, ["spec.reachableBy"]),
    ("BGPPeer", {"reachableBy": "fd00::1"}, ["spec.reachableBy"]),
    ("BGPPeer", {"peerIP": "[fd00::2]:179", "reachableBy": "fd00::1"}, []),
    ("BGPPeer", {"nextHopMode": "Self"}, []),
    ("BGPPeer", {"nextHopMode": "Self", "keepOriginalNextHop": True}, ["spec.keepOriginalNextHop"]),
    ("BGPPeer", {"localWorkloadSelector": "all()", "peerIP": None, "reachableBy": None}, []),
    (
        "BGPPeer",
        {"localWorkloadSelector": "all()", "asNumber": None, "reachableBy": None},
        ["spec.peerIP", "spec.asNumber"],
    ),
    (
        "BGPPeer",
        {"localWorkloadSelector": "all()", "peerSelector": "all()", "peerIP": None, "reachableBy": None},
        ["spec.asNumber", "spec.peerSelector"],
    ),
    ("BGPConfiguration", {"nodeMeshMaxRestartTime": "1m0s"}, ["spec.nodeMeshMaxRestartTime"]),
    ("BGPConfiguration", {"nodeMeshMaxRestartTime": "1m0s", "nodeToNodeMeshEnabled": None}, []),
    ("BGPConfiguration", {"prefixAdvertisements": None}, ["spec.communities"]),
    ("BGPConfiguration", {"communities": None}, ["spec.prefixAdvertisements[0].communities[0]"]),
    ("BGPConfiguration", {"communities": [{"name": "blue", "value": "65535:65535"}]}, []),
    ("BGPConfiguration", {"communities": [{"name": "blue", "value": "65536:1"}]}, ["spec.communities[0].value"]),
    ("BGPConfiguration", {"communities": [{"name": "blue", "value": "4294967295:1:1"}]}, []),
    ("BGPConfiguration", {"communities": [{"name": "blue", "value": "4294967296:1:1"}]}, ["spec.communities[0].value"]),
    ("BGPConfiguration", {"communities": [{"name": "blue", "value": "blue"}]}, ["spec.communities[0].value"]),
    ("WorkloadEndpoint", {"endpoint": "eth1"}, ["metadata.name"]),
    ("WorkloadEndpoint", {"containerID": None}, ["metadata.name"]),
    (
        "WorkloadEndpoint",
        {"ipNATs": [{"internalIP": "10.65.0.25", "externalIP": "192.0.2.1"}]},
        ["spec.ipNATs[0].internalIP"],
    ),
    ("WorkloadEndpoint", {"ports": [{"protocol": "ICMP", "port": 1, "name": "a"}]}, ["spec.ports[0].protocol"]),
    ("WorkloadEndpoint", {"ports": [{"protocol": "SCTP", "port": 1}]}, ["spec.ports[0].name"]),
    ("WorkloadEndpoint", {"ports": [{"protocol": 6, "port": 1, "hostPort": 80}]}, []),
    ("WorkloadEndpoint", {"ipNetworks": None, "ipNATs": None}, []),
    ("FelixConfiguration", {"interfacePrefix": "cali, tap,ns-"}, []),
    ("FelixConfiguration", {"interfacePrefix": "cali/x"}, ["spec.interfacePrefix"]),
    ("FelixConfiguration", {"mtuIfacePattern": "(eth"}, ["spec.mtuIfacePattern"]),
]


@pytest.mark.parametrize(("kind", "fields", "wrong"), RULES)
def test_rules(kind: str, fields: dict[str, Any], wrong: list[str]) -> None:
    assert places(document(kind, **fields)) == sorted(wrong)


def places(body: dict[str, Any]) -> list[str]:
    try:
        from_user(body)
    except InvalidResource as error:
        return sorted(problem.path for problem in error.problems)
    return []


def named(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    body = document(kind, **spec)
    body["metadata"]["name"] = name
    return body


class TestNames:
    def test_only_one_cluster_information(self) -> None:
        assert places(named("ClusterInformation", "other")) == ["metadata.name"]

    def test_the_built_in_profile_cannot_be_stored(self) -> None:
        assert places(named("Profile", "projectcalico-default-allow")) == ["metadata.name"]

    def test_felix_configurations(self) -> None:
        assert places(named("FelixConfiguration", "node.n1")) == []
        assert places(named("FelixConfiguration", "other")) == ["metadata.name"]
        assert places(named("FelixConfiguration", "other", nodeSelector="has(gpu)")) == []

    def test_settings_of_all_nodes_stand_in_the_default_bgp_configuration(self) -> None:
        found = places(named("BGPConfiguration", "node.n1"))
        assert found == ["spec.asNumber", "spec.nodeToNodeMeshEnabled"]
        with pytest.raises(InvalidResource, match="Cannot set asNumber on a non default BGP Configuration"):
            from_user(named("BGPConfiguration", "node.n1"))
        assert places(named("BGPConfiguration", "node.n1", asNumber=None, nodeToNodeMeshEnabled=None)) == []


class TestSentencesOfCalicoctl:
    @pytest.mark.parametrize(
        ("cidr", "sentence"),
        [
            ("10.65.0.1/16", "IPPool CIDR is not strictly masked"),
            ("10.65.0.0/33", "IPPool CIDR must be a valid subnet"),
            ("pool", "IPPool CIDR must be a valid subnet"),
        ],
    )
    def test_pool(self, cidr: str, sentence: str) -> None:
        with pytest.raises(InvalidResource) as caught:
            from_user(document("IPPool", cidr=cidr))
        assert [problem.reason for problem in caught.value.problems] == [sentence]

    def test_name_of_an_endpoint(self) -> None:
        with pytest.raises(InvalidResource, match="expected name node--1-cni-3f2a9c41d7be-eth1"):
            from_user(document("WorkloadEndpoint", endpoint="eth1"))
