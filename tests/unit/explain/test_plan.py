"""What a change would do: said for classes, and held against every single pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.calc.cluster import resource
from tests.unit.explain.scene import OBJECTS, endpoint, policy
from tortie.explain import Cluster
from tortie.explain.pieces import Piece
from tortie.explain.plan import Change, Group, plan
from tortie.intent.evaluate import decide
from tortie.intent.packet import Packet
from tortie.intent.policy import Action, Direction, PortRange
from tortie.model.resource import Resource, ResourceKey


def planned(*changed: Resource[Any], gone: Sequence[str] = ()) -> list[str]:
    after = {each.key: each for each in (*OBJECTS, *changed)}
    for name in gone:
        del after[ResourceKey("GlobalNetworkPolicy", "", name)]
    return [shown(each) for each in plan(Cluster(OBJECTS), Cluster(after.values())).changes]


def shown(change: Change) -> str:
    what = ",".join(map(str, change.pieces)) or "everything"
    ends = f"{group(change.endpoints)} / {group(change.peers)}"
    return f"IPv{change.family} {change.direction} {ends} {what} {'opens' if change.allowed else 'closes'}"


def group(found: Group) -> str:
    """`*` for addresses outside."""
    outside = found.is_outside or found.has_outside
    return f"{found.example.rpartition('/')[2]}+{found.others}{'*' if outside else ''}"


def test_nothing_changes() -> None:
    assert planned() == []
    assert planned(policy("new", selector="app == 'nobody'", types=["Ingress"])) == []


def test_a_port_more() -> None:
    rule = {"action": "Allow", "protocol": "TCP", "source": {"selector": "app == 'web'"}}
    rules = [rule | {"destination": {"ports": ["80:81", 443]}}]
    more = policy("more", order=5, selector="app == 'db'", types=["Ingress"], ingress=rules)
    line = "ingress b-tortie-db-eth0+0 / a-tortie-web-eth0+0 tcp/80-81,tcp/443 opens"
    assert planned(more) == [f"IPv4 {line}", f"IPv6 {line}"]


def test_a_policy_less_leaves_the_profile() -> None:
    db = "ingress b-tortie-db-eth0+0"
    ports = "tcp/1-5431,tcp/5433-65535,udp"
    assert planned(gone=["default.db"]) == [
        f"IPv4 {db} / a-tortie-probe-eth0+1* everything opens",
        f"IPv4 {db} / a-tortie-web-eth0+0* {ports},icmp/8/0,other icmp,other protocols opens",
        f"IPv6 {db} / a-tortie-web-eth0+0 {ports},icmpv6/128/0,other icmpv6,other protocols opens",
        f"IPv6 {db} / b-tortie-db-eth0+0* everything opens",
    ]


def test_a_label_moves_an_endpoint_into_a_set() -> None:
    moved = planned(endpoint("probe", "a", "10.65.0.3", labels={"app": "web"}))
    assert moved == ["IPv4 ingress b-tortie-db-eth0+0 / a-tortie-probe-eth0+0 tcp/5432 opens"]


def test_endpoints_that_come_and_go_are_counted() -> None:
    found = plan(Cluster(OBJECTS), Cluster([*OBJECTS[:4], *OBJECTS[5:], endpoint("new", "a", "10.65.0.7")]))
    assert (found.come, found.go) == (1, 1)


RULES = st.builds(
    lambda action, protocol, source, ports, nets: {
        "action": action,
        **({"protocol": protocol} if protocol else {}),
        "source": {**({"selector": source} if source else {}), **({"nets": nets} if nets and not source else {})},
        **({"destination": {"ports": ports}} if ports and protocol in ("TCP", "UDP") else {}),
    },
    st.sampled_from(["Allow", "Deny", "Pass"]),
    st.sampled_from(["", "TCP", "UDP"]),
    st.sampled_from(["", "app == 'web'", "app != 'web'", "role == 'office'", "has(x)"]),
    st.lists(st.sampled_from([80, "81:90", 443, "pg", "1:100"]), max_size=2),
    st.lists(st.sampled_from(["10.65.0.0/30", "10.0.0.0/8", "203.0.113.0/25"]), max_size=2),
)
POLICIES = st.lists(
    st.builds(
        lambda selector, rules, types: {"selector": selector, "types": types, "ingress": rules},
        st.sampled_from(["app == 'db'", "all()", "app in {'web', 'probe'}"]),
        st.lists(RULES, max_size=3),
        st.just(["Ingress"]),
    ),
    max_size=3,
)
PORTS = (1, 79, 80, 81, 85, 90, 91, 100, 101, 443, 5432, 65535)


@settings(max_examples=60)
@given(POLICIES, POLICIES)
def test_every_pair_is_in_the_plan(old: list[Any], new: list[Any]) -> None:
    base = [each for each in OBJECTS if each.key.kind != "GlobalNetworkPolicy"]
    before, after = (
        Cluster([*base, *(policy(f"p{n}", order=n, **spec) for n, spec in enumerate(some))]) for some in (old, new)
    )
    found = plan(before, after).changes
    for port in PORTS:
        for protocol in (6, 17):
            expected = {True: 0, False: 0}
            for one, other in _pairs(before, after, protocol, port):
                if one != other:
                    expected[other] += 1
            said = {True: 0, False: 0}
            for change in found:
                if change.peers.is_outside or not _covers(change, protocol, port):
                    continue
                said[change.allowed] += (change.endpoints.others + 1) * (change.peers.others + 1)
            assert said == expected, (protocol, port)


def _covers(change: Change, protocol: int, port: int) -> bool:
    def covers(piece: Piece) -> bool:
        ports = piece.ports or PortRange(0, -1)
        return piece.protocol == protocol and ports.first <= port <= ports.last

    return not change.pieces or any(map(covers, change.pieces))


def _pairs(before: Cluster, after: Cluster, protocol: int, port: int) -> list[tuple[bool, bool]]:
    """What ingress says, before and after, of each ordered pair of endpoints, an endpoint with itself included."""
    pairs = []
    for family in (4, 6):
        own = [
            (key, address)
            for key, each in after.whole.workloads.items()
            for address in each.addresses
            if address.version == family
        ]
        for key, destination in own:
            for _, source in own:
                packet = Packet(
                    source=source, destination=destination, protocol=protocol, source_port=49152, destination_port=port
                )
                pairs.append((_allows(before, key, packet), _allows(after, key, packet)))
    return pairs


def _allows(cluster: Cluster, key: ResourceKey, packet: Packet) -> bool:
    state = cluster.whole
    hits = list(decide(state.workloads[key].policy.ingress, Direction.INGRESS, packet, state.tables))
    return bool(hits) and hits[-1].action is Action.ALLOW


@pytest.mark.parametrize(
    "changes",
    [
        {"GlobalNetworkPolicy(default.db)": policy("db", selector="all()", ingress=[{"action": "Deny"}])},
        {"GlobalNetworkPolicy(default.db)": None, "Profile(open)": None},
        {"WorkloadEndpoint(default/a-tortie-web-eth0)": endpoint("web", "b", "10.65.0.9")},
        {"WorkloadEndpoint(default/a-tortie-web-eth0)": None, "GlobalNetworkSet(office)": None},
        {"FelixConfiguration(default)": resource("FelixConfiguration", "default", {"maxIpsetSize": 1})},
    ],
)
def test_what_comes_after_is_the_same_by_what_differs_or_from_the_beginning(changes: dict[str, Any]) -> None:
    kept = [each for each in OBJECTS if str(each.key) not in changes]
    before, after = Cluster(OBJECTS), Cluster([*kept, *(each for each in changes.values() if each is not None)])
    assert before.whole_before_and_after(after) == (before.whole, after.whole)
    assert after.whole_before_and_after(before) == (after.whole, before.whole)
