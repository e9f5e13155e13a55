"""Local endpoints and conflicting claims: the same answer whatever the order of updates."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.calc.cluster import resource
from tortie.calc.endpoints import EndpointCalculator
from tortie.intent.l3 import LocalEndpoint
from tortie.model.resource import Resource, ResourceKey

NODE = "host-a"
ALLOW = "projectcalico-default-allow"


def endpoint(
    workload: str, address: str, interface: str, node: str = NODE, profiles: tuple[str, ...] = (ALLOW,)
) -> Resource[Any]:
    dashed = node.replace("-", "--")
    spec = {
        "orchestrator": "tortie",
        "node": node,
        "workload": workload,
        "endpoint": "eth0",
        "ipNetworks": [address] if address else [],
        "interfaceName": interface,
        "profiles": list(profiles),
    }
    return resource("WorkloadEndpoint", f"{dashed}-tortie-{workload}-eth0", spec)


def local(*endpoints: Resource[Any]) -> dict[ResourceKey, LocalEndpoint | None]:
    calculator = EndpointCalculator(NODE)
    for each in endpoints:
        calculator.update(each.key, each)
    return calculator.flush()


def test_only_endpoints_of_this_node_come_out() -> None:
    ours, theirs = endpoint("a", "10.65.0.1", "cali1"), endpoint("b", "10.65.0.2", "cali2", node="host-b")
    changes = local(ours, theirs)
    assert list(changes) == [ours.key]
    found = changes[ours.key]
    assert found is not None
    assert (found.interface, found.addresses, found.refused) == ("cali1", (ip_address("10.65.0.1"),), "")


def test_a_flush_in_parts_is_the_same_flush() -> None:
    endpoints = [endpoint(f"w{n}", f"10.65.0.{n}", f"cali{n}") for n in range(1, 8)]
    calculator = EndpointCalculator(NODE)
    for each in endpoints:
        calculator.update(each.key, each)
    parts = []
    while calculator.pending:
        parts.append(calculator.flush(limit=3))
    assert [len(part) for part in parts] == [3, 3, 1]
    assert {key: value for part in parts for key, value in part.items()} == local(*endpoints)


def test_of_two_with_one_address_the_lowest_name_wins_wherever_it_is() -> None:
    ours, theirs = endpoint("b", "10.65.0.1", "cali1"), endpoint("a", "10.65.0.1", "cali2", node="host-a0")
    for order in ((ours, theirs), (theirs, ours)):
        found = local(*order)[ours.key]
        assert found is not None
        assert str(min(ours.key, theirs.key)) in found.refused or min(ours.key, theirs.key) == ours.key


def test_the_loser_is_routed_when_the_winner_goes() -> None:
    calculator = EndpointCalculator(NODE)
    first, second = endpoint("a", "10.65.0.1", "cali1"), endpoint("b", "10.65.0.1", "cali2")
    for each in (second, first):
        calculator.update(each.key, each)
    changes = calculator.flush()
    loser = changes[second.key]
    assert loser is not None
    assert "10.65.0.1 belongs to" in loser.refused
    calculator.update(first.key, None)
    changes = calculator.flush()
    assert changes[first.key] is None
    winner = changes[second.key]
    assert winner is not None
    assert winner.refused == ""


def test_two_on_one_interface() -> None:
    first, second = endpoint("a", "10.65.0.1", "cali1"), endpoint("b", "10.65.0.2", "cali1")
    changes = local(second, first)
    assert [value.refused == "" for value in changes.values() if value is not None].count(True) == 1
    elsewhere = endpoint("b", "10.65.0.2", "cali1", node="host-b")
    assert all(value is not None and not value.refused for value in local(first, elsewhere).values())


def test_an_endpoint_without_address_is_refused() -> None:
    wanted = endpoint("a", "", "cali1")
    found = local(wanted)[wanted.key]
    assert found is not None
    assert "no address" in found.refused


def test_a_change_undone_before_the_flush_is_none() -> None:
    calculator = EndpointCalculator(NODE)
    before, after = endpoint("a", "10.65.0.1", "cali1"), endpoint("a", "10.65.0.2", "cali1")
    calculator.update(before.key, before)
    calculator.flush()
    calculator.update(after.key, after)
    calculator.update(before.key, before)
    assert calculator.flush() == {}


def test_holder_is_asked_for_all_nodes() -> None:
    calculator = EndpointCalculator(NODE)
    theirs = endpoint("a", "10.65.0.1", "cali1", node="host-b")
    calculator.update(theirs.key, theirs)
    assert calculator.holder(ip_address("10.65.0.1")) == theirs.key
    calculator.update(theirs.key, None)
    assert calculator.holder(ip_address("10.65.0.1")) is None


CHOICES = st.tuples(
    st.sampled_from("abc"),
    st.sampled_from(["10.65.0.1", "10.65.0.2"]),
    st.sampled_from(["cali1", "cali2"]),
    st.sampled_from([NODE, "host-b"]),
    st.booleans(),
)


@given(st.lists(CHOICES, max_size=12), st.integers(0, 12))
def test_the_result_depends_on_the_state_and_not_on_the_path(
    steps: list[tuple[str, str, str, str, bool]], flush_after: int
) -> None:
    calculator = EndpointCalculator(NODE)
    present: dict[ResourceKey, Resource[Any]] = {}
    sent: dict[ResourceKey, LocalEndpoint | None] = {}
    for number, (workload, address, interface, node, there) in enumerate(steps):
        each = endpoint(workload, address, interface, node)
        if there:
            present[each.key] = each
        else:
            present.pop(each.key, None)
        calculator.update(each.key, each if there else None)
        if number == flush_after:
            sent |= calculator.flush()
    sent |= calculator.flush()
    assert {key: value for key, value in sent.items() if value is not None} == local(*present.values())
