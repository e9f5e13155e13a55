"""Prefixes that come and go, and whether an address is in one of them: a step costs O(lengths that occur)."""

from __future__ import annotations

from collections.abc import Iterable

from tortie.intent.policy import Address, Network


class Prefixes:
    """A set of prefixes of both families; they may overlap."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._found: dict[tuple[int, int], set[int]] = {}  # the leading bits, by family and number of bits behind them
        for network in networks:
            self.add(network)

    def __bool__(self) -> bool:
        return bool(self._found)

    def __contains__(self, address: Address) -> bool:
        value, version = int(address), address.version
        return any(value >> rest in found for (family, rest), found in self._found.items() if family == version)

    def add(self, network: Network) -> None:
        place, bits = _place(network)
        self._found.setdefault(place, set()).add(bits)

    def discard(self, network: Network) -> None:
        place, bits = _place(network)
        found = self._found.get(place, set())
        found.discard(bits)
        if not found:
            self._found.pop(place, None)


def _place(network: Network) -> tuple[tuple[int, int], int]:
    rest = network.max_prefixlen - network.prefixlen
    return (network.version, rest), int(network.network_address) >> rest
