"""All of policy for a node: what comes out depends on what is there, whatever the way to it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.calc.cluster import node, pool, resource
from tests.unit.explain.scene import OPEN, endpoint, policy
from tortie.calc.endpoints import EndpointCalculator
from tortie.calc.firewall import Firewall, NeededPorts
from tortie.calc.policies import Chains, named
from tortie.intent.packet import TCP
from tortie.intent.policy import (
    SET_ABOVE_LIMIT,
    Action,
    BothWays,
    Chain,
    FailsafePort,
    Policy,
    PolicySettings,
)
from tortie.intent.state import PolicyState
from tortie.model.kinds.felixconfiguration import FelixConfigurationSpec, effective
from tortie.model.resource import Quarantined, Resource, ResourceKey
from tortie.model.schema import convert

Stored = Resource[Any] | Quarantined


def broken(name: str, **spec: Any) -> Quarantined:
    return Quarantined(
        key=ResourceKey("GlobalNetworkPolicy", "", f"default.{name}"), problems=(), document={"spec": spec}
    )


def rule(action: str, **source: Any) -> dict[str, Any]:
    return {"action": action, "source": source}


def felix_object(**fields: Any) -> Resource[Any]:
    return resource("FelixConfiguration", "default", fields)


# Of each object some versions; None is added by the test.
VERSIONS: Sequence[Sequence[Stored]] = (
    (
        endpoint("web", "a", "10.65.0.1", "fd00:65::1"),
        endpoint("web", "a", "10.65.0.9", labels={"app": "db"}),
        endpoint("web", "b", "10.65.0.1", profiles=["open", "labels"]),
    ),
    (
        endpoint("db", "a", "10.65.0.2", ports=[{"name": "pg", "protocol": "TCP", "port": 5432}]),
        endpoint("db", "b", "10.65.0.1"),
        endpoint("db", "a", "10.65.0.2", profiles=["nowhere"], labels={"tier": "back"}),
    ),
    (
        endpoint("far", "c", "10.65.0.3", labels={"app": "web"}),
        endpoint("far", "c", "10.65.0.3", "10.65.0.1", labels={"app": "web"}),
    ),
    (
        policy("db", order=1, selector="app == 'db'", ingress=[rule("Allow", selector="app == 'web'")]),
        policy("db", order=3, selector="all()", types=["Ingress", "Egress"], ingress=[rule("Pass"), rule("Deny")]),
        broken("db", selector="app == 'db'", types=["Ingress"]),
        broken("db", selector="app =="),
    ),
    (
        policy("all", order=2, selector="all()", types=["Egress"], egress=[rule("Log"), rule("Allow")]),
        resource(
            "GlobalNetworkPolicy", "first.all", {"tier": "first", "selector": "has(tier)", "ingress": [rule("Deny")]}
        ),
        policy("all", order=2, selector="inherited == 'yes'", ingress=[rule("Allow", selector="role == 'office'")]),
    ),
    (resource("Tier", "first", {"order": 1}), resource("Tier", "first", {"order": 9, "defaultAction": "Pass"})),
    (
        resource("Profile", "open", {"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]}),
        resource("Profile", "open", {"labelsToApply": {"inherited": "yes"}}),
    ),
    (
        resource("GlobalNetworkSet", "office", {"nets": ["203.0.113.0/24", "10.65.0.1/32"]}, {"role": "office"}),
        resource("GlobalNetworkSet", "office", {"nets": ["203.0.113.0/25"]}, {"app": "web"}),
    ),
    (
        resource("HostEndpoint", "eth0", {"node": "a", "interfaceName": "eth0"}, {"tier": "host"}),
        resource("HostEndpoint", "eth0", {"node": "b", "interfaceName": "*", "expectedIPs": ["10.65.0.1"]}),
    ),
    (pool("pool", "10.65.0.0/16", natOutgoing=True), pool("pool", "10.65.0.0/16")),
    (node("a", "172.18.203.125/24"), node("a")),
    (felix_object(maxIpsetSize=1), felix_object(maxIpsetSize=2)),
)
KEYS = [[each.key for each in versions] for versions in VERSIONS]


class Host:
    """The calculation of node a, and all that it said."""

    def __init__(self) -> None:
        self.firewall = Firewall("a")
        self.firewall.configure(effective())
        self.endpoints = EndpointCalculator("a")
        self.state = PolicyState()

    def put(self, key: ResourceKey, value: Stored | None) -> None:
        self.firewall.update(key, value)
        if key.kind == "FelixConfiguration":
            self.firewall.configure(effective(value.spec) if isinstance(value, Resource) else effective())
        if key.kind == "WorkloadEndpoint":
            self.endpoints.update(key, value if isinstance(value, Resource) else None)

    def flush(self, members: int | None = None) -> None:
        for key, local in self.endpoints.flush().items():
            self.firewall.update_local(key, local)
        changes = self.firewall.flush(members)
        for set_id in changes.gone_sets:
            assert set_id in {**self.state.sets, **self.state.port_sets}
        for policies in (changes.policies, changes.workloads, changes.host_endpoints):
            for key, value in policies.items():
                known: Any = {**self.state.policies, **self.state.workloads, **self.state.host_endpoints}
                assert known.get(key) != value, f"{key} is no news"
        self.state.take(changes)
        state = self.state
        assert {name for each in state.policies.values() for name in each.sets()} <= {*state.sets, *state.port_sets}
        for workload in state.workloads.values():
            assert named(Chains(normal=workload.policy)) <= state.policies.keys()


def directly(objects: Iterable[Stored]) -> PolicyState:
    host = Host()
    for each in objects:
        host.put(each.key, each)
    host.flush()
    return host.state


CHOICES = st.tuples(*(st.integers(0, len(versions)) for versions in VERSIONS))


@settings(max_examples=150)
@given(st.lists(st.tuples(CHOICES, st.booleans()), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_the_way_does_not_matter(steps: list[tuple[tuple[int, ...], bool]], random: Any) -> None:
    """Named states one after the other, their objects in any order, in between flushes, also by steps, or none."""
    host = Host()
    there: dict[ResourceKey, Stored] = {}
    for choice, flushes in steps:
        wanted = {
            versions[number].key: versions[number]
            for versions, number in zip(VERSIONS, choice, strict=True)
            if number < len(versions)
        }
        updates = [*((key, None) for key in there.keys() - wanted.keys()), *wanted.items()]
        random.shuffle(updates)
        for key, value in updates:
            host.put(key, value)
            if flushes and random.random() < 0.3:
                host.flush(random.choice((None, 0, 1, 2)))
        there = wanted
    host.flush()
    # What a broken policy was before it broke is remembered, so such a state is reached in no other way.
    if not any(isinstance(each, Quarantined) for each in there.values()):
        assert host.state == directly(there.values())
    host.flush()


def test_a_broken_policy_goes_on_as_it_was() -> None:
    host = Host()
    web, db = VERSIONS[0][0], VERSIONS[1][0]
    for each in (web, db, VERSIONS[3][0]):
        host.put(each.key, each)
    host.flush()
    before = replace(host.state, policies=dict(host.state.policies))
    host.put(broken("db").key, broken("db", selector="app == 'db'", types=["Ingress"]))
    host.flush()
    assert host.state == before


WEBS = [endpoint(f"web{each}", "c", f"10.65.1.{each}", f"fd00:65::1:{each}", labels={"app": "web"}) for each in (1, 2)]
FROM_WEBS = policy("db", selector="app == 'db'", types=["Ingress"], ingress=[rule("Allow", selector="app == 'web'")])


def normal(state: PolicyState, name: str) -> str:
    """Whose rules decide for the endpoint of this node, both ways."""
    (found,) = (each.policy for key, each in state.workloads.items() if f"-{name}-" in key.name)
    named = {*found.ingress.policies_and_profiles(), *found.egress.policies_and_profiles()}
    return " ".join(sorted(key.name for key in named))


def test_a_set_above_the_limit_closes_who_uses_it_and_nobody_else() -> None:
    host = Host()
    for each in (endpoint("db", "a", "10.65.0.2"), endpoint("probe", "a", "10.65.0.3"), OPEN, FROM_WEBS, *WEBS):
        host.put(each.key, each)
    host.flush()
    assert host.state.oversize == {}
    assert normal(host.state, "db") == "default.db open"
    host.put(felix_object().key, felix_object(maxIpsetSize=1))
    host.flush()
    assert normal(host.state, "db") == "default.db"
    assert normal(host.state, "probe") == "open"
    denial = host.state.policies[FROM_WEBS.key]
    assert [(each.action, each.origin.number) for each in (*denial.ingress, *denial.egress)] == [
        (Action.DENY, SET_ABOVE_LIMIT)
    ] * 2
    assert host.state.sets == {}
    (said,) = host.state.oversize.values()
    assert str(said) == 'the set of app == "web" has 2 IPv6 members, and maxIpsetSize is 1'
    # It grows while it is closed, and nothing of it comes out.
    third = endpoint("web3", "c", "10.65.1.3", labels={"app": "web"})
    host.put(third.key, third)
    host.flush()
    assert [(each.family, each.size) for each in host.state.oversize.values()] == [(4, 3)]
    # It shrinks, or the limit rises: all is as it was.
    for each in (third, WEBS[0]):
        host.put(each.key, None)
    host.flush()
    assert (normal(host.state, "db"), host.state.oversize) == ("default.db open", {})
    host.put(third.key, third)
    host.flush()
    assert normal(host.state, "db") == "default.db"
    host.put(felix_object().key, felix_object(maxIpsetSize=0))
    host.flush()
    assert normal(host.state, "db") == "default.db open"
    assert [len(each.addresses) for each in host.state.sets.values()] == [3]


def test_an_address_of_two_endpoints_counts_once() -> None:
    twice = [endpoint(name, "c", "10.65.1.1", labels={"app": "web"}) for name in ("web1", "web2")]
    found = directly([endpoint("db", "a", "10.65.0.2"), FROM_WEBS, felix_object(maxIpsetSize=1), *twice])
    assert found.oversize == {}


def test_a_host_endpoint_is_closed_where_the_set_has_a_say() -> None:
    host = resource("HostEndpoint", "eth0", {"node": "a", "interfaceName": "eth0"}, {"app": "db"})
    found = directly([host, FROM_WEBS, felix_object(maxIpsetSize=1), *WEBS])
    (closed,) = found.host_endpoints.values()
    assert closed.normal.egress.policies_and_profiles() == (FROM_WEBS.key,)
    assert (closed.forward, closed.untracked, closed.pre_dnat) == (BothWays(), BothWays(), Chain())


def test_a_staged_policy_closes_nothing() -> None:
    spec = {"tier": "default", "selector": "app == 'db'", "ingress": [rule("Allow", selector="app == 'web'")]}
    staged = resource("StagedGlobalNetworkPolicy", "default.db", spec)
    found = directly([endpoint("db", "a", "10.65.0.2"), OPEN, staged, felix_object(maxIpsetSize=1), *WEBS])
    assert normal(found, "db") == "default.db open"
    assert found.policies[staged.key] == Policy(key=staged.key, staged=True)
    assert list(found.oversize) == [staged.key]


def test_only_what_a_local_endpoint_needs_is_computed() -> None:
    far = endpoint("far", "c", "10.65.0.3", labels={"app": "db"})
    found = directly([far, VERSIONS[3][0]])
    assert (found.policies, found.sets, found.workloads) == ({}, {}, {})


def test_an_endpoint_that_must_not_be_routed_has_no_policy() -> None:
    found = directly([endpoint("a", "a", "10.65.0.1"), endpoint("b", "a", "10.65.0.1")])
    assert [key.name for key in found.workloads] == ["a-tortie-a-eth0"]


def felix(**fields: Any) -> FelixConfigurationSpec:
    return effective(convert(fields, FelixConfigurationSpec))


def configured(firewall: Firewall) -> PolicySettings:
    found = firewall.flush().settings
    assert found is not None
    return found


def test_spoofing_and_outside_addresses_as_felix_is_told() -> None:
    nats = [{"internalIP": "10.65.0.1", "externalIP": "192.0.2.80"}]
    one = endpoint("web", "a", "10.65.0.1", allowSpoofedSourcePrefixes=["192.0.2.0/24"], ipNATs=nats)
    host = Host()
    host.put(one.key, one)
    host.flush()
    (found,) = host.state.workloads.values()
    assert (found.allowed_sources, found.floating) == ((), ())
    host.firewall.configure(felix(workloadSourceSpoofing="Any", floatingIPs="Enabled"))
    host.flush()
    (found,) = host.state.workloads.values()
    assert found.allowed_sources == (ip_network("192.0.2.0/24"),)
    assert [str(each.outside) for each in found.floating] == ["192.0.2.80"]


ETCD = FailsafePort(TCP, 2379, ip_network("192.0.2.9/32"))
TOR = FailsafePort(TCP, 1790, ip_network("192.0.2.1/32"))


@pytest.mark.parametrize(
    ("fields", "inbound", "outbound"),
    [
        ({}, {22, 68, 179, 1790, 2379}, {53, 67, 179, 1790, 2379}),
        ({"failsafeOutboundHostPorts": []}, {22, 68, 179, 1790, 2379}, set()),
        ({"failsafeInboundHostPorts": [{"protocol": "tcp", "port": 2222}]}, {2222, 1790}, {53, 67, 179, 1790, 2379}),
        ({"failsafeOutboundHostPorts": [{"protocol": "udp", "port": 53}]}, {22, 68, 179, 1790}, {53, 1790, 2379}),
    ],
)
def test_nobody_locks_himself_out(fields: dict[str, Any], inbound: set[int], outbound: set[int]) -> None:
    """The ports that the datastore and the peers really use stay open, unless the user wants none at all."""
    firewall = Firewall("a")
    firewall.configure(felix(**fields))
    firewall.flush()
    firewall.need(NeededPorts(inbound=frozenset({TOR}), outbound=frozenset({TOR, ETCD})))
    found = configured(firewall)
    assert inbound <= {each.port for each in found.failsafe_inbound}
    ports = {each.port for each in found.failsafe_outbound}
    assert ports == set() if not outbound else outbound <= ports
    assert (ETCD in found.failsafe_outbound) == (outbound == {53, 1790, 2379}), "the default has the port for everybody"


def test_settings_that_say_the_same_are_no_news() -> None:
    firewall = Firewall("a")
    firewall.configure(effective())
    configured(firewall)
    firewall.configure(effective())
    firewall.need(NeededPorts())
    assert firewall.flush().settings is None


def test_pools_and_hosts() -> None:
    found = directly([pool("pool", "10.65.0.0/16", natOutgoing=True), node("a", "172.18.203.125/24")])
    assert [(str(each.network), each.outgoing) for each in found.pools] == [("10.65.0.0/16", True)]
    assert found.hosts == {ip_address("172.18.203.125")}
