"""The whole state, told by steps."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from tests.unit.intent.policy_text import policy, workload
from tortie.intent.policy import AddressSet, NamedPort, PortSet
from tortie.intent.state import PolicyChanges, PolicyState, everything

AT_MOST = 100


def test_everything_comes_by_steps_and_what_names_a_set_after_it() -> None:
    state = PolicyState()
    addresses = AddressSet(
        id="s",
        addresses={ip_address(0x0A000000 + n) for n in range(250)},
        networks={ip_network((0x0B000000 + 256 * n, 24)) for n in range(250)},
    )
    ports = PortSet(id="p", members={NamedPort(6, ip_address(0x0A000000 + n), 80) for n in range(250)})
    one, rules = workload("w", "10.65.0.1"), policy("p", ingress="Allow source=in:s")
    state.take(
        PolicyChanges(
            new_sets=(addresses, ports, AddressSet(id="empty")), policies={rules.key: rules}, workloads={one.key: one}
        )
    )
    other = PolicyState()
    for changes in everything(state, AT_MOST):
        other.take(changes)
        told = [len(each.members) if isinstance(each, PortSet) else len(each.addresses) for each in changes.new_sets]
        assert sum(told) + sum(len(each.added) for each in changes.changed_sets.values()) <= AT_MOST
        assert not other.policies or other.sets == state.sets
    assert other == state
    assert other.sets["s"] is not state.sets["s"]
