"""Objects that code makes and changes, and what is added on the way to the store."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.unit.model.documents import TIME, UID, document, key
from tortie.errors import InvalidResource
from tortie.model import Resource, ResourceKey, from_store, new, to_store, with_labels, with_spec
from tortie.model.addresses import Mac
from tortie.model.kinds.bgpconfiguration import BGPConfigurationSpec
from tortie.model.kinds.ippool import IPPoolSpec
from tortie.model.kinds.node import NodeBgp, NodeSpec
from tortie.model.kinds.workloadendpoint import WorkloadEndpointSpec

ENDPOINT = WorkloadEndpointSpec(
    orchestrator="tortie",
    node="node-1",
    workload="web",
    endpoint="eth0",
    ip_networks=(ip_address("10.65.0.24"), ip_address("fd00::24")),
    profiles=("projectcalico-default-allow",),
    interface_name="cali1",
    mac=Mac("02:11:22:33:44:55"),
)


def made(kind: str, name: str, spec: Any, **more: Any) -> Resource[Any]:
    return new(kind, name, spec, uid=UID, creation_timestamp=TIME, **more)


def written(resource: Resource[Any]) -> Any:
    return msgspec.json.decode(to_store(resource))


class TestNew:
    def test_endpoint(self) -> None:
        endpoint = made("WorkloadEndpoint", "", ENDPOINT, namespace="prod", labels={"app": "web"})
        assert endpoint.key == ResourceKey("WorkloadEndpoint", "prod", "node--1-tortie-web-eth0")
        assert written(endpoint) == {
            "kind": "WorkloadEndpoint",
            "apiVersion": "projectcalico.org/v3",
            "metadata": {
                "name": "node--1-tortie-web-eth0",
                "namespace": "prod",
                "uid": UID,
                "creationTimestamp": TIME,
                "labels": {
                    "app": "web",
                    "projectcalico.org/namespace": "prod",
                    "projectcalico.org/orchestrator": "tortie",
                },
            },
            "spec": {
                "orchestrator": "tortie",
                "node": "node-1",
                "workload": "web",
                "endpoint": "eth0",
                "ipNetworks": ["10.65.0.24/32", "fd00::24/128"],
                "profiles": ["projectcalico-default-allow"],
                "interfaceName": "cali1",
                "mac": "02:11:22:33:44:55",
            },
        }

    def test_node_always_has_a_status(self) -> None:
        spec = NodeSpec(bgp=NodeBgp(ipv4_address=ip_interface("172.18.203.126/24")))  # type: ignore[arg-type]  # either family
        assert written(made("Node", "node-1", spec)) == {
            "kind": "Node",
            "apiVersion": "projectcalico.org/v3",
            "metadata": {"name": "node-1", "uid": UID, "creationTimestamp": TIME},
            "spec": {"bgp": {"ipv4Address": "172.18.203.126/24"}},
            "status": {},
        }

    @pytest.mark.parametrize(("cidr", "block_size"), [("10.65.0.0/16", 26), ("fd00:65::/64", 122)])
    def test_pool_has_calicos_defaults(self, cidr: str, block_size: int) -> None:
        pool = made("IPPool", "pool", IPPoolSpec(cidr=ip_network(cidr)))
        assert pool.spec.block_size == block_size
        assert written(pool)["spec"] == {
            "cidr": cidr,
            "vxlanMode": "Never",
            "ipipMode": "Never",
            "blockSize": block_size,
            "nodeSelector": "all()",
            "allowedUses": ["Workload", "Tunnel"],
            "assignmentMode": "Automatic",
        }

    def test_bgp_configuration_has_calicos_defaults_only_in_the_store(self) -> None:
        configuration = made("BGPConfiguration", "default", BGPConfigurationSpec(node_to_node_mesh_enabled=False))
        assert configuration.spec.log_severity_screen == ""
        assert written(configuration)["spec"] == {
            "logSeverityScreen": "Info",
            "nodeToNodeMeshEnabled": False,
            "serviceLoadBalancerAggregation": "Enabled",
        }

    def test_what_is_made_is_what_is_read_back(self) -> None:
        endpoint = made("WorkloadEndpoint", "", ENDPOINT, namespace="prod")
        read = from_store(endpoint.key, to_store(endpoint), 3)
        assert isinstance(read, Resource)
        assert read.spec == endpoint.spec

    def test_all_faults_are_told_at_once(self) -> None:
        spec = replace(ENDPOINT, node="Node-1", interface_name="x" * 16)
        with pytest.raises(InvalidResource) as caught:
            made("WorkloadEndpoint", "", spec, namespace="prod", labels={"a b": "c"})
        assert {problem.path for problem in caught.value.problems} == {
            "metadata.name",
            "metadata.labels.a b",
            "spec.node",
            "spec.interfaceName",
        }

    def test_rules_hold(self) -> None:
        with pytest.raises(InvalidResource, match="expected name node--1-tortie-web-eth0"):
            made("WorkloadEndpoint", "other", ENDPOINT, namespace="prod")


class TestChange:
    def stored(self, kind: str, **spec: Any) -> Resource[Any]:
        resource = from_store(key(kind), msgspec.json.encode(document(kind, **spec)), 7)
        assert isinstance(resource, Resource)
        return resource

    def test_only_the_changed_field_changes(self) -> None:
        node = self.stored("Node")
        changed = with_spec(node, replace(node.spec, bgp=replace(node.spec.bgp, as_number=None)))
        expected = document("Node")
        del expected["spec"]["bgp"]["asNumber"]
        assert written(changed) == expected
        assert changed.document["spec"] == expected["spec"]
        assert changed.revision == 7

    def test_a_status_that_cannot_be_read_does_not_stop_it(self) -> None:
        body = document("Node") | {"status": {"podCIDRs": 1}}
        node = from_store(key("Node"), msgspec.json.encode(body), 7)
        assert isinstance(node, Resource)
        assert written(with_spec(node, replace(node.spec, addresses=())))["status"] == {"podCIDRs": 1}

    def test_labels_are_replaced(self) -> None:
        assert written(with_labels(self.stored("Node"), {"a": "b"}))["metadata"]["labels"] == {"a": "b"}
        assert "labels" not in written(with_labels(self.stored("Node"), {}))["metadata"]

    def test_labels_hold_the_rules(self) -> None:
        with pytest.raises(InvalidResource, match=r"metadata\.labels\.a b"):
            with_labels(self.stored("Node"), {"a b": "c"})

    def test_what_may_not_change(self) -> None:
        pool = self.stored("IPPool")
        with pytest.raises(InvalidResource, match="IPPool CIDR cannot be modified"):
            with_spec(pool, replace(pool.spec, cidr=ip_network("10.66.0.0/16")))

    def test_the_old_value_is_not_touched(self) -> None:
        pool = self.stored("IPPool")
        before = to_store(pool)
        with_spec(pool, replace(pool.spec, disabled=True))
        assert to_store(pool) == before
