"""Large sets are taken in by steps of a bounded size, and what does not need them does not wait for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.unit.calc.cluster import resource
from tortie.calc.firewall import Firewall
from tortie.calc.peers import PART
from tortie.intent.policy import AddressSet, PortSet, SetId
from tortie.intent.state import PolicyChanges, PolicyState
from tortie.model.kinds.felixconfiguration import FelixConfigurationSpec, effective
from tortie.model.resource import Resource, ResourceKey

LARGE = 10 * PART
HOST = resource("HostEndpoint", "h", {"node": "a", "interfaceName": "eth0"}, {"a": "x"})
OTHER = resource("HostEndpoint", "other", {"node": "a", "interfaceName": "eth1"}, {"a": "y"})


def network_set(name: str, first: int, count: int, **labels: str) -> Resource[Any]:
    nets = [f"{first + (each >> 16)}.{each >> 8 & 255}.{each & 255}.0/24" for each in range(count // 2)]
    nets += [f"{100 + first + (each >> 16)}.{each >> 8 & 255}.{each & 255}.1" for each in range(count - count // 2)]
    return resource("GlobalNetworkSet", name, {"nets": nets}, labels or {"big": "yes"})


def policy(name: str, selects: str, source: str, action: str = "Allow") -> Resource[Any]:
    rule = {"action": action, "source": {"selector": source}}
    return resource("GlobalNetworkPolicy", name, {"selector": selects, "types": ["Ingress"], "ingress": [rule]})


BIG = policy("big", "a == 'x'", "big == 'yes'")
SMALL = policy("small", "a == 'y'", "small == 'yes'")


class Steps:
    """A calculation that is flushed by steps, and the state that follows from them."""

    def __init__(self, max_set_size: int | None = None) -> None:
        self.firewall = Firewall("a")
        self.firewall.configure(effective(FelixConfigurationSpec(max_ipset_size=max_set_size)))
        self.state = PolicyState()
        self.sizes: list[int] = []

    def put(self, *objects: Resource[Any]) -> None:
        for each in objects:
            self.firewall.update(each.key, each)

    def drop(self, key: ResourceKey) -> None:
        self.firewall.update(key, None)

    def step(self) -> PolicyChanges:
        changes = self.firewall.flush(members=PART)
        self.sizes.append(size(changes))
        self.state.take(changes)
        assert named(self.state) <= {*self.state.sets, *self.state.port_sets}
        return changes

    def to_the_end(self) -> None:
        self.step()
        while self.firewall.filling:
            self.step()


def size(changes: PolicyChanges) -> int:
    return sum(
        len(each.members) if isinstance(each, PortSet) else len(each.addresses) + len(each.networks)
        for each in changes.new_sets
    ) + sum(len(each.added) + len(each.removed) for each in changes.changed_sets.values())


def named(state: PolicyState) -> set[SetId]:
    return {each for policy in state.policies.values() for each in policy.sets()}


def whole(*objects: Resource[Any]) -> PolicyState:
    firewall, state = Firewall("a"), PolicyState()
    firewall.configure(effective())
    for each in objects:
        firewall.update(each.key, each)
    state.take(firewall.flush())
    return state


def members(sets: Iterable[AddressSet]) -> int:
    return sum(len(each.addresses) + len(each.networks) for each in sets)


def test_a_large_network_set_comes_in_by_steps_and_a_policy_when_it_is_filled() -> None:
    steps, nets = Steps(), network_set("s", 10, LARGE)
    steps.put(HOST, BIG, nets)
    while steps.firewall.filling or not steps.sizes:
        steps.step()
        assert (BIG.key in steps.state.policies) == (members(steps.state.sets.values()) == LARGE)
        assert (HOST.key in steps.state.host_endpoints) == (BIG.key in steps.state.policies)
    assert max(steps.sizes) <= PART
    assert steps.state == whole(HOST, BIG, nets)


def test_a_policy_whose_set_is_filled_stays_while_members_come_and_go() -> None:
    steps = Steps()
    steps.put(HOST, BIG)
    steps.to_the_end()
    assert BIG.key in steps.state.policies
    for nets in (network_set("s", 10, LARGE), network_set("s", 11, LARGE)):
        steps.put(nets)
        steps.to_the_end()
        assert steps.state == whole(HOST, BIG, nets)
    steps.drop(nets.key)
    steps.to_the_end()
    assert steps.state == whole(HOST, BIG)
    assert len(steps.sizes) > 3 * LARGE // PART
    assert max(steps.sizes) <= PART


def test_what_stays_in_a_network_set_that_changes_is_never_missing() -> None:
    steps, before, more = Steps(), network_set("s", 10, LARGE), network_set("more", 120, 1)
    steps.put(HOST, BIG, before)
    steps.to_the_end()
    (there,) = steps.state.sets.values()
    addresses, networks = set(there.addresses), set(there.networks)
    nets = [*more.spec.nets, *before.spec.nets]
    steps.put(resource("GlobalNetworkSet", "s", {"nets": [*map(str, nets)]}, {"big": "yes"}))
    while steps.firewall.filling:
        steps.step()
        assert addresses <= there.addresses
        assert networks <= there.networks
    assert members([there]) == LARGE + 1


def test_others_pass_a_large_set() -> None:
    steps = Steps()
    steps.put(OTHER)
    steps.to_the_end()
    steps.put(HOST, BIG, *(network_set(f"s{number}", 10 + number, LARGE) for number in range(3)))
    for _ in range(3):
        steps.step()
    steps.put(SMALL, network_set("few", 60, 2, small="yes"))
    changes = [steps.step() for _ in range(2)]
    assert SMALL.key in {key for each in changes for key in each.policies}
    assert steps.firewall.filling
    assert BIG.key not in steps.state.policies


def test_of_a_set_above_the_limit_nothing_comes_out_and_of_one_that_shrinks_all() -> None:
    steps, nets = Steps(max_set_size=LARGE // 2), network_set("s", 10, LARGE + 2)
    steps.put(HOST, BIG, nets)
    steps.to_the_end()
    assert max(steps.sizes) == 0
    assert steps.state.oversize[BIG.key].size == LARGE + 2
    less = network_set("s", 10, LARGE // 2)
    steps.put(less)
    while steps.firewall.filling:
        steps.step()
        assert (BIG.key in steps.state.oversize) == (members(steps.state.sets.values()) < LARGE // 2)
    assert steps.state == whole(HOST, BIG, less)
