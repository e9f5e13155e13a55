"""The rules of each kind: what no single field shows. A case says the places that are wrong."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import pytest

from tests.unit.model.documents import document, key
from tortie.errors import InvalidResource
from tortie.model import KINDS, Quarantined, Resource, ResourceKey, from_store, from_user
from tortie.model.kind import Need

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
    ("IPPool", {"cidr": "fd00:0065:0000:0000:0000:0000:0000:0000:0000:0000:0000/64"}, ["spec.cidr"]),
    ("IPPool", {"vxlanMode": "", "allowedUses": [], "assignmentMode": "", "nodeSelector": ""}, []),
    ("IPPool", {"allowedUses": ["Workload", "Service"]}, ["spec.allowedUses[1]"]),
    ("IPPool", {"namespaceSelector": "global()"}, ["spec.namespaceSelector"]),
    ("IPReservation", {"reservedCIDRs": None}, []),
    ("IPReservation", {"reservedCIDRs": ["10.65.0.1/30", "fd00::/64"]}, []),
    ("IPReservation", {"reservedCIDRs": ["10.65.0.1", "pool"]}, ["spec.reservedCIDRs[0]", "spec.reservedCIDRs[1]"]),
    ("BGPFilter", {"exportV4": None, "importV6": None}, []),
    ("BGPFilter", {"exportV4": [{}]}, ["spec.exportV4[0].action"]),
    ("BGPFilter", {"exportV4": [{"action": "Pass"}]}, ["spec.exportV4[0].action"]),
    (
        "BGPFilter",
        {"exportV4": [{"action": "Accept", "cidr": "10.65.0.0/16"}, {"action": "Accept", "matchOperator": "In"}]},
        ["spec.exportV4[0].matchOperator", "spec.exportV4[1].matchOperator"],
    ),
    (
        "BGPFilter",
        {"exportV4": [{"action": "Accept", "prefixLength": {"min": 33}}]},
        ["spec.exportV4[0].prefixLength.min"],
    ),
    ("BGPFilter", {"importV4": [{"action": "Accept", "prefixLength": {}}]}, ["spec.importV4[0].prefixLength"]),
    (
        "BGPFilter",
        {
            "exportV4": [
                {"action": "Accept", "cidr": "fd00::/64", "matchOperator": "In"},
                {"action": "Accept", "cidr": "10.65.0.1/16", "matchOperator": "In"},
                {"action": "Accept", "cidr": "10.65.0.1", "matchOperator": "In"},
                {"action": "Accept", "cidr": "", "matchOperator": "", "source": "", "interface": ""},
            ]
        },
        ["spec.exportV4[0].cidr", "spec.exportV4[1].cidr", "spec.exportV4[2].cidr"],
    ),
    (
        "BGPFilter",
        {
            "importV6": [
                {"action": "Accept", "cidr": "fd00::/64", "matchOperator": "In", "prefixLength": {"max": 128}},
                {"action": "Accept", "cidr": "fd00::/64", "matchOperator": "In", "prefixLength": {"max": 129}},
            ]
        },
        ["spec.importV6[1].prefixLength.max"],
    ),
    ("BGPFilter", {"importV4": [{"action": "Accept", "source": "RemotePeers"}]}, ["spec.importV4[0].source"]),
    ("BGPFilter", {"importV4": [{"action": "Accept", "interface": "*"}]}, []),
    ("BGPFilter", {"importV4": [{"action": "Accept", "interface": "x" * 16}]}, ["spec.importV4[0].interface"]),
    ("BGPFilter", {"importV4": [{"action": "Accept", "peerType": "any"}]}, ["spec.importV4[0].peerType"]),
    ("BGPFilter", {"importV4": [{"action": "Accept", "priority": 0}]}, ["spec.importV4[0].priority"]),
    ("BGPFilter", {"importV4": [{"action": "Accept", "asPathPrefix": ["1.10", 1]}]}, []),
    (
        "BGPFilter",
        {"importV4": [{"action": "Accept", "communities": {"values": ["1:2", "65536:1"]}}]},
        ["spec.importV4[0].communities.values", "spec.importV4[0].communities.values[1]"],
    ),
    (
        "BGPFilter",
        {"importV4": [{"action": "Reject", "operations": [{"setPriority": {"value": 1}}]}]},
        ["spec.importV4[0].operations"],
    ),
    ("BGPFilter", {"importV4": [{"action": "Accept", "operations": []}]}, []),
    (
        "BGPFilter",
        {
            "importV4": [
                {
                    "action": "Accept",
                    "operations": [
                        {},
                        {"setPriority": {"value": 1}, "addCommunity": {"value": "1:1"}},
                        {"prependASPath": {"prefix": []}},
                        {"addCommunity": {"value": "blue"}},
                    ],
                }
            ]
        },
        [
            "spec.importV4[0].operations[0]",
            "spec.importV4[0].operations[1]",
            "spec.importV4[0].operations[2].prependASPath.prefix",
            "spec.importV4[0].operations[3].addCommunity.value",
        ],
    ),
    (
        "BGPFilter",
        {"importV4": [{"action": "Accept", "operations": [{"setPriority": {"value": 1}}] * 11}]},
        ["spec.importV4[0].operations"],
    ),
    ("KubeControllersConfiguration", {"controllers": None}, []),
    ("KubeControllersConfiguration", {"logSeverityScreen": "Trace"}, ["spec.logSeverityScreen"]),
    ("KubeControllersConfiguration", {"prometheusMetricsPort": 65536}, ["spec.prometheusMetricsPort"]),
    ("KubeControllersConfiguration", {"debugProfilePort": -1}, ["spec.debugProfilePort"]),
    (
        "KubeControllersConfiguration",
        {"controllers": {"loadBalancer": {"assignIPs": "Some"}}},
        ["spec.controllers.loadBalancer.assignIPs"],
    ),
    (
        "KubeControllersConfiguration",
        {
            "controllers": {
                "node": {
                    "hostEndpoint": {
                        "templates": [
                            {},
                            {"interfacePattern": "(eth"},
                            {"interfacePattern": "e", "labels": {"a b": ""}},
                        ]
                    }
                }
            }
        },
        [
            "spec.controllers.node.hostEndpoint.templates[0]",
            "spec.controllers.node.hostEndpoint.templates[1].interfacePattern",
            "spec.controllers.node.hostEndpoint.templates[2].labels.a b",
        ],
    ),
    ("CalicoNodeStatus", {"node": None}, ["spec.node"]),
    ("CalicoNodeStatus", {"classes": None}, ["spec.classes"]),
    ("CalicoNodeStatus", {"classes": []}, ["spec.classes"]),
    ("CalicoNodeStatus", {"classes": ["BGP", "BGP"]}, ["spec.classes"]),
    ("CalicoNodeStatus", {"classes": ["bgp"]}, ["spec.classes[0]"]),
    ("CalicoNodeStatus", {"updatePeriodSeconds": None}, ["spec.updatePeriodSeconds"]),
    ("CalicoNodeStatus", {"updatePeriodSeconds": 0}, []),
    ("CalicoNodeStatus", {"updatePeriodSeconds": 86401}, ["spec.updatePeriodSeconds"]),
    ("IPAMConfiguration", {"strictAffinity": None, "autoAllocateBlocks": None}, []),
    ("IPAMConfiguration", {"maxBlocksPerHost": 1000000}, []),
    ("IPAMConfiguration", {"maxBlocksPerHost": 1000001}, ["spec.maxBlocksPerHost"]),
    ("IPAMConfiguration", {"maxBlocksPerHost": -1}, ["spec.maxBlocksPerHost"]),
    ("IPAMConfiguration", {"ipCooldownSeconds": 1201}, ["spec.ipCooldownSeconds"]),
    ("IPAMConfiguration", {"kubeVirtVMAddressPersistence": "On"}, ["spec.kubeVirtVMAddressPersistence"]),
    ("BlockAffinity", {"state": "", "type": None}, []),
    ("BlockAffinity", {"state": "lost"}, ["spec.state"]),
    ("BlockAffinity", {"deleted": False}, []),
    ("BlockAffinity", {"deleted": True}, ["spec.deleted"]),
    ("BlockAffinity", {"deleted": "true"}, ["spec.deleted"]),
    ("BlockAffinity", {"cidr": None}, ["spec.cidr"]),
    ("LiveMigration", {"source": None, "target": None}, []),
    ("LiveMigration", {"target": {"selector": "vm =="}}, ["spec.target.selector"]),
    ("Node", {"bgp": {"asNumber": "1.10", "ipv4Address": "10.0.0.1"}}, []),
    ("Node", {"bgp": {"ipv4Address": "fd00::1/64"}}, ["spec.bgp.ipv4Address"]),
    ("Node", {"bgp": {"asNumber": 4294967296}}, ["spec.bgp.asNumber"]),
    ("Node", {"addresses": [{"address": "10.0.0.1", "type": "Hostname"}]}, ["spec.addresses[0].type"]),
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
    ("BGPPeer", {"peerIP": "", "reachableBy": "", "nodeSelector": ""}, []),
    ("BGPPeer", {"node": "n", "nodeSelector": ""}, []),
    ("BGPPeer", {"peerIP": "172.18.203.1:0"}, ["spec.peerIP"]),
    ("BGPPeer", {"ttlSecurity": 255, "numAllowedLocalASNumbers": 2**31 - 1}, []),
    (
        "BGPPeer",
        {"ttlSecurity": 256, "numAllowedLocalASNumbers": 2**31},
        ["spec.ttlSecurity", "spec.numAllowedLocalASNumbers"],
    ),
    ("BGPPeer", {"reversePeering": "Never", "sourceAddress": "Any"}, ["spec.reversePeering", "spec.sourceAddress"]),
    ("BGPConfiguration", {"ignoredInterfaces": ["*"]}, ["spec.ignoredInterfaces[0]"]),
    ("BGPConfiguration", {"logSeverityScreen": "WARNING"}, []),
    ("BGPConfiguration", {"listenPort": 0}, ["spec.listenPort"]),
    (
        "BGPConfiguration",
        {"serviceClusterIPs": [{"cidr": "10.96.0.0/12"}, {"cidr": "10.96.0.1"}]},
        ["spec.serviceClusterIPs[1].cidr"],
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
    (
        "WorkloadEndpoint",
        {"ipNATs": [{"internalIP": "10.65.0.24", "externalIP": "2001:db8::1"}]},
        ["spec.ipNATs[0].externalIP"],
    ),
    ("WorkloadEndpoint", {"ports": [{"protocol": "TCP", "port": 1, "name": "Web"}]}, ["spec.ports[0].name"]),
    ("WorkloadEndpoint", {"ports": [{"protocol": "TCP", "port": 1, "name": "1"}]}, ["spec.ports[0].name"]),
    ("WorkloadEndpoint", {"ports": [{"protocol": "TCP", "port": 0, "name": "a"}]}, ["spec.ports[0].port"]),
    (
        "WorkloadEndpoint",
        {"ports": [{"protocol": "TCP", "port": 1, "hostPort": 1, "hostIP": "here"}]},
        ["spec.ports[0].hostIP"],
    ),
    ("WorkloadEndpoint", {"ipNetworks": ["10.65.0.24/31"], "ipNATs": None}, ["spec.ipNetworks[0]"]),
    ("WorkloadEndpoint", {"ipNetworks": ["010.65.0.24"], "ipNATs": None}, ["spec.ipNetworks[0]"]),
    ("WorkloadEndpoint", {"ipv4Gateway": "", "ipv6Gateway": "", "mac": ""}, []),
    ("WorkloadEndpoint", {"qosControls": {"ingressBandwidth": 0, "egressBurst": 1000, "dscp": "ef"}}, []),
    (
        "WorkloadEndpoint",
        {"qosControls": {"ingressBandwidth": 999, "egressPeakrate": 10**15 + 1, "egressPacketBurst": 1}},
        ["spec.qosControls.egressPeakrate", "spec.qosControls.ingressBandwidth"],
    ),
    ("WorkloadEndpoint", {"qosControls": {"ingressBandwidth": 999}}, ["spec.qosControls.ingressBandwidth"]),
    ("WorkloadEndpoint", {"qosControls": {"dscp": 64}}, ["spec.qosControls.dscp"]),
    ("WorkloadEndpoint", {"qosControls": {"dscp": "CS7"}}, ["spec.qosControls.dscp"]),
    ("Profile", {"labelsToApply": {"pcns.projectcalico.org/name": "blue", "a": ""}}, []),
    ("Profile", {"labelsToApply": {"a b": "", "c": "d e"}}, ["spec.labelsToApply.a b", "spec.labelsToApply.c"]),
    ("Tier", {"order": None, "defaultAction": None}, []),
    ("Tier", {"order": -1.5}, []),
    ("Tier", {"order": "1"}, ["spec.order"]),
    ("Tier", {"order": True}, ["spec.order"]),
    ("Tier", {"order": 2**1024}, ["spec.order"]),
    ("Tier", {"defaultAction": "Allow"}, ["spec.defaultAction"]),
    ("NetworkPolicy", {"tier": "", "order": None, "types": None, "selector": ""}, []),
    ("NetworkPolicy", {"tier": "a.b"}, ["spec.tier"]),
    ("NetworkPolicy", {"order": "1"}, ["spec.order"]),
    ("NetworkPolicy", {"types": ["Ingress", "Ingress"]}, ["spec.types"]),
    ("NetworkPolicy", {"types": ["ingress"]}, ["spec.types[0]"]),
    ("NetworkPolicy", {"selector": "global()"}, ["spec.selector"]),
    ("NetworkPolicy", {"serviceAccountSelector": "!global()"}, ["spec.serviceAccountSelector"]),
    ("NetworkPolicy", {"performanceHints": ["AssumeNeededOnEveryNode"] * 2}, ["spec.performanceHints"]),
    ("NetworkPolicy", {"performanceHints": ["Fast"]}, ["spec.performanceHints[0]"]),
    ("NetworkPolicy", {"namespaceSelector": "all()"}, ["spec.namespaceSelector"]),
    ("NetworkPolicy", {"doNotTrack": True}, ["spec.doNotTrack"]),
    ("NetworkPolicy", {"ingress": [{"action": "Allow"}] * 1024}, []),
    ("NetworkPolicy", {"ingress": [{"action": "Allow"}] * 1025}, ["spec.ingress"]),
    ("NetworkPolicy", {"egress": [{"action": "Allow"}] * 1025}, ["spec.egress"]),
    ("NetworkPolicy", {"egress": [{"action": "Allow", "http": {}}]}, ["spec.egress[0].http"]),
    ("NetworkPolicy", {"egress": [{"action": "Deny", "destination": {"services": {"name": "s"}}}]}, []),
    ("GlobalNetworkPolicy", {"doNotTrack": None, "applyOnForward": None}, []),
    ("GlobalNetworkPolicy", {"applyOnForward": None}, ["spec.applyOnForward"]),
    ("GlobalNetworkPolicy", {"preDNAT": True}, ["spec.preDNAT"]),
    ("GlobalNetworkPolicy", {"preDNAT": True, "doNotTrack": False}, []),
    ("GlobalNetworkPolicy", {"preDNAT": True, "doNotTrack": False, "applyOnForward": False}, ["spec.applyOnForward"]),
    (
        "GlobalNetworkPolicy",
        {"preDNAT": True, "doNotTrack": None, "egress": [{"action": "Allow"}], "types": ["Ingress", "Egress"]},
        ["spec.egress", "spec.types"],
    ),
    ("GlobalNetworkPolicy", {"namespaceSelector": "global()"}, ["spec.namespaceSelector"]),
    (
        "GlobalNetworkPolicy",
        {
            "ingress": [{"action": "Allow", "source": {"services": {"name": "s"}}}],
            "egress": [{"action": "Allow", "destination": {"services": {"name": "s", "namespace": "n"}}}],
        },
        ["spec.ingress[0].source.services.namespace"],
    ),
    ("StagedNetworkPolicy", {"stagedAction": None}, []),
    ("StagedNetworkPolicy", {"stagedAction": "Try"}, ["spec.stagedAction"]),
    ("StagedNetworkPolicy", {"stagedAction": "Delete"}, ["spec.egress", "spec.selector"]),
    ("StagedNetworkPolicy", {"stagedAction": "Delete", "egress": None, "selector": ""}, []),
    ("StagedNetworkPolicy", {"stagedAction": "Delete", "egress": None, "selector": None, "order": 0}, ["spec.order"]),
    ("StagedNetworkPolicy", {"types": ["Egress", "Egress"]}, ["spec.types"]),
    ("StagedGlobalNetworkPolicy", {"applyOnForward": None}, ["spec.applyOnForward"]),
    (
        "StagedGlobalNetworkPolicy",
        {"stagedAction": "Delete", "ingress": None, "namespaceSelector": "all()"},
        ["spec.applyOnForward", "spec.namespaceSelector", "spec.preDNAT", "spec.selector"],
    ),
    ("StagedKubernetesNetworkPolicy", {"podSelector": None, "ingress": None, "egress": None}, []),
    ("StagedKubernetesNetworkPolicy", {"stagedAction": "Learn"}, []),
    (
        "StagedKubernetesNetworkPolicy",
        {"stagedAction": "Delete", "ingress": None, "policyTypes": None},
        ["spec.egress", "spec.podSelector"],
    ),
    (
        "StagedKubernetesNetworkPolicy",
        {"stagedAction": "Delete", "ingress": None, "egress": None, "policyTypes": None, "podSelector": {}},
        [],
    ),
    ("StagedKubernetesNetworkPolicy", {"policyTypes": ["Egress", "Egress"]}, ["spec.policyTypes"]),
    ("StagedKubernetesNetworkPolicy", {"policyTypes": ["ingress"]}, ["spec.policyTypes[0]"]),
    ("StagedKubernetesNetworkPolicy", {"ingress": [{}], "egress": [{"to": [], "ports": [{}]}]}, []),
    ("StagedKubernetesNetworkPolicy", {"ingress": [{"ports": [{"port": 1, "endPort": 1}]}]}, []),
    (
        "StagedKubernetesNetworkPolicy",
        {"ingress": [{"ports": [{"port": 0}, {"port": 65536}, {"port": "80"}, {"port": "Web"}, {"protocol": "ICMP"}]}]},
        [*(f"spec.ingress[0].ports[{index}].port" for index in range(4)), "spec.ingress[0].ports[4].protocol"],
    ),
    (
        "StagedKubernetesNetworkPolicy",
        {"ingress": [{"ports": [{"endPort": 2}, {"port": "http", "endPort": 2}, {"port": 3, "endPort": 2}]}]},
        [f"spec.ingress[0].ports[{index}].endPort" for index in range(3)],
    ),
    ("StagedKubernetesNetworkPolicy", {"egress": [{"to": [{}]}]}, ["spec.egress[0].to[0]"]),
    ("StagedKubernetesNetworkPolicy", {"egress": [{"from": []}]}, ["spec.egress[0].from"]),
    (
        "StagedKubernetesNetworkPolicy",
        {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}, "namespaceSelector": {}}]}]},
        ["spec.egress[0].to[0].namespaceSelector", "spec.egress[0].to[0].podSelector"],
    ),
    (
        "StagedKubernetesNetworkPolicy",
        {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8", "11.0.0.0/9", "::/0"]}}]}]},
        [f"spec.ingress[0].from[0].ipBlock.except[{index}]" for index in range(3)],
    ),
    (
        "StagedKubernetesNetworkPolicy",
        {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.1"}}, {"ipBlock": {}}]}]},
        ["spec.ingress[0].from[0].ipBlock.cidr", "spec.ingress[0].from[1].ipBlock.cidr"],
    ),
    (
        "StagedKubernetesNetworkPolicy",
        {
            "podSelector": {
                "matchLabels": {"a b": "c d"},
                "matchExpressions": [
                    {"key": "a", "operator": "In"},
                    {"key": "a", "operator": "Exists", "values": ["b"]},
                    {"key": "a b", "operator": "DoesNotExist"},
                    {"key": "a", "operator": "NotIn", "values": ["b", "c d"]},
                    {"key": "a", "operator": "Equals"},
                ],
            }
        },
        [
            "spec.podSelector.matchExpressions[0].values",
            "spec.podSelector.matchExpressions[1].values",
            "spec.podSelector.matchExpressions[2].key",
            "spec.podSelector.matchExpressions[3].values",
            "spec.podSelector.matchExpressions[4].operator",
            "spec.podSelector.matchLabels.a b",
            "spec.podSelector.matchLabels.a b",
        ],
    ),
    (
        "StagedKubernetesNetworkPolicy",
        {
            "podSelector": {
                "matchLabels": {"a b": "c"},
                "matchExpressions": [
                    {"key": "a", "operator": "In"},
                    {"key": "a", "operator": "Exists", "values": ["b"]},
                    {"key": "a b", "operator": "DoesNotExist"},
                    {"key": "a", "operator": "NotIn", "values": ["b", "c d"]},
                ],
            }
        },
        [
            "spec.podSelector.matchExpressions[0].values",
            "spec.podSelector.matchExpressions[1].values",
            "spec.podSelector.matchExpressions[2].key",
            "spec.podSelector.matchExpressions[3].values",
            "spec.podSelector.matchLabels.a b",
        ],
    ),
    ("HostEndpoint", {"node": None}, ["spec.node"]),
    ("HostEndpoint", {"node": ""}, ["spec.node"]),
    ("HostEndpoint", {"interfaceName": "*", "expectedIPs": None}, []),
    ("HostEndpoint", {"interfaceName": "eth*"}, ["spec.interfaceName"]),
    ("HostEndpoint", {"interfaceName": "x" * 16}, ["spec.interfaceName"]),
    ("HostEndpoint", {"interfaceName": None}, []),
    ("HostEndpoint", {"interfaceName": "", "expectedIPs": []}, ["spec.interfaceName"]),
    ("HostEndpoint", {"expectedIPs": ["10.0.0.1/32"]}, ["spec.expectedIPs[0]"]),
    ("HostEndpoint", {"profiles": ["A"]}, ["spec.profiles[0]"]),
    ("HostEndpoint", {"ports": [{"name": "dns", "protocol": 17, "port": 65535}]}, []),
    ("HostEndpoint", {"ports": [{"name": "ping", "protocol": "ICMP", "port": 1}]}, ["spec.ports[0].protocol"]),
    (
        "HostEndpoint",
        {"ports": [{"name": "", "protocol": "TCP", "port": 0}, {"name": "a"}]},
        ["spec.ports[0].name", "spec.ports[0].port", "spec.ports[1].port", "spec.ports[1].protocol"],
    ),
    ("NetworkSet", {"nets": None}, []),
    ("NetworkSet", {"nets": ["10.0.0.1", "10.0.0.1/8", "fd00::1"]}, []),
    ("NetworkSet", {"nets": ["office"]}, ["spec.nets[0]"]),
    ("GlobalNetworkSet", {"nets": ["10.0.0.0/33"]}, ["spec.nets[0]"]),
    ("FelixConfiguration", {"interfacePrefix": "cali, tap,ns-"}, []),
    ("FelixConfiguration", {"reportingInterval": "1500ms", "iptablesRefreshInterval": "1h30m"}, []),
    ("FelixConfiguration", {"reportingInterval": "1.5s"}, ["spec.reportingInterval"]),
    ("FelixConfiguration", {"routeRefreshInterval": "100us"}, ["spec.routeRefreshInterval"]),
    ("FelixConfiguration", {"dataplaneWatchdogTimeout": "1.5s", "nftablesRefreshInterval": "0.5h"}, []),
    ("FelixConfiguration", {"floatingIPs": "enabled"}, ["spec.floatingIPs"]),
    ("FelixConfiguration", {"logPrefix": "calico: %t"}, []),
    ("FelixConfiguration", {"logPrefix": "a;b"}, ["spec.logPrefix"]),
    ("FelixConfiguration", {"logActionRateLimit": "100/minute"}, []),
    ("FelixConfiguration", {"logActionRateLimit": "100 a minute"}, ["spec.logActionRateLimit"]),
    ("FelixConfiguration", {"featureDetectOverride": "SNATFullyRandom=true,RestoreSupportsLock="}, []),
    ("FelixConfiguration", {"featureDetectOverride": "SNATFullyRandom=yes"}, ["spec.featureDetectOverride"]),
    ("FelixConfiguration", {"featureGates": "A=enabled,B=x"}, []),
    ("FelixConfiguration", {"featureGates": "A"}, ["spec.featureGates"]),
    ("FelixConfiguration", {"bpfConntrackTimeouts": {"tcpSynSent": "Auto", "udpTimeout": "1m30s"}}, []),
    (
        "FelixConfiguration",
        {"bpfConntrackTimeouts": {"udpTimeout": "ms" * 60 + "!"}},
        ["spec.bpfConntrackTimeouts.udpTimeout"],
    ),
    ("FelixConfiguration", {"bpfLogFilters": {"all": "tcp", "eth/0": ""}}, ["spec.bpfLogFilters.eth/0"]),
    ("FelixConfiguration", {"kubeNodePortRanges": [80, "0:10", 0]}, [f"spec.kubeNodePortRanges[{n}]" for n in (1, 2)]),
    ("FelixConfiguration", {"healthTimeoutOverrides": [{"name": "int_dataplane-1 x", "timeout": "0s"}]}, []),
    (
        "FelixConfiguration",
        {"healthTimeoutOverrides": [{"name": "a/b", "timeout": "1m"}]},
        ["spec.healthTimeoutOverrides[0].name"],
    ),
    ("FelixConfiguration", {"failsafeInboundHostPorts": [{"protocol": "tcp", "port": 22, "net": "::/0"}]}, []),
    ("FelixConfiguration", {"failsafeOutboundHostPorts": [{"port": 0}]}, []),
    (
        "FelixConfiguration",
        {
            "failsafeInboundHostPorts": [{"protocol": "ICMP", "port": 22}],
            "failsafeOutboundHostPorts": [{"protocol": "UDP", "port": 53, "net": "here"}],
        },
        ["spec.failsafeInboundHostPorts[0].protocol", "spec.failsafeOutboundHostPorts[0].net"],
    ),
    ("FelixConfiguration", {"kubeNodePortRanges": ["http"]}, ["spec.kubeNodePortRanges[0]"]),
    (
        "FelixConfiguration",
        {"externalNodesList": ["10.0.0.0/8", "10.0.0.1", "fd00::/8"]},
        ["spec.externalNodesList[2]"],
    ),
    ("FelixConfiguration", {"deviceRouteSourceAddress": "fd00::1"}, ["spec.deviceRouteSourceAddress"]),
    ("FelixConfiguration", {"routeTableRange": {"min": 1, "max": 250}}, []),
    ("FelixConfiguration", {"routeTableRange": {"min": 0, "max": 251}}, ["spec.routeTableRange"]),
    (
        "FelixConfiguration",
        {"routeTableRange": {"min": 1, "max": 2}, "routeTableRanges": [{"min": 1, "max": 70000}, {"min": 2, "max": 1}]},
        ["spec.routeTableRange", "spec.routeTableRanges", "spec.routeTableRanges[1]"],
    ),
    ("FelixConfiguration", {"logDebugFilenameRegex": r"^[[:alpha:]]+\z", "bpfDataIfacePattern": "^eth"}, []),
    ("FelixConfiguration", {"bpfDataIfacePattern": "(eth"}, ["spec.bpfDataIfacePattern"]),
    ("FelixConfiguration", {"wireguardInterfaceName": "", "natOutgoingAddress": ""}, []),
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


def test_what_a_writer_makes_a_label_of_must_be_fit_for_one() -> None:
    body = document("WorkloadEndpoint", orchestrator="o" * 64, workload="w")
    body["metadata"] = {"name": f"node--1-{'o' * 64}-w-eth0", "namespace": "a:b"}
    assert places(body) == ["metadata.namespace", "spec.orchestrator"]


class TestStoredObjects:
    """What only writers refuse is no reason to treat a stored object as absent."""

    LENIENT: ClassVar = [
        ("FelixConfiguration", {"reportingInterval": "1.5s"}),
        ("FelixConfiguration", {"floatingIPs": "enabled"}),
        ("FelixConfiguration", {"logPrefix": "a;b"}),
        ("IPReservation", {"reservedCIDRs": ["10.65.0.1"]}),
        ("BGPFilter", {"importV4": [{"action": "Accept", "source": "RemotePeers"}]}),
    ]

    @pytest.mark.parametrize(("kind", "fields"), LENIENT)
    def test_are_read(self, kind: str, fields: dict[str, Any]) -> None:
        assert places(document(kind, **fields)) != []
        assert isinstance(from_store(key(kind), msgspec.json.encode(document(kind, **fields))), Resource)

    def test_are_quarantined_for_what_readers_refuse_too(self) -> None:
        body = document("BGPPeer", reachableBy="fd00::1")
        assert isinstance(from_store(key("BGPPeer"), msgspec.json.encode(body)), Quarantined)


def test_a_peer_needs_its_filters() -> None:
    peer = from_user(document("BGPPeer", filters=["a", "b"]))
    assert list(KINDS["BGPPeer"].needs(peer)) == [
        Need(ResourceKey("BGPFilter", "", "a"), "spec.filters[0]"),
        Need(ResourceKey("BGPFilter", "", "b"), "spec.filters[1]"),
    ]


@pytest.mark.parametrize(
    "kind", ["NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy"]
)
@pytest.mark.parametrize(("tier", "needed"), [("ops", "ops"), ("", "default"), (None, "default")])
def test_a_policy_needs_its_tier_to_be_created(kind: str, tier: str | None, needed: str) -> None:
    policy = from_user(document(kind, tier=tier))
    need = Need(ResourceKey("Tier", "", needed), "spec.tier", only_to_create=True)
    assert list(KINDS[kind].needs(policy)) == [need]


class TestBuiltInTiers:
    @pytest.mark.parametrize(
        ("name", "order", "action", "wrong"),
        [
            ("default", 1000000, "Deny", []),
            ("default", None, None, []),
            ("default", 1, "Pass", ["spec.defaultAction", "spec.order"]),
            ("kube-admin", 1000, "Pass", []),
            ("kube-admin", None, "Pass", ["spec.order"]),
            ("kube-admin", 1000, None, ["spec.defaultAction"]),
            ("kube-baseline", 10000000, "Pass", []),
            ("kube-baseline", 1e7, "Pass", []),
            ("kube-baseline", 1, "Pass", ["spec.order"]),
        ],
    )
    def test_are_as_they_are(self, name: str, order: float | None, action: str | None, wrong: list[str]) -> None:
        assert places(named("Tier", name, order=order, defaultAction=action)) == wrong

    def test_are_read_also_if_somebody_changed_them(self) -> None:
        body = named("Tier", "default", order=7, defaultAction="Pass")
        assert isinstance(from_store(ResourceKey("Tier", "", "default"), msgspec.json.encode(body)), Resource)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "of_namespaces", "of_all"),
        [
            ("web", True, True),
            ("default.web", True, True),
            ("a-b.c-d", True, True),
            ("a.b.c", False, False),
            ("knp.default.web", True, False),
            ("knp.default.a.b.c", True, False),
            ("ossg.default.b7a1c3de-0f2b", True, False),
            ("knp.other.web", False, False),
            ("knp.default.", False, False),
            ("Web", False, False),
            ("", False, False),
        ],
    )
    def test_policies(self, name: str, of_namespaces: bool, of_all: bool) -> None:
        for kind in ("NetworkPolicy", "StagedNetworkPolicy"):
            assert places(named(kind, name)) == ([] if of_namespaces else ["metadata.name"])
        for kind in ("GlobalNetworkPolicy", "StagedGlobalNetworkPolicy"):
            assert places(named(kind, name)) == ([] if of_all else ["metadata.name"])

    def test_policies_of_kubernetes_on_trial_have_any_name(self) -> None:
        assert places(named("StagedKubernetesNetworkPolicy", "a.b.c")) == []

    @pytest.mark.parametrize(
        ("name", "is_valid"), [("a" * 63, True), ("a" * 64, False), ("a.b", False), ("a-b", True), ("A", False)]
    )
    def test_tiers(self, name: str, is_valid: bool) -> None:
        assert places(named("Tier", name)) == ([] if is_valid else ["metadata.name"])

    @pytest.mark.parametrize("kind", ["NetworkSet", "GlobalNetworkSet"])
    def test_network_sets_are_not_labelled_with_a_namespace(self, kind: str) -> None:
        body = document(kind)
        body["metadata"]["labels"]["projectcalico.org/namespace"] = "default"
        assert places(body) == ["metadata.labels.projectcalico.org/namespace"]

    def test_only_one_cluster_information(self) -> None:
        assert places(named("ClusterInformation", "other")) == ["metadata.name"]

    @pytest.mark.parametrize("kind", ["KubeControllersConfiguration", "IPAMConfiguration"])
    def test_only_default(self, kind: str) -> None:
        assert places(named(kind, "default")) == []
        assert places(named(kind, "other")) == ["metadata.name"]

    def test_the_built_in_profile_cannot_be_stored(self) -> None:
        assert places(named("Profile", "projectcalico-default-allow")) == ["metadata.name"]

    def test_felix_configurations(self) -> None:
        assert places(named("FelixConfiguration", "node.n1")) == []
        assert places(named("FelixConfiguration", "other")) == ["metadata.name"]
        assert places(named("FelixConfiguration", "other", nodeSelector="has(gpu)")) == []

    def test_settings_of_all_nodes_stand_in_the_default_bgp_configuration(self) -> None:
        found = places(named("BGPConfiguration", "node.n1"))
        assert found == ["spec.asNumber", "spec.nodeToNodeMeshEnabled"]
        with pytest.raises(InvalidResource, match="Cannot set ASNumber on a non default BGP Configuration"):
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
