"""Which host endpoint governs which interface: what every backend makes of the facts of the kernel."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from tortie.intent.interface import Interface
from tortie.intent.policy import Address, HostEndpointPolicy
from tortie.intent.state import governing


class Hosts(NamedTuple):
    """The host endpoint of each interface, and that of all the others."""

    by_interface: Mapping[str, HostEndpointPolicy]
    rest: HostEndpointPolicy | None

    @property
    def all(self) -> list[HostEndpointPolicy]:
        return [*self.by_interface.values(), *([self.rest] if self.rest else [])]


def resolve(
    endpoints: Collection[HostEndpointPolicy],
    interfaces: Mapping[str, Interface],
    is_workload: Callable[[str], bool],
) -> Hosts:
    """Which host endpoint each interface has; those of workloads, and the loopback, have none."""
    found: dict[str, HostEndpointPolicy] = {}
    rest = min((each for each in endpoints if each.interface == "*"), key=lambda each: each.key, default=None)
    # One that names an interface waits for it in the kernel.
    named = {each.interface: frozenset[Address]() for each in endpoints if each.interface not in ("", "*")}
    for name, held in (named | {name: each.addresses for name, each in interfaces.items()}).items():
        if name == "lo" or is_workload(name):
            continue
        endpoint = governing(endpoints, name, held)
        if endpoint is not None and endpoint is not rest:
            found[name] = endpoint
    return Hosts(found, rest)
