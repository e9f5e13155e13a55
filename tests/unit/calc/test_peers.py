"""Labels as selectors see them, and what endpoints and network sets bring into sets."""

from __future__ import annotations

from typing import Any

import pytest

from tortie.calc.peers import PeerCalculator
from tortie.calc.policies import PolicyCalculator
from tortie.calc.rules import NamedPorts
from tortie.calc.sets import SetCalculator, Wanted
from tortie.intent.policy import AddressSet, Member, NamedPort
from tortie.model.decode import from_user
from tortie.model.resource import Resource, ResourceKey
from tortie.model.selector import parse


def resource(kind: str, name: str, spec: dict[str, Any], namespace: str = "", **labels: str) -> Resource[Any]:
    metadata: dict[str, Any] = {"name": name, "labels": labels}
    if namespace:
        metadata["namespace"] = namespace
    return from_user({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec})


def workload(workload: str, *addresses: str, labels: dict[str, str] | None = None, **spec: Any) -> Resource[Any]:
    fields = {
        "orchestrator": "tortie",
        "node": "node-1",
        "workload": workload,
        "endpoint": "eth0",
        "interfaceName": f"cali{workload}",
        "ipNetworks": list(addresses),
        **spec,
    }
    name = f"{fields['node'].replace('-', '--')}-tortie-{workload}-eth0"
    return resource("WorkloadEndpoint", name, fields, "ns", **(labels or {}))


class Cluster:
    def __init__(self) -> None:
        self.sets = SetCalculator()
        self.policies = PolicyCalculator(self.sets)
        self.peers = PeerCalculator("node-1", self.sets, self.policies)

    def put(self, *resources: Resource[Any]) -> None:
        for each in resources:
            if each.key.kind == "Profile":
                self.peers.update_profile(each.key, each)
            else:
                self.peers.update(each.key, each)

    def members(self, wanted: Wanted | str) -> set[str]:
        wish = parse(wanted) if isinstance(wanted, str) else wanted
        self.sets.want("test", [wish])
        (new,) = self.sets.flush().new
        self.sets.release("test", [wish])
        self.sets.flush()
        found: set[Member] = {*new.addresses, *new.networks} if isinstance(new, AddressSet) else set(new.members)
        return {f"{each.address}:{each.port}" if isinstance(each, NamedPort) else str(each) for each in found}

    def local(self) -> set[ResourceKey]:
        return set(self.policies.flush().endpoints)


def profile(name: str, **labels: str) -> Resource[Any]:
    return resource("Profile", name, {"labelsToApply": {key.replace("_", "."): value for key, value in labels.items()}})


class TestLabels:
    def test_own_ones_win_and_then_the_first_profile(self) -> None:
        cluster = Cluster()
        cluster.put(profile("p", a="p", b="p", c="p"), profile("q", b="q", c="q", d="q"))
        cluster.put(workload("w", "10.65.0.1", labels={"a": "own"}, profiles=["p", "q"]))
        assert cluster.members("a == 'own' && b == 'p' && c == 'p' && d == 'q'") == {"10.65.0.1"}

    def test_of_a_profile_that_changes_reach_those_who_list_it_and_nobody_else(self) -> None:
        cluster = Cluster()
        cluster.put(workload("w", "10.65.0.1", profiles=["p"]), workload("x", "10.65.0.2"), profile("p", a="1"))
        assert cluster.members("has(a)") == {"10.65.0.1"}
        cluster.put(profile("p", b="1"))
        assert (cluster.members("has(a)"), cluster.members("has(b)")) == (set(), {"10.65.0.1"})
        cluster.peers.update_profile(ResourceKey("Profile", "", "p"), None)
        assert cluster.members("has(b)") == set()
        cluster.put(workload("w", "10.65.0.1"), profile("p", a="1"))
        assert cluster.members("has(a)") == set()

    def test_of_namespaces_and_service_accounts_come_from_profiles_alone(self) -> None:
        cluster = Cluster()
        cluster.put(profile("kns.ns", pcns_env="prod"))
        mine = {"pcns.env": "mine", "pcsa.team": "mine"}
        cluster.put(workload("w", "10.65.0.1", labels=mine), workload("x", "10.65.0.2", profiles=["kns.ns"]))
        assert cluster.members("has(pcns.env) || has(pcsa.team)") == {"10.65.0.2"}

    def test_name_the_namespace_and_the_service_account(self) -> None:
        cluster = Cluster()
        cluster.put(workload("w", "10.65.0.1", serviceAccountName="web"))
        assert cluster.members("projectcalico.org/serviceaccount == 'web'") == {"10.65.0.1"}
        assert cluster.members("projectcalico.org/namespace == 'ns'") == {"10.65.0.1"}


class TestMembers:
    def test_of_endpoints_and_network_sets(self) -> None:
        cluster = Cluster()
        cluster.put(
            workload("w", "10.65.0.1", "fd00:65::1", labels={"a": "x"}),
            resource("HostEndpoint", "h", {"node": "node-2", "expectedIPs": ["172.18.203.126"]}, a="x"),
            resource("GlobalNetworkSet", "g", {"nets": ["192.0.2.0/24", "192.0.2.7", "2001:db8::/32"]}, a="x"),
            resource("NetworkSet", "n", {"nets": ["198.51.100.0/24"]}, "ns", a="x"),
        )
        everybody = {"10.65.0.1", "fd00:65::1", "172.18.203.126", "192.0.2.0/24", "192.0.2.7", "2001:db8::/32"}
        assert cluster.members("a == 'x'") == everybody | {"198.51.100.0/24"}
        assert cluster.members("a == 'x' && projectcalico.org/namespace == 'ns'") == {
            "10.65.0.1",
            "fd00:65::1",
            "198.51.100.0/24",
        }
        cluster.peers.update(ResourceKey("GlobalNetworkSet", "", "g"), None)
        assert "192.0.2.7" not in cluster.members("a == 'x'")

    @pytest.mark.parametrize(("name", "protocol", "expected"), [("http", 6, {"10.65.0.1:80"}), ("http", 17, set())])
    def test_of_named_ports(self, name: str, protocol: int, expected: set[str]) -> None:
        cluster = Cluster()
        ports = [{"name": "http", "protocol": "TCP", "port": 80}]
        cluster.put(workload("w", "10.65.0.1", ports=ports), workload("x", "10.65.0.2"))
        assert cluster.members(NamedPorts(parse("all()"), name, protocol)) == expected


def test_policies_see_the_endpoints_of_this_node_only() -> None:
    cluster = Cluster()
    here = [workload("w", "10.65.0.1"), resource("HostEndpoint", "h", {"node": "node-1", "interfaceName": "eth0"})]
    there = [
        workload("x", "10.65.0.2", node="node-2"),
        resource("HostEndpoint", "i", {"node": "n", "interfaceName": "*"}),
    ]
    cluster.put(*here, *there, resource("GlobalNetworkSet", "g", {"nets": []}))
    assert cluster.local() == {each.key for each in here}
