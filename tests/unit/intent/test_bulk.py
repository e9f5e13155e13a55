"""The judge for many packets says what the judge says, word for word."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.arena import HOST_ADDRESSES, A, B
from tests.contract.generate import ADDRESSES, NETWORKS, Chance, changes, packet
from tests.unit.intent.policy_text import chain, policy, profile, workload
from tests.unit.intent.policy_text import packet as packet_of
from tortie.intent.axis import Axis, spans
from tortie.intent.bulk import BulkJudge
from tortie.intent.classify import Classifier
from tortie.intent.evaluate import decide
from tortie.intent.indexed import IndexedState
from tortie.intent.packet import TCP, Fib, Flow, Route
from tortie.intent.policy import (
    AddressSet,
    BothWays,
    Direction,
    FailsafePort,
    FloatingAddress,
    HostEndpointPolicy,
    NatPool,
    PolicySettings,
)
from tortie.intent.prefixes import Prefixes
from tortie.intent.state import PolicyChanges, PolicyState, SetDelta
from tortie.intent.verdict import Destination, verdict
from tortie.model.resource import ResourceKey

SEEDS = st.integers(0, 2**32)
FLOATING = ip_address("203.0.113.7")
FIB = Fib(
    routes=(
        *(Route(ip_network(address), port.interface) for port in (A, B) for address in port.addresses),
        Route(ip_network("0.0.0.0/0"), "eth0", ip_address("172.18.203.125")),
        Route(ip_network("::/0"), "eth0"),
    ),
    addresses={"eth0": frozenset(HOST_ADDRESSES)},
)


def everything(chance: Chance) -> PolicyChanges:
    """A state by chance, with host endpoints and floating addresses too."""
    found = changes(chance)
    workloads = dict(found.workloads)
    for owner, each in found.workloads.items():
        assert each is not None
        if chance.often(0.3):
            floating = (FloatingAddress(FLOATING, each.addresses[0]),)
            workloads[owner] = msgspec.structs.replace(each, floating=floating)
    chains = [ways for each in found.workloads.values() if each for ways in (each.policy.ingress, each.policy.egress)]

    def some() -> BothWays:
        return (
            BothWays(ingress=chance.choice(chains), egress=chance.choice(chains)) if chance.often(0.5) else BothWays()
        )

    hosts = {}
    for name in ("eth0", "*", ""):
        if chance.often(0.3):
            host = ResourceKey("HostEndpoint", "", name or "by-address")
            hosts[host] = HostEndpointPolicy(
                key=host,
                interface=name,
                addresses=HOST_ADDRESSES,
                normal=some(),
                forward=some(),
                untracked=some(),
                pre_dnat=chance.choice(chains) if chance.often(0.3) else chain(""),
            )
    return msgspec.structs.replace(
        found,
        workloads=workloads,
        host_endpoints=hosts,
        pools=(NatPool(ip_network("10.65.0.0/16"), outgoing=True),),
        settings=PolicySettings(
            endpoint_to_host=chance.choice(("Drop", "Accept", "Return")),
            deny=chance.choice(("Drop", "Reject")),
            failsafe_inbound=(FailsafePort(TCP, 80),),
        ),
    )


def assert_agreement(chance: Chance, state: PolicyState, indexed: IndexedState, judge: BulkJudge) -> None:
    for _ in range(40):
        one = packet(chance)
        if chance.often(0.1) and one.family == 4:
            one = msgspec.structs.replace(one, destination=FLOATING)
        flow = chance.choice(list(Flow))
        became = Destination(A.addresses[one.family == 6], 80) if chance.often(0.1) else None
        assert judge.verdict(one, flow, FIB, became) == verdict(state, one, flow, FIB, became)
    for address in (*ADDRESSES, FLOATING, *HOST_ADDRESSES):
        assert (indexed.inside(address), indexed.outside(address)) == (state.inside(address), state.outside(address))
        for each in state.sets.values():
            assert indexed.has_member(each.id, address) == (address in each)


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_every_verdict_is_that_of_the_judge(seed: int) -> None:
    indexed = IndexedState()
    judge = BulkJudge(indexed)
    state = PolicyState()
    for turn in range(3):
        # The second state comes in the place of the first, and the third is a part of it.
        chance = Chance(f"{seed}/{turn}")
        news = everything(chance)
        if turn == 2:
            gone = [key for key in state.workloads if chance.often(0.3)]
            news = PolicyChanges(
                policies=news.policies, changed_sets=_set_changes(chance, state), workloads=dict.fromkeys(gone)
            )
        for each in (state, indexed):
            each.take(msgspec.structs.replace(news, new_sets=_copies(news)))
        judge.take(news)
        if chance.often(0.5):
            for _ in judge.prepare():
                pass
        assert_agreement(chance, state, indexed, judge)


def _copies(news: PolicyChanges) -> tuple[object, ...]:
    """A set of one's own for each state: they are changed in place."""
    return tuple(
        AddressSet(id=each.id, addresses=set(each.addresses), networks=set(each.networks))
        if isinstance(each, AddressSet)
        else type(each)(id=each.id, members=set(each.members))
        for each in news.new_sets
    )


def _set_changes(chance: Chance, state: PolicyState) -> dict[str, SetDelta]:
    found = {}
    for each in state.sets.values():
        there = [*each.addresses, *each.networks]
        gone = frozenset(chance.sample(sorted(there, key=str), chance.randint(0, len(there))))
        added = frozenset(chance.some((*ADDRESSES, *NETWORKS)))
        found[each.id] = SetDelta(added=added, removed=gone)
    return found


@pytest.mark.parametrize("direction", list(Direction))
def test_every_hit_is_that_of_the_chain(direction: Direction) -> None:
    """Logs, staged policies, Pass at both levels, and a tier that passes at its end."""
    rules = "Log tcp\nPass tcp destination=81\nDeny tcp destination=82\nLog udp"
    policies = [
        policy("a", ingress=rules, egress=rules),
        policy("staged", ingress="Log\nDeny tcp", egress="Log\nDeny tcp", staged=True),
        policy("b", ingress="Allow destination=80", egress="Allow destination=80"),
        profile("p", ingress="Log\nPass tcp destination=81\nDeny", egress="Log\nPass tcp destination=81\nDeny"),
        profile("q", ingress="Allow", egress="Allow"),
    ]
    state = IndexedState()
    state.take(PolicyChanges(policies={each.key: each for each in policies}))
    whole = chain("first:pass=staged,a second=staged,b third:pass=a | p,q")
    quick = Classifier(whole, direction, 4, state)
    for port in (79, 80, 81, 82):
        for protocol in ("tcp", "udp", "gre"):
            ends = "10.65.0.9 > 10.65.0.1" if protocol == "gre" else f"10.65.0.9:1 > 10.65.0.1:{port}"
            one = packet_of(f"eth0 {ends} {protocol}")
            assert list(quick.hits(one)) == list(decide(whole, direction, one, state.tables)), one


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)).map(lambda pair: (min(pair), max(pair)))),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)).map(lambda pair: (min(pair), max(pair)))),
)
def test_spans_are_what_is_wanted_without_what_is_not(
    wanted: list[tuple[int, int]], not_: list[tuple[int, int]]
) -> None:
    found = spans(wanted, not_, 300)
    for value in range(301):
        is_wanted = not wanted or any(first <= value <= last for first, last in wanted)
        is_wanted &= not any(first <= value <= last for first, last in not_)
        assert (found is None or any(first <= value <= last for first, last in found)) == is_wanted
    assert found is None or all(one[1] < other[0] for one, other in pairwise(found))


@given(st.lists(st.one_of(st.none(), st.lists(st.integers(0, 500), max_size=4)), max_size=200))
@settings(max_examples=50, deadline=None)
def test_an_axis_knows_every_condition(conditions: list[list[int] | None]) -> None:
    axis = Axis(510)
    spread = [None if each is None else spans([(v, v + 7) for v in each], [], 510) or [] for each in conditions]
    for number, each in enumerate(spread):
        axis.add(number, each)
    axis.freeze()
    for value in range(511):
        expected = sum(
            1 << number
            for number, each in enumerate(spread)
            if each is None or any(first <= value <= last for first, last in each)
        )
        assert axis.fulfilled(value) == expected


@given(st.lists(st.sampled_from(NETWORKS)), st.lists(st.sampled_from(NETWORKS)))
def test_prefixes_come_and_go(added: list[object], removed: list[object]) -> None:
    prefixes = Prefixes(added)  # type: ignore[arg-type]  # of networks
    for each in removed:
        prefixes.discard(each)  # type: ignore[arg-type]
    left = set(added) - set(removed)
    assert bool(prefixes) == bool(left)
    for address in ADDRESSES:
        assert (address in prefixes) == any(address in each for each in left)  # type: ignore[operator]


def test_the_owner_of_an_address_is_the_lowest_key() -> None:
    state = IndexedState()
    one, two = workload("b", "10.65.0.1"), workload("a", "10.65.0.1")
    state.take(PolicyChanges(workloads={one.key: one}))
    assert state.owner(ip_address("10.65.0.1").packed) == one
    state.take(PolicyChanges(workloads={two.key: two}))
    assert state.owner(ip_address("10.65.0.1").packed) == two
    state.take(PolicyChanges(workloads={two.key: None, one.key: workload("b", "10.65.0.3")}))
    assert state.owner(ip_address("10.65.0.1").packed) is None
