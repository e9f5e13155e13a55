"""Of the prefixes of a set those that no other one contains: together they say the same, and none overlaps another.

Two prefixes are apart, or one contains the other; there is nothing between. So what an interval set of the kernel may
hold are just the outermost ones.
"""

from __future__ import annotations

from collections.abc import Iterator

from tortie.intent.policy import Network


class Cover:
    """Prefixes of one family that come and go. A step costs O(1), but where a prefix contains others O(prefixes)."""

    def __init__(self) -> None:
        self._all: dict[int, set[Network]] = {}  # by length
        self.outermost: set[Network] = set()

    def __bool__(self) -> bool:
        return bool(self.outermost)

    def add(self, network: Network) -> None:
        self._all.setdefault(network.prefixlen, set()).add(network)
        if self._is_contained(network):
            return
        self.outermost -= set(self._within(network, self.outermost))
        self.outermost.add(network)

    def remove(self, network: Network) -> None:
        same_length = self._all[network.prefixlen]
        same_length.discard(network)
        if not same_length:
            del self._all[network.prefixlen]
        if network not in self.outermost:
            return
        self.outermost.discard(network)
        for length, networks in sorted(self._all.items()):
            if length > network.prefixlen:
                found = self._within(network, networks)
                self.outermost.update(each for each in found if not self._is_contained(each))

    def _is_contained(self, network: Network) -> bool:
        return any(
            network.supernet(new_prefix=length) in networks
            for length, networks in self._all.items()
            if length < network.prefixlen
        )

    def _within(self, network: Network, networks: set[Network]) -> Iterator[Network]:
        if not any(length > network.prefixlen for length in self._all):
            return iter(())
        first, last = network.network_address, network.broadcast_address
        return (
            each
            for each in networks
            if each.prefixlen > network.prefixlen and first <= each.network_address <= last  # type: ignore[operator]
        )
