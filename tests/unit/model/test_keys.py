"""Keys are Calico's, byte for byte; what is not one of ours is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.model import keys
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
