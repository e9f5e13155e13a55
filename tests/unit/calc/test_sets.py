"""Sets against what their selectors say of all peers, after any steps."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tortie.calc.rules import NamedPorts, set_id
from tortie.calc.sets import Peer, PeerPort, SetCalculator, Wanted
from tortie.intent.policy import AddressSet, Member, NamedPort, SetId
from tortie.model.resource import ResourceKey
from tortie.model.selector import parse

WANTED: list[Wanted] = [
    parse("a == 'x'"),
    parse("all()"),
    parse("!has(a)"),
    NamedPorts(parse("a == 'x'"), "http", 6),
    NamedPorts(parse("all()"), "http", 6),
    NamedPorts(parse("all()"), "http", 17),
]
PEERS = st.builds(
    Peer,
    labels=st.dictionaries(st.just("a"), st.sampled_from(["x", "y"])),
    addresses=st.lists(st.sampled_from([ip_address("10.0.0.1"), ip_address("fd00::1")]), max_size=3).map(tuple),
    networks=st.lists(st.sampled_from([ip_network("10.0.0.0/8"), ip_network("10.0.0.1/32")]), max_size=2).map(tuple),
    ports=st.lists(
        st.sampled_from([PeerPort("http", 6, 80), PeerPort("http", 6, 8080), PeerPort("http", 17, 80)]), max_size=2
    ).map(tuple),
)
KEYS = [ResourceKey("WorkloadEndpoint", "default", str(number)) for number in range(4)]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 3), PEERS),
        st.tuples(st.just("drop"), st.integers(0, 3), st.none()),
        st.tuples(st.just("want"), st.integers(0, 5), st.sampled_from("pq")),
        st.tuples(st.just("release"), st.integers(0, 5), st.sampled_from("pq")),
        st.tuples(st.just("flush"), st.just(0), st.sampled_from([None, 0, 1, 2])),
    ),
    max_size=40,
)


def members(wanted: Wanted, peers: dict[ResourceKey, Peer]) -> Iterator[Member]:
    for peer in peers.values():
        selector = wanted.selector if isinstance(wanted, NamedPorts) else wanted
        if not selector.matches(peer.labels):
            continue
        if isinstance(wanted, NamedPorts):
            yield from (
                NamedPort(port.protocol, address, port.port)
                for port in peer.ports
                for address in peer.addresses
                if (port.name, port.protocol) == (wanted.name, wanted.protocol)
            )
        else:
            yield from (*peer.addresses, *peer.networks)


def name(wanted: Wanted) -> SetId:
    return wanted.id if isinstance(wanted, NamedPorts) else set_id(wanted)


def size(found: set[Member]) -> int:
    """Of the larger family."""
    versions = [(each.address if isinstance(each, NamedPort) else each).version for each in found]
    return max(versions.count(4), versions.count(6))


class Receiver:
    """Keeps the sets as the changes tell of them, and insists that each change is one."""

    def __init__(self) -> None:
        self.sets: dict[SetId, set[Member]] = {}

    def take(self, calculator: SetCalculator, limit: int | None) -> None:
        changes = calculator.flush(limit)
        for each in changes.gone:
            del self.sets[each]
        for new in changes.new:
            found: Any = {*new.addresses, *new.networks} if isinstance(new, AddressSet) else set(new.members)
            self.sets[new.id] = found
        for key, delta in changes.changed.items():
            assert delta.removed <= self.sets[key]
            assert not delta.added & self.sets[key]
            self.sets[key] = (self.sets[key] - delta.removed) | delta.added


@settings(deadline=None)
@given(STEPS)
def test_any_steps(steps: list[tuple[str, int, Any]]) -> None:
    calculator, receiver = SetCalculator(), Receiver()
    peers: dict[ResourceKey, Peer] = {}
    owners: dict[int, set[str]] = {}
    for verb, number, detail in [*steps, ("flush", 0, None)]:
        if verb == "put":
            peers[KEYS[number]] = detail
            calculator.put(KEYS[number], detail)
        elif verb == "drop":
            peers.pop(KEYS[number], None)
            calculator.drop(KEYS[number])
        elif verb == "want":
            owners.setdefault(number, set()).add(detail)
            calculator.want(detail, [WANTED[number]])
        elif verb == "release" and detail in owners.get(number, ()):
            owners[number].discard(detail)
            calculator.release(detail, [WANTED[number]])
        elif verb == "flush":
            receiver.take(calculator, detail)
            wanted = {each: set(members(WANTED[each], peers)) for each, by in owners.items() if by}
            small = {each for each, found in wanted.items() if detail is None or size(found) <= detail}
            assert receiver.sets == {name(WANTED[each]): wanted[each] for each in small}
            large: dict[Any, int] = {}
            for each in wanted.keys() - small:
                for owner in owners[each]:
                    large[owner] = max(large.get(owner, 0), size(wanted[each]))
            assert {owner: found.size for owner, found in calculator.withheld().items()} == large


def test_a_change_that_is_undone_is_none() -> None:
    calculator = SetCalculator()
    calculator.want("p", WANTED[:1])
    calculator.put(KEYS[0], Peer(labels={"a": "x"}, addresses=(ip_address("10.0.0.1"),)))
    calculator.flush()
    calculator.drop(KEYS[0])
    calculator.put(KEYS[0], Peer(labels={"a": "x"}, addresses=(ip_address("10.0.0.1"),)))
    assert calculator.flush().changed == {}


def test_an_address_stays_as_long_as_one_of_two_endpoints_has_it() -> None:
    calculator = SetCalculator()
    calculator.want("p", WANTED[:1])
    for key in KEYS[:2]:
        calculator.put(key, Peer(labels={"a": "x"}, addresses=(ip_address("10.0.0.1"),)))
    calculator.flush()
    calculator.drop(KEYS[0])
    assert calculator.flush().changed == {}
    calculator.put(KEYS[1], Peer(labels={"a": "y"}, addresses=(ip_address("10.0.0.1"),)))
    (delta,) = calculator.flush().changed.values()
    assert delta.removed == {ip_address("10.0.0.1")}
