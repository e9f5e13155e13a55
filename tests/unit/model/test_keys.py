"""Keys are Calico's, byte for byte; what is not one of ours is left alone."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.model import keys
from tortie.model.keys import AffinityKey, BlockKey, HandleKey
from tortie.model.resource import ResourceKey

R = "/calico/resources/v3/projectcalico.org"

KEYS = {
    ResourceKey("IPPool", "", "pool-a"): f"{R}/ippools/pool-a",
    ResourceKey("BGPConfiguration", "", "default"): f"{R}/bgpconfigurations/default",
    ResourceKey("BGPPeer", "", "tor"): f"{R}/bgppeers/tor",
    ResourceKey("Node", "", "node-1.example.org"): f"{R}/nodes/node-1.example.org",
    ResourceKey("Profile", "", "web"): f"{R}/profiles/web",
    ResourceKey("FelixConfiguration", "", "node.n1"): f"{R}/felixconfigurations/node.n1",
    ResourceKey("ClusterInformation", "", "default"): f"{R}/clusterinformations/default",
    ResourceKey("BGPFilter", "", "only-pools"): f"{R}/bgpfilters/only-pools",
    ResourceKey("IPReservation", "", "router"): f"{R}/ipreservations/router",
    ResourceKey("KubeControllersConfiguration", "", "default"): f"{R}/kubecontrollersconfigurations/default",
    ResourceKey("CalicoNodeStatus", "", "node-1"): f"{R}/caliconodestatuses/node-1",
    ResourceKey("IPAMConfiguration", "", "default"): f"{R}/ipamconfigurations/default",
    ResourceKey("BlockAffinity", "", "a"): f"{R}/blockaffinities/a",
    ResourceKey("LiveMigration", "openstack", "lm-1"): f"{R}/livemigrations/openstack/lm-1",
    ResourceKey("WorkloadEndpoint", "ns", "n1-tortie-w-eth0"): f"{R}/workloadendpoints/ns/n1-tortie-w-eth0",
}


@pytest.mark.parametrize("key", KEYS)
def test_resource_keys(key: ResourceKey) -> None:
    assert keys.to_path(key) == KEYS[key]
    assert keys.from_path(KEYS[key]) == key


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        R,
        f"{R}/",
        f"{R}/ippools",
        f"{R}/ippools/",
        f"{R}/ippools/a/b",
        f"{R}/ippool/a",
        f"{R}/ipamblocks/a",
        f"{R}/workloadendpoints/a",
        f"{R}/workloadendpoints//a",
        f"{R}/workloadendpoints/ns/",
        f"{R}/workloadendpoints/ns/a/b",
        f"{R[1:]}/ippools/a",
        f"/x{R}/ippools/a",
        "/calico/ipam/v2/config",
        "/tortie/v1/format",
    ],
)
def test_other_keys_name_no_resource(path: str) -> None:
    assert keys.from_path(path) is None


@given(st.text())
def test_no_text_raises(text: str) -> None:
    assert keys.from_path(text) is None
    key = keys.from_path(f"{R}/ippools/{text}")
    assert key is None or keys.to_path(key) == f"{R}/ippools/{text}"


def test_prefixes_end_where_names_begin() -> None:
    assert keys.kind_prefix("IPPool") == f"{R}/ippools/"
    assert keys.kind_prefix("WorkloadEndpoint") == f"{R}/workloadendpoints/"
    assert keys.kind_prefix("WorkloadEndpoint", "ns") == f"{R}/workloadendpoints/ns/"


class TestStatus:
    def test_agent(self) -> None:
        assert keys.agent_status("", "n1") == "/calico/felix/v2/no-region/host/n1/status"
        assert keys.agent_status("eu", "n1") == "/calico/felix/v2/region-eu/host/n1/status"
        assert keys.last_agent_status("", "n1") == "/calico/felix/v2/no-region/host/n1/last_reported_status"

    def test_endpoint_has_its_slash_escaped(self) -> None:
        path = keys.endpoint_status("", "n1", "openstack", "openstack/b7a1", "a429")
        assert path == "/calico/felix/v2/no-region/host/n1/workload/openstack/openstack%2fb7a1/endpoint/a429"
        assert path.startswith(keys.endpoint_status_prefix("", "n1"))

    def test_escaping_is_one_to_one(self) -> None:
        paths = {keys.endpoint_status("", "n", "o", workload, "e") for workload in ("a/b", "a%2fb", "a%252fb")}
        assert len(paths) == 3


IPAM = "/calico/ipam/v2"
V4, V6 = ip_network("10.65.0.0/26"), ip_network("fd00:65::/122")

ALLOCATIONS: dict[str, BlockKey | AffinityKey | HandleKey] = {
    f"{IPAM}/assignment/ipv4/block/10.65.0.0-26": BlockKey(V4),
    f"{IPAM}/assignment/ipv6/block/fd00:65::-122": BlockKey(V6),
    f"{IPAM}/host/node-1/ipv4/block/10.65.0.0-26": AffinityKey("host", "node-1", V4),
    f"{IPAM}/virtual/load-balancer/ipv6/block/fd00:65::-122": AffinityKey("virtual", "load-balancer", V6),
    f"{IPAM}/handle/web-net.3f2a9c41d7be": HandleKey("web-net.3f2a9c41d7be"),
}


@pytest.mark.parametrize("path", ALLOCATIONS)
def test_keys_of_ipam(path: str) -> None:
    key = ALLOCATIONS[path]
    assert key.path == path
    assert keys.allocation_from_path(path) == key


@pytest.mark.parametrize(
    "path",
    [
        f"{IPAM}/config",
        f"{IPAM}/host/node-1",
        f"{IPAM}/host//ipv4/block/10.65.0.0-26",
        f"{IPAM}/guest/node-1/ipv4/block/10.65.0.0-26",
        f"{IPAM}/assignment/ipv6/block/10.65.0.0-26",
        f"{IPAM}/assignment/ipv4/block/10.65.0.1-26",
        f"{IPAM}/assignment/ipv4/block/10.65.0.0/26",
        f"{IPAM}/assignment/ipv4/block/10.65.0.0",
        f"{IPAM}/assignment/ipv6/block/FD00:65::-122",
        f"{IPAM}/assignment/ipv6/block/fd00:65:0::-122",
        f"{IPAM}/handle/",
        f"{IPAM}/handle/a/b",
        "/calico/ipam/v1/handle/a",
        f"{R}/ippools/pool-a",
    ],
)
def test_other_keys_are_none_of_ipams(path: str) -> None:
    assert keys.allocation_from_path(path) is None


def test_all_affinities_of_a_host_begin_alike() -> None:
    assert AffinityKey("host", "node-1", V4).path.startswith(keys.affinities("host", "node-1"))
    assert f"{IPAM}/config" == keys.IPAM_CONFIG
