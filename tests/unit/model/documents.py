"""A valid document of every kind, as Calico's own clients store it, and values to spoil them with."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from tortie.model.kinds import KINDS
from tortie.model.resource import ResourceKey

UID = "0b4b7c2e-5d7c-4a49-9a0c-6f3a2f8a5a11"
TIME = "2026-08-22T13:33:20Z"

SPECS: dict[str, tuple[str, dict[str, Any]]] = {
    "IPPool": (
        "pool-a",
        {
            "cidr": "10.65.0.0/16",
            "vxlanMode": "Never",
            "ipipMode": "Never",
            "natOutgoing": True,
            "blockSize": 26,
            "nodeSelector": "rack == 'a'",
            "allowedUses": ["Workload", "Tunnel"],
            "assignmentMode": "Automatic",
        },
    ),
    "BGPConfiguration": (
        "default",
        {
            "logSeverityScreen": "Info",
            "nodeToNodeMeshEnabled": False,
            "asNumber": 64512,
            "listenPort": 1790,
            "communities": [{"name": "blue", "value": "64512:1"}],
            "prefixAdvertisements": [{"cidr": "10.65.0.0/16", "communities": ["blue", "1:2:3"]}],
            "ignoredInterfaces": ["docker*"],
            "localWorkloadPeeringIPV4": "169.254.1.2",
            "serviceLoadBalancerAggregation": "Enabled",
        },
    ),
    "BGPPeer": (
        "tor-rack1",
        {
            "nodeSelector": "rack == 'rack1'",
            "peerIP": "172.18.203.1:1790",
            "asNumber": 64601,
            "keepaliveTime": "1m30s",
            "reachableBy": "172.18.203.2",
            "password": {"secretKeyRef": {"name": "bgp", "key": "tor"}},
            "filters": ["only-pools"],
        },
    ),
    "Node": (
        "node-1",
        {
            "bgp": {
                "asNumber": 64512,
                "ipv4Address": "172.18.203.126/24",
                "ipv6Address": "fd00::126/64",
                "routeReflectorClusterID": "244.0.0.1",
            },
            "addresses": [{"address": "172.18.203.126/24", "type": "CalicoNodeIP"}],
            "interfaces": [{"name": "eth0", "addresses": ["172.18.203.126"]}],
        },
    ),
    "WorkloadEndpoint": (
        "node--1-cni-3f2a9c41d7be-eth0",
        {
            "orchestrator": "cni",
            "node": "node-1",
            "containerID": "3f2a9c41d7be",
            "endpoint": "eth0",
            "ipNetworks": ["10.65.0.24/32", "fd00::24/128"],
            "ipNATs": [{"internalIP": "10.65.0.24", "externalIP": "192.0.2.24"}],
            "profiles": ["web-net"],
            "interfaceName": "cali3f2a9c41d7b",
            "mac": "02:11:22:33:44:55",
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "hostPort": 0, "hostIP": ""}],
        },
    ),
    "Profile": (
        "web-net",
        {
            "ingress": [
                {
                    "action": "Allow",
                    "protocol": "TCP",
                    "source": {"selector": "has(web-net)", "nets": ["10.0.0.1"]},
                    "destination": {"ports": [80, "8000:8080", "http"]},
                },
                {"action": "Deny", "ipVersion": 4, "protocol": 1, "icmp": {"type": 8}},
            ],
            "egress": [{"action": "Allow"}],
            "labelsToApply": {"web-net": ""},
        },
    ),
    "Tier": ("platform", {"order": 200.5, "defaultAction": "Pass"}),
    "NetworkPolicy": (
        "allow-web",
        {
            "tier": "default",
            "order": 100,
            "ingress": [
                {
                    "action": "Allow",
                    "protocol": "TCP",
                    "source": {"selector": "app == 'lb'", "namespaceSelector": "global()", "notNets": ["10.0.0.0/8"]},
                    "destination": {"ports": [80, "8000:8080", "http"]},
                    "http": {"methods": ["GET"], "paths": [{"exact": "/a"}, {"prefix": "/b"}]},
                    "metadata": {"annotations": {"why": "the balancer"}},
                },
                {"action": "Log", "source": {"services": {"name": "s", "namespace": "n"}, "ports": ["dns"]}},
            ],
            "egress": [
                {"action": "Pass", "ipVersion": 6, "notProtocol": 58},
                {"action": "Deny", "protocol": 1, "icmp": {"type": 8, "code": 0}, "notICMP": {"type": 3}},
                {"action": "Deny", "destination": {"serviceAccounts": {"names": ["a"], "selector": "has(x)"}}},
            ],
            "selector": "app == 'web'",
            "types": ["Ingress", "Egress"],
            "serviceAccountSelector": "has(role)",
            "performanceHints": ["AssumeNeededOnEveryNode"],
        },
    ),
    "GlobalNetworkPolicy": (
        "deny-all",
        {
            "tier": "platform",
            "order": 1.5,
            "selector": "all()",
            "namespaceSelector": "has(team)",
            "types": ["Ingress"],
            "ingress": [{"action": "Deny", "source": {"nets": ["192.0.2.1"], "notSelector": "has(ok)"}}],
            "doNotTrack": True,
            "applyOnForward": True,
        },
    ),
    "StagedNetworkPolicy": (
        "try-it",
        {
            "stagedAction": "Set",
            "tier": "default",
            "egress": [{"action": "Deny"}],
            "selector": "app == 'web'",
            "types": ["Egress"],
        },
    ),
    "StagedGlobalNetworkPolicy": (
        "try-global",
        {
            "stagedAction": "Learn",
            "tier": "default",
            "ingress": [{"action": "Allow", "protocol": "UDP", "destination": {"notPorts": [53]}}],
            "selector": "all()",
            "types": ["Ingress"],
            "preDNAT": True,
            "applyOnForward": True,
        },
    ),
    "StagedKubernetesNetworkPolicy": (
        "sk",
        {
            "stagedAction": "Set",
            "podSelector": {
                "matchLabels": {"app": "web"},
                "matchExpressions": [
                    {"key": "tier", "operator": "In", "values": ["a", "b"]},
                    {"key": "old", "operator": "DoesNotExist"},
                ],
            },
            "ingress": [
                {
                    "ports": [{"protocol": "TCP", "port": 80, "endPort": 90}, {"port": "http"}],
                    "from": [
                        {"podSelector": {}, "namespaceSelector": {"matchLabels": {"team": "a"}}},
                        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
                    ],
                }
            ],
            "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "db"}}}]}],
            "policyTypes": ["Ingress", "Egress"],
        },
    ),
    "HostEndpoint": (
        "node-1-eth0",
        {
            "node": "node-1",
            "interfaceName": "eth0",
            "expectedIPs": ["172.18.203.126", "fd00::126"],
            "profiles": ["projectcalico-default-allow"],
            "ports": [{"name": "ssh", "protocol": "TCP", "port": 22}],
        },
    ),
    "NetworkSet": ("partners", {"nets": ["192.0.2.0/24", "2001:db8::/48"]}),
    "GlobalNetworkSet": ("blocklist", {"nets": ["203.0.113.7/32", "203.0.113.8"]}),
    "FelixConfiguration": (
        "default",
        {
            "bpfConnectTimeLoadBalancing": "TCP",
            "bpfHostNetworkedNATWithoutCTLB": "Enabled",
            "endpointReportingEnabled": True,
            "failsafeInboundHostPorts": [],
            "floatingIPs": "Disabled",
            "interfacePrefix": "cali,tap",
            "logSeverityScreen": "Info",
            "nftablesFlowTableOffload": "Disabled",
            "nftablesMode": "Auto",
            "reportingInterval": "0s",
        },
    ),
    "IPReservation": ("router-addrs", {"reservedCIDRs": ["10.65.0.0/30", "10.65.0.21/32"]}),
    "BGPFilter": (
        "only-pools",
        {
            "exportV4": [
                {
                    "cidr": "10.65.0.0/16",
                    "matchOperator": "In",
                    "prefixLength": {"min": 26, "max": 32},
                    "source": "RemotePeers",
                    "action": "Accept",
                    "operations": [
                        {"addCommunity": {"value": "64512:1"}},
                        {"prependASPath": {"prefix": [64512, 64512]}},
                        {"setPriority": {"value": 100}},
                    ],
                },
                {"action": "Reject"},
            ],
            "importV6": [
                {
                    "cidr": "fd00:65::/64",
                    "matchOperator": "NotEqual",
                    "interface": "eth*",
                    "peerType": "iBGP",
                    "communities": {"values": ["1:2:3"]},
                    "asPathPrefix": [64512],
                    "priority": 1024,
                    "action": "Reject",
                }
            ],
        },
    ),
    "KubeControllersConfiguration": (
        "default",
        {
            "logSeverityScreen": "Info",
            "healthChecks": "Enabled",
            "etcdV3CompactionPeriod": "10m0s",
            "prometheusMetricsPort": 9094,
            "controllers": {
                "node": {
                    "reconcilerPeriod": "5m0s",
                    "syncLabels": "Enabled",
                    "leakGracePeriod": "15m0s",
                    "hostEndpoint": {
                        "autoCreate": "Enabled",
                        "createDefaultHostEndpoint": "Disabled",
                        "templates": [
                            {
                                "generateName": "x",
                                "interfaceCIDRs": ["10.0.0.0/8"],
                                "labels": {"a": "b"},
                                "nodeSelector": "has(rack)",
                            }
                        ],
                    },
                },
                "policy": {"reconcilerPeriod": "5m0s"},
                "loadBalancer": {"assignIPs": "RequestedServicesOnly"},
                "policyMigration": {"enabled": "Disabled"},
            },
        },
    ),
    "CalicoNodeStatus": (
        "node-1",
        {"node": "node-1", "classes": ["Agent", "BGP", "Routes"], "updatePeriodSeconds": 10},
    ),
    "IPAMConfiguration": (
        "default",
        {
            "strictAffinity": False,
            "autoAllocateBlocks": True,
            "maxBlocksPerHost": 4,
            "ipCooldownSeconds": 60,
            "kubeVirtVMAddressPersistence": "Enabled",
        },
    ),
    "BlockAffinity": (
        "node-1-10-65-0-0-26",
        {"state": "confirmed", "node": "node-1", "type": "host", "cidr": "10.65.0.0/26", "deleted": "false"},
    ),
    "LiveMigration": (
        "lm-1",
        {
            "source": {
                "workloadEndpoint": {
                    "hostname": "node-1",
                    "orchestratorID": "openstack",
                    "workloadID": "openstack/b7a1c3de",
                    "endpointID": "a429fb36",
                }
            },
            "target": {"selector": "vm == 'web'"},
        },
    ),
    "ClusterInformation": (
        "default",
        {"clusterGUID": "8c1f0d3e5b7a49cfa1e2d3c4b5a69788", "clusterType": "tortie", "datastoreReady": False},
    ),
}


# Whose documents always have a status, if only an empty one.
WITH_STATUS = {"Node", "Tier", "KubeControllersConfiguration", "CalicoNodeStatus"}
# Which are in a tier.
TIERED = {"NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy"}


def key(kind: str) -> ResourceKey:
    return ResourceKey(kind, "default" if KINDS[kind].namespaced else "", SPECS[kind][0])


def document(kind: str, **spec: Any) -> dict[str, Any]:
    """The valid document of a kind; `spec` replaces fields of its spec, None takes one away."""
    name, fields = copy.deepcopy(SPECS[kind])
    fields |= spec
    metadata: dict[str, Any] = {"name": name, "uid": UID, "creationTimestamp": TIME, "labels": {"rack": "rack1"}}
    if KINDS[kind].namespaced:
        metadata["namespace"] = "default"
    if kind == "WorkloadEndpoint":
        metadata["labels"] |= {"projectcalico.org/namespace": "default", "projectcalico.org/orchestrator": "cni"}
    if kind in TIERED:
        metadata["labels"]["projectcalico.org/tier"] = fields["tier"] or "default"
        metadata["annotations"] = {"projectcalico.org/metadata": f'{{"name":"{name}"}}'}
    body = {
        "kind": kind,
        "apiVersion": "projectcalico.org/v3",
        "metadata": metadata,
        "spec": {field: value for field, value in fields.items() if value is not None},
    }
    return body | {"status": {}} if kind in WITH_STATUS else body


json_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["10.0.0.0/8", "fd00::1", "1m30s", "65001", "all()", "global()", "Never", "default", "80"]),
)
json_values = st.recursive(
    json_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with a key or index in it, from the outside in."""
    for part in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, part
        yield from places(value[part])


@st.composite
def spoiled_documents(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A kind, and its valid document with up to three places of it replaced, removed or added to."""
    kind = draw(st.sampled_from(sorted(SPECS)))
    body = document(kind)
    for _ in range(draw(st.integers(1, 3))):
        container, part = draw(st.sampled_from(list(places(body))))
        change = draw(st.sampled_from(["replace", "remove", "add"]))
        if change == "replace":
            container[part] = draw(json_values)
        elif isinstance(container, dict):
            if change == "remove":
                del container[part]
            else:
                container[draw(st.text(min_size=1, max_size=6))] = draw(json_values)
        if not list(places(body)):
            break
    return kind, body
