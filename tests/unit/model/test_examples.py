"""Objects as Calico's own clients store them, byte by byte the same in meaning after a rewrite."""

from __future__ import annotations

import json

import msgspec
import pytest

from tortie.model import KINDS, Resource, from_store, from_user, to_store
from tortie.model.keys import from_path, to_path

RESOURCES = "/calico/resources/v3/projectcalico.org"
METADATA = '"uid":"0b4b7c2e-5d7c-4a49-9a0c-6f3a2f8a5a11","creationTimestamp":"2026-08-22T13:33:20Z"'

# The end of the key, the beginning of metadata, and the rest of the object.
EXAMPLES = {
    "ippools/pool-a": '"spec":{"cidr":"10.65.0.0/16","vxlanMode":"Never","ipipMode":"Never","natOutgoing":true,'
    '"blockSize":26,"nodeSelector":"all()","allowedUses":["Workload","Tunnel"],"assignmentMode":"Automatic"}',
    "ipreservations/router-addrs": '"spec":{"reservedCIDRs":["10.65.0.0/30","10.65.0.21/32"]}',
    "bgpconfigurations/default": '"spec":{"logSeverityScreen":"Info","nodeToNodeMeshEnabled":true,"asNumber":64512,'
    '"serviceLoadBalancerAggregation":"Enabled"}',
    "bgppeers/tor-rack1": '"spec":{"nodeSelector":"rack == \'rack1\'","peerIP":"172.18.203.1","asNumber":64601,'
    '"filters":["only-pools"]}',
    "bgpfilters/only-pools": '"spec":{"exportV4":[{"cidr":"10.65.0.0/16","matchOperator":"In","action":"Accept"},'
    '{"action":"Reject"}]}',
    "nodes/node-1": '"spec":{"bgp":{"asNumber":64512,"ipv4Address":"172.18.203.126/24"},"addresses":[{"address":'
    '"172.18.203.126/24","type":"CalicoNodeIP"}],"interfaces":[{"name":"eth0","addresses":["172.18.203.126"]}]},'
    '"status":{}',
    "workloadendpoints/default/node--1-cni-3f2a9c41d7be-eth0": '"spec":{"orchestrator":"cni","node":"node-1",'
    '"containerID":"3f2a9c41d7be","endpoint":"eth0","ipNetworks":["10.65.0.24/32"],"profiles":["web-net"],'
    '"interfaceName":"cali3f2a9c41d7b","mac":"02:11:22:33:44:55","ports":[{"name":"http","protocol":"TCP","port":80,'
    '"hostPort":0,"hostIP":""}]}',
    "felixconfigurations/default": '"spec":{"bpfConnectTimeLoadBalancing":"TCP","bpfHostNetworkedNATWithoutCTLB":'
    '"Enabled","floatingIPs":"Disabled","logSeverityScreen":"Info","nftablesFlowTableOffload":"Disabled",'
    '"nftablesMode":"Auto","reportingInterval":"0s"}',
    "clusterinformations/default": '"spec":{"clusterGUID":"8c1f0d3e5b7a49cfa1e2d3c4b5a69788","clusterType":"tortie",'
    '"datastoreReady":true}',
    "kubecontrollersconfigurations/default": '"spec":{"healthChecks":"Enabled","prometheusMetricsPort":9094,'
    '"controllers":{}},"status":{}',
    "caliconodestatuses/node-1": '"spec":{"node":"node-1","classes":["Agent","BGP","Routes"],"updatePeriodSeconds":10},'
    '"status":{"lastUpdated":"2026-08-22T13:33:20Z","agent":{"birdV4":{"state":"Ready","version":"v0.3.3",'
    '"routerID":"172.18.203.126","lastBootTime":"2026-08-22 13:00:00","lastReconfigurationTime":"2026-08-22 13:05:00"'
    '},"birdV6":{}},"bgp":{"numberEstablishedV4":1,"numberNotEstablishedV4":0,"numberEstablishedV6":0,'
    '"numberNotEstablishedV6":0,"peersV4":[{"peerIP":"172.18.203.129","type":"NodeMesh","state":"Established",'
    '"since":"13:05:10"}]},"routes":{"routesV4":[{"type":"FIB","destination":"10.65.0.22/32","gateway":'
    '"172.18.203.129","interface":"eth0","learnedFrom":{"sourceType":"NodeMesh","peerIP":"172.18.203.129"}}]}}',
    "ipamconfigurations/default": '"spec":{"strictAffinity":false,"autoAllocateBlocks":true,'
    '"kubeVirtVMAddressPersistence":"Enabled"}',
    "hostendpoints/node-1-eth0": '"spec":{"node":"node-1","interfaceName":"eth0","expectedIPs":["172.18.203.126"],'
    '"profiles":["projectcalico-default-allow"],"ports":[{"name":"ssh","protocol":"TCP","port":22}]}',
    "networkpolicies/default/allow-web": '"spec":{"tier":"default","order":100,"ingress":[{"action":"Allow",'
    '"protocol":"TCP","source":{"selector":"app == \'lb\'"},"destination":{"ports":[80,"8000:8080"]}}],'
    '"selector":"app == \'web\'","types":["Ingress"]}',
    "globalnetworkpolicies/deny-all": '"spec":{"tier":"default","order":2000,"selector":"all()",'
    '"types":["Ingress","Egress"]}',
    "stagednetworkpolicies/default/try-it": '"spec":{"stagedAction":"Set","tier":"default","egress":[{"action":"Deny"}'
    '],"selector":"app == \'web\'","types":["Egress"]}',
    "stagedglobalnetworkpolicies/try-global": '"spec":{"stagedAction":"Set","tier":"default","selector":"all()",'
    '"types":["Ingress"]}',
    "stagedkubernetesnetworkpolicies/default/sk": '"spec":{"stagedAction":"Set","podSelector":{"matchLabels":{"app":'
    '"web"}},"policyTypes":["Ingress"]}',
    "networksets/default/partners": '"spec":{"nets":["192.0.2.0/24","2001:db8::/48"]}',
    "globalnetworksets/blocklist": '"spec":{"nets":["203.0.113.7/32"]}',
    "profiles/web-net": '"spec":{"ingress":[{"action":"Allow","source":{"selector":"has(web-net)"}}],'
    '"egress":[{"action":"Allow"}],"labelsToApply":{"web-net":""}}',
    "tiers/default": '"spec":{"order":1000000,"defaultAction":"Deny"},"status":{}',
    "livemigrations/openstack/lm-1": '"spec":{"source":{"workloadEndpoint":{"hostname":"node-1","orchestratorID":'
    '"openstack","workloadID":"openstack/b7a1c3de-0f2b-4a6c-9d3f-6a5b8c9d0e1f","endpointID":'
    '"a429fb36-0c11-4d22-8e33-44f555666777"}},"target":{"workloadEndpoint":{"hostname":"node-2","orchestratorID":'
    '"openstack","workloadID":"openstack/b7a1c3de-0f2b-4a6c-9d3f-6a5b8c9d0e1f","endpointID":'
    '"a429fb36-0c11-4d22-8e33-44f555666777"}}}',
}
LABELS = {
    "workloadendpoints": '"labels":{"app":"web","projectcalico.org/namespace":"default",'
    '"projectcalico.org/orchestrator":"cni"}',
    **dict.fromkeys(
        ("networkpolicies", "globalnetworkpolicies", "stagednetworkpolicies", "stagedglobalnetworkpolicies"),
        '"labels":{"projectcalico.org/tier":"default"}',
    ),
}
TIERED = [plural for plural in LABELS if plural != "workloadendpoints"]


def stored(path: str) -> tuple[str, bytes]:
    """The key and the value of an example."""
    plural, *namespace, name = path.split("/")
    kind = next(kind.name for kind in KINDS.values() if kind.plural == plural)
    metadata = [f'"name":"{name}"', METADATA]
    metadata += [f'"namespace":"{namespace[0]}"'] if namespace else []
    metadata += [LABELS[plural]] if plural in LABELS else []
    if plural in TIERED:
        metadata.append(f'"annotations":{{"projectcalico.org/metadata":"{{\\"name\\":\\"{name}\\"}}"}}')
    body = (
        f'{{"kind":"{kind}","apiVersion":"projectcalico.org/v3","metadata":{{{",".join(metadata)}}},{EXAMPLES[path]}}}'
    )
    return f"{RESOURCES}/{path}", body.encode()


@pytest.mark.parametrize("path", EXAMPLES)
def test_a_rewrite_changes_nothing(path: str) -> None:
    full, data = stored(path)
    key = from_path(full)
    assert key is not None
    assert to_path(key) == full
    resource = from_store(key, data, 7)
    assert isinstance(resource, Resource), resource
    assert json.loads(to_store(resource)) == json.loads(data)


@pytest.mark.parametrize("path", EXAMPLES)
def test_what_is_stored_may_be_applied(path: str) -> None:
    _, data = stored(path)
    document = msgspec.json.decode(data)
    assert msgspec.json.decode(to_store(from_user(document)))["spec"] == document["spec"]
