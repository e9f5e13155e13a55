"""What a check finds: each fault by the object and field that is to be mended, and nothing in a store that is right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from tortie.datastore import check
from tortie.datastore.api import Datastore, Item, Put
from tortie.datastore.check import objects
from tortie.datastore.check.objects import shown_name
from tortie.model.keys import RESOURCES
from tortie.model.kinds import KINDS
from tortie.model.resource import Metadata, Resource, ResourceKey

NOW = datetime(2026, 8, 22, 14, tzinfo=UTC)
GUID = "8c1f0d3e5b7a49cfa1e2d3c4b5a69788"
Values = dict[str, Any]


def entry(kind: str, name: str, spec: Mapping[str, Any], namespace: str = "", **metadata: Any) -> Values:
    plural = KINDS[kind].plural
    place = f"{namespace}/{name}" if namespace else name
    identity = {"name": name} | ({"namespace": namespace} if namespace else {})
    document = {"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": identity | metadata, "spec": spec}
    return {f"{RESOURCES}{plural}/{place}": document}


def node(name: str, address: str = "", **spec: Any) -> Values:
    bgp = {"bgp": {"ipv4Address": address}} if address else {}
    return entry("Node", name, bgp | spec)


def endpoint(workload: str, address: str, node: str = "a", **spec: Any) -> Values:
    whole = {
        "orchestrator": "tortie",
        "node": node,
        "workload": workload,
        "endpoint": "eth0",
        "ipNetworks": [f"{address}/32"],
        "profiles": ["projectcalico-default-allow"],
        "interfaceName": f"cali{workload}",
    }
    return entry("WorkloadEndpoint", f"{node}-tortie-{workload}-eth0", whole | spec, "default")


def block(cidr: str, affinity: str | None, handles: list[str | None], **more: Any) -> Values:
    """A block whose ordinals stand under these handles; None: free."""
    names = list(dict.fromkeys(handle for handle in handles if handle is not None))
    value: Values = {
        "cidr": cidr,
        "affinity": affinity,
        "allocations": [None if handle is None else names.index(handle) for handle in handles],
        "unallocated": [ordinal for ordinal, handle in enumerate(handles) if handle is None],
        "attributes": [{"handle_id": name} for name in names],
        "sequenceNumber": 1,
        "sequenceNumberForAllocation": {},
        "deleted": False,
    }
    return {f"/calico/ipam/v2/assignment/ipv4/block/{cidr.replace('/', '-')}": value | more}


def affinity(host: str, cidr: str, state: str = "confirmed") -> Values:
    return {f"/calico/ipam/v2/host/{host}/ipv4/block/{cidr.replace('/', '-')}": {"state": state, "deleted": False}}


def handle(name: str, **counts: int) -> Values:
    counted = {cidr.replace("_", "/"): number for cidr, number in counts.items()}
    return {f"/calico/ipam/v2/handle/{name}": {"block": counted, "deleted": False}}


def cluster(**spec: Any) -> Values:
    return entry("ClusterInformation", "default", {"clusterGUID": GUID, "datastoreReady": True} | spec)


C = "10.65.0.0/30"
POOL = entry("IPPool", "p", {"cidr": "10.65.0.0/16", "blockSize": 30})
RIGHT = (
    cluster()
    | node("a", "172.18.203.1/24")
    | POOL
    | endpoint("web", "10.65.0.1")
    | block(C, "host:a", [None, "h", None, None])
    | affinity("a", C)
    | handle("h", **{"10.65.0.0_30": 1})
    | {"/tortie/v1/format": {"format": 1}}
    | {
        "/calico/felix/v2/no-region/host/a/last_reported_status": {},
        "/calico/ipam/v2/config": {"auto_allocate_blocks": True},
    }
)


async def examined(store: Datastore, values: Values) -> list[check.Finding]:
    encoded = {key: value if isinstance(value, bytes) else json.dumps(value).encode() for key, value in values.items()}
    await store.txn([], [Put(key, value) for key, value in encoded.items()])
    found = await check.examine(store, NOW)
    # Whether the built-in tiers are stored is told apart.
    return [finding for finding in found if not finding.subject.startswith("Tier(")]


async def test_a_store_that_is_right(store: Datastore) -> None:
    assert await examined(store, RIGHT) == []


async def test_built_in_tiers_exist_also_where_they_are_not_stored(store: Datastore) -> None:
    await examined(store, RIGHT | entry("NetworkPolicy", "q", {"tier": "kube-admin"}, "ns"))
    found = await check.examine(store, NOW)
    assert [(finding.is_problem, finding.subject) for finding in found] == [
        (False, "Tier(default)"),
        (False, "Tier(kube-admin)"),
        (False, "Tier(kube-baseline)"),
    ]


async def test_an_empty_store_was_never_begun(store: Datastore) -> None:
    [finding] = await examined(store, {})
    assert (finding.is_problem, finding.subject) == (True, "ClusterInformation(default)")


# What is added to a store that is right (None: taken away), and what is then found.
PROBLEMS: dict[str, tuple[Values, str, str, str]] = {
    "a broken object": (
        entry("IPPool", "q", {"cidr": "10.65.0.0.0/16"}),
        "IPPool(q)",
        "spec.cidr",
        "got 10.65.0.0.0/16",
    ),
    "a name that is not the key's": (
        {f"{RESOURCES}nodes/b": entry("Node", "c", {})[f"{RESOURCES}nodes/c"]},
        "Node(b)",
        "metadata.name",
        "as the key says",
    ),
    "an endpoint of no node": (
        endpoint("db", "10.66.0.1", node="gone"),
        "WorkloadEndpoint(default/gone-tortie-db-eth0)",
        "spec.node",
        "names Node(gone), which does not exist",
    ),
    "an endpoint of no profile": (
        endpoint("db", "10.66.0.1", profiles=["projectcalico-default-allow", "gone"]),
        "WorkloadEndpoint(default/a-tortie-db-eth0)",
        "spec.profiles[1]",
        "names Profile(gone), which does not exist: without it the endpoint is cut off",
    ),
    "a peer of no node": (
        entry("BGPPeer", "q", {"node": "gone", "peerIP": "192.0.2.1", "asNumber": 64512}),
        "BGPPeer(q)",
        "spec.node",
        "names Node(gone)",
    ),
    "a peer of no filter": (
        entry("BGPPeer", "q", {"peerIP": "192.0.2.1", "asNumber": 64512, "filters": ["gone"]}),
        "BGPPeer(q)",
        "spec.filters[0]",
        "names BGPFilter(gone), which does not exist: without it there is no session",
    ),
    "a configuration of no node": (
        entry("FelixConfiguration", "node.gone", {}),
        "FelixConfiguration(node.gone)",
        "metadata.name",
        "names Node(gone)",
    ),
    "a policy of no tier": (
        entry("NetworkPolicy", "q", {"tier": "gone"}, "ns"),
        "NetworkPolicy(ns/q)",
        "spec.tier",
        "names Tier(gone), which does not exist: policies of a tier without an object come last, and end in Deny",
    ),
    "a policy by its old name": (
        entry("GlobalNetworkPolicy", "default.q", {"tier": "default"}),
        "GlobalNetworkPolicy(default.q)",
        "metadata.name",
        "calicoctl shows it as q, and does not find it by that name: a name of before v3.32",
    ),
    "a host endpoint of no node": (
        entry("HostEndpoint", "q", {"node": "gone", "interfaceName": "eth0"}),
        "HostEndpoint(q)",
        "spec.node",
        "names Node(gone)",
    ),
    "two endpoints with one address": (
        endpoint("x", "10.66.0.1") | endpoint("y", "10.66.0.1"),
        "WorkloadEndpoint(default/a-tortie-y-eth0)",
        "spec.ipNetworks[0]",
        "10.66.0.1 is also an address of WorkloadEndpoint(default/a-tortie-x-eth0)",
    ),
    "two nodes with one address": (
        node("b", "172.18.203.1/24"),
        "Node(b)",
        "spec.bgp.ipv4Address",
        "172.18.203.1 is also an address of Node(a)",
    ),
    "a pool within another": (
        entry("IPPool", "q", {"cidr": "10.65.4.0/24", "blockSize": 30}),
        "IPPool(q)",
        "spec.cidr",
        "10.65.4.0/24 overlaps with 10.65.0.0/16 of IPPool(p)",
    ),
    "no GUID": (cluster(clusterGUID=""), "ClusterInformation(default)", "spec.clusterGUID", "half of a beginning"),
    "not ready": (cluster(datastoreReady=None), "ClusterInformation(default)", "spec.datastoreReady", "not ready"),
    "an interrupted export": ({"/tortie/v1/moving": {}}, "/tortie/v1/moving", "", "tortie datastore unlock"),
    "an interrupted import": ({"/tortie/v1/filling": {}}, "/tortie/v1/filling", "", "do the same again"),
    "a block that cannot be read": (
        {"/calico/ipam/v2/assignment/ipv4/block/10.65.0.8-30": b"{"},
        "/calico/ipam/v2/assignment/ipv4/block/10.65.0.8-30",
        "",
        "is not JSON",
    ),
    "a block under another's key": (
        {
            "/calico/ipam/v2/assignment/ipv4/block/10.65.0.8-30": block(
                "10.65.0.12/30", "host:a", [None] * 4
            ).popitem()[1]
        }
        | affinity("a", "10.65.0.12/30", "pending")
        | affinity("a", "10.65.0.8/30"),
        "/calico/ipam/v2/assignment/ipv4/block/10.65.0.8-30",
        "cidr",
        "is 10.65.0.12/30, and the key says 10.65.0.8/30",
    ),
    "a block without an affinity's word": (
        block("10.65.0.8/30", "host:a", [None] * 4),
        "/calico/ipam/v2/assignment/ipv4/block/10.65.0.8-30",
        "affinity",
        "host:a has it, and no affinity of that name says so",
    ),
    "an affinity without a block": (
        affinity("a", "10.65.0.8/30"),
        "/calico/ipam/v2/host/a/ipv4/block/10.65.0.8-30",
        "",
        "there is no block 10.65.0.8/30",
    ),
    "an affinity to another's block": (
        node("b") | affinity("b", C),
        "/calico/ipam/v2/host/b/ipv4/block/10.65.0.0-30",
        "",
        "the block 10.65.0.0/30 is of host:a",
    ),
    "an affinity of no node": (
        affinity("gone", "10.65.0.8/30") | block("10.65.0.8/30", "host:gone", [None] * 4),
        "/calico/ipam/v2/host/gone/ipv4/block/10.65.0.8-30",
        "",
        "is of Node(gone), which does not exist",
    ),
    "an empty block of nobody": (
        block("10.65.0.8/30", None, [None] * 4),
        "/calico/ipam/v2/assignment/ipv4/block/10.65.0.8-30",
        "",
        "is empty and nobody's",
    ),
    "a block outside of the pools": (
        block("10.99.0.0/30", "host:a", [None] * 4) | affinity("a", "10.99.0.0/30"),
        "/calico/ipam/v2/assignment/ipv4/block/10.99.0.0-30",
        "cidr",
        "lies in no pool",
    ),
    "a block of another size": (
        block("10.65.0.8/29", "host:a", [None] * 8) | affinity("a", "10.65.0.8/29"),
        "/calico/ipam/v2/assignment/ipv4/block/10.65.0.8-29",
        "cidr",
        "IPPool(p) has blocks of /30",
    ),
    "a handle with too few": (handle("h"), "/calico/ipam/v2/handle/h", "block.10.65.0.0/30", "counts 0 addresses of 1"),
    "a handle with nothing": (handle("i", **{"10.65.0.0_30": 1}), "/calico/ipam/v2/handle/i", "", "has no address"),
    "an address without a handle": (
        endpoint("x", "10.65.0.2") | block(C, "host:a", [None, "h", "gone", None]),
        "/calico/ipam/v2/assignment/ipv4/block/10.65.0.0-30",
        "allocations",
        "10.65.0.2 stands under handle gone, which does not exist",
    ),
    "an address that nobody has": (
        block(C, "host:a", [None, "h", "h", None]) | handle("h", **{"10.65.0.0_30": 2}),
        "/calico/ipam/v2/assignment/ipv4/block/10.65.0.0-30",
        "allocations",
        "10.65.0.2 is given out under handle h, and nobody has it",
    ),
    "an address that nobody gave": (
        endpoint("x", "10.65.0.3"),
        "WorkloadEndpoint(default/a-tortie-x-eth0)",
        "spec.ipNetworks[0]",
        "10.65.0.3 is free by its block, so that it may be given to another too",
    ),
    "an address released tomorrow": (
        block(
            C,
            "host:a",
            [None, "h", "x", None],
            attributes=[{"handle_id": "h"}, {"releasedAt": "2026-08-23T13:40:00Z"}],
        ),
        "/calico/ipam/v2/assignment/ipv4/block/10.65.0.0-30",
        "attributes[1].releasedAt",
        "must not be in the future",
    ),
    "two configurations of IPAM": (
        entry("IPAMConfiguration", "default", {"strictAffinity": True, "autoAllocateBlocks": True}),
        "IPAMConfiguration(default)",
        "spec.strictAffinity",
        "is true, and /calico/ipam/v2/config, which counts, false",
    ),
}


@pytest.mark.parametrize("case", PROBLEMS)
async def test_a_problem_is_found_where_it_is_to_be_mended(sqlite_backend: Any, case: str) -> None:
    values, subject, path, words = PROBLEMS[case]
    found = [finding for finding in await examined(sqlite_backend.connect(), RIGHT | values) if finding.is_problem]
    assert [(finding.subject, finding.path) for finding in found] == [(subject, path)], found
    assert words in found[0].reason


@pytest.mark.parametrize(
    ("values", "subject", "words"),
    [
        ({f"{RESOURCES}futurekinds/a": {}}, f"{RESOURCES}futurekinds/a", "is not understood"),
        ({f"{RESOURCES}nodes/x/y": {}}, f"{RESOURCES}nodes/x/y", "is not understood"),
        (cluster(datastoreReady=False), "ClusterInformation(default)", "the cluster is locked"),
        (
            affinity("a", "10.65.0.8/30", "pending"),
            "/calico/ipam/v2/host/a/ipv4/block/10.65.0.8-30",
            "is pending",
        ),
        (handle("h", **{"10.65.0.0_30": 3}), "/calico/ipam/v2/handle/h", "counts 3 addresses, there are 1"),
        ({"/calico/ipam/v2/config": {"strict_affinity": False}}, "/calico/ipam/v2/config", "take no new blocks"),
    ],
)
async def test_what_is_worth_knowing_is_no_problem(store: Datastore, values: Values, subject: str, words: str) -> None:
    [finding] = await examined(store, RIGHT | values)
    assert (finding.is_problem, finding.subject) == (False, subject)
    assert words in finding.reason


def test_addresses_of_tunnels_and_cooling_ones_are_in_use() -> None:
    facts = check.Facts()
    values = RIGHT | node("a", "172.18.203.1/24", ipv4VXLANTunnelAddr="10.65.0.2")
    values |= block(
        C,
        "host:a",
        [None, "h", "t", "x"],
        attributes=[{"handle_id": "h"}, {"handle_id": "t"}, {"releasedAt": "2026-08-22T13:40:00Z"}],
    )
    values |= handle("t", **{"10.65.0.0_30": 1})
    for key, value in values.items():
        facts.take(Item(key, json.dumps(value).encode(), 1, 1))
    assert [finding for finding in check.check(facts, NOW) if finding.is_problem] == []


@pytest.mark.parametrize(
    ("annotation", "tier", "name", "shown"),
    [
        (None, "default", "default.x", "x"),
        (None, None, "default.x", "x"),
        (None, "default", "x", "x"),
        (None, "other", "default.x", "default.x"),
        ('{"name":"x"}', "default", "default.x", "x"),
        ('{"name":"default.x"}', "default", "default.x", "default.x"),
        ('{"name":"y"}', "other", "x", "y"),
        ("nonsense", "default", "x", "x"),
    ],
)
def test_the_name_by_which_calicoctl_shows_a_policy(
    annotation: str | None, tier: str | None, name: str, shown: str
) -> None:
    metadata = {"name": name, "annotations": {"projectcalico.org/metadata": annotation} if annotation else {}}
    assert shown_name({"metadata": metadata, "spec": {"tier": tier} if tier else {}}) == shown


def test_a_policy_that_calicoctl_shows_by_a_name_that_it_does_not_find() -> None:
    facts = check.Facts()
    for name, annotation in (("default.x", ""), ("y", '{"name":"z"}'), ("right", '{"name":"right"}')):
        metadata = {"name": name, "annotations": {"projectcalico.org/metadata": annotation} if annotation else {}}
        key = ResourceKey("NetworkPolicy", "ns", name)
        document = {"metadata": metadata, "spec": {"tier": "default"}}
        facts.resources[key] = Resource(key=key, metadata=Metadata(name=name), spec=None, source=document)
    found = [(finding.subject, finding.path, finding.reason) for finding in objects.check(facts)]
    sentence = "calicoctl shows it as {}, and does not find it by that name"
    assert found == [
        (
            "NetworkPolicy(ns/default.x)",
            "metadata.name",
            f"{sentence.format('x')}: a name of before v3.32: tortie datastore migrate-policy-names",
        ),
        ("NetworkPolicy(ns/y)", "metadata.annotations.projectcalico.org/metadata", sentence.format("z")),
    ]
