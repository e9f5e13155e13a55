"""Where addresses lead, asked of the kernel one by one and remembered: a walk is shorter than most routes live."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from tortie.errors import Gone
from tortie.intent.packet import Route
from tortie.intent.policy import Address
from tortie.kernel.netlink import address as addresses
from tortie.kernel.netlink import fib, link
from tortie.kernel.netlink.route import TYPE_LOCAL
from tortie.kernel.netlink.socket import NetlinkSocket

_LOOPBACK_INDEX = 1


class KernelRoutes:
    """The answers of the socket's network namespace. Each costs one question, and memory until this is dropped."""

    def __init__(self, sock: NetlinkSocket) -> None:
        self._socket = sock
        self._routes: dict[Address, Route | None] = {}
        self._names: dict[int, str] = {_LOOPBACK_INDEX: "lo"}
        self._indexes: dict[str, int] = {"lo": _LOOPBACK_INDEX}
        self._held: dict[str, frozenset[Address]] = {}

    def route(self, address: Address) -> Route | None:
        """To the host itself when the interface is empty, as everywhere."""
        if address not in self._routes:
            self._routes[address] = self._ask(address)
        return self._routes[address]

    def held(self, interface: str) -> frozenset[Address]:
        """The host's addresses on an interface that a route led to."""
        if interface not in self._held:
            index = self._indexes.get(interface, 0)
            found = addresses.dump(self._socket, ifindex=index) if index else []
            self._held[interface] = frozenset(ip_address(each.address) for each in found)
        return self._held[interface]

    def _ask(self, address: Address) -> Route | None:
        found = fib.lookup(self._socket, address.packed)
        if found is None:
            return None
        if found.type == TYPE_LOCAL:
            return Route(ip_network(address), "")
        name = self._name(found.ifindex)
        return Route(ip_network(address), name) if name else None

    def _name(self, ifindex: int) -> str:
        """Empty for an interface that is gone, or for none at all."""
        if ifindex not in self._names:
            try:
                name = link.get_by_index(self._socket, ifindex).name if ifindex else ""
            except Gone:
                name = ""
            self._names[ifindex] = name
            self._indexes[name] = ifindex
        return self._names[ifindex]
