"""The store of a lab: a Node per host, the topology's resources, and mistakes in them named by place."""

from __future__ import annotations

from typing import Any

import pytest

from tortie.errors import InvalidResource
from tortie.lab import cluster
from tortie.lab.layout import Layout
from tortie.lab.topology import Topology, parse

TOPOLOGY = """
name: x
subnets:
  - {name: rack, prefixes: [192.0.2.0/24, "2001:db8::/64"]}
hosts:
  - {name: a, addresses: [192.0.2.10, "2001:db8::10"], as: 65001, labels: {rack: "1"}}
  - {name: b, addresses: ["2001:db8::11"], route_reflector: 244.0.0.1}
resources:
  - {apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: p}, spec: {cidr: 10.65.0.0/16}}
"""


def topology(text: str = TOPOLOGY) -> Topology:
    return parse(text, "test")


def test_every_host_is_a_node_with_its_subnet_as_and_cluster_id() -> None:
    documents: list[dict[str, Any]] = [dict(resource.document) for resource in cluster.resources(topology())]
    assert [document["kind"] for document in documents] == ["Node", "Node", "IPPool"]
    assert documents[0]["metadata"]["labels"] == {"rack": "1"}
    assert documents[0]["spec"]["bgp"] == {
        "asNumber": 65001,
        "ipv4Address": "192.0.2.10/24",
        "ipv6Address": "2001:db8::10/64",
    }
    assert documents[1]["spec"]["bgp"] == {"ipv6Address": "2001:db8::11/64", "routeReflectorClusterID": "244.0.0.1"}


def test_a_wrong_resource_is_named_by_its_place() -> None:
    with pytest.raises(InvalidResource) as caught:
        cluster.resources(topology(TOPOLOGY.replace("10.65.0.0/16", "10.65.0.0/33")))
    assert [(problem.path, problem.value) for problem in caught.value.problems] == [
        ("resources[0].spec.cidr", "10.65.0.0/33")
    ]
    assert str(caught.value).startswith("topology x: ")


def test_without_etcd_all_share_a_file_and_with_it_all_ask_its_members() -> None:
    layout = Layout("x")
    assert cluster.datastore(topology(), layout) == f"sqlite://{layout.store}"
    machines = (
        "machines:\n  - {name: s1, addresses: [192.0.2.20], etcd: true}\n"
        "  - {name: other, addresses: [192.0.2.22]}\n  - {name: s2, addresses: ['2001:db8::21'], etcd: true}\n"
    )
    wanted = topology(TOPOLOGY + machines)
    assert cluster.datastore(wanted, layout) == "etcd://192.0.2.20:2379,[2001:db8::21]:2379"
