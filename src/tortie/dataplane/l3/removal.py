"""What routing wrote to the kernel, found by its sign alone and taken out: for a host that is reset.

Invariants:
* What carries no sign of ours stays, also on our interfaces, and also where taking ours away would take it along.
* Each kind is named before it goes, a line for each object. Functions block; they raise KernelError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

from tortie.conventions import ELEVATED_ROUTE_PROTOCOL, GATEWAY_V4, GATEWAY_V6, ROUTE_PROTOCOL
from tortie.dataplane.l3 import gate, responder
from tortie.dataplane.l3.foreign import delete_address
from tortie.dataplane.l3.originals import RECORD, recorded
from tortie.errors import Gone, KernelError
from tortie.kernel import sysctl
from tortie.kernel.bpf import pin
from tortie.kernel.netlink import address, link, neighbour, route
from tortie.kernel.netlink.address import Address
from tortie.kernel.netlink.neighbour import Neighbour
from tortie.kernel.netlink.route import SCOPE_HOST, Route
from tortie.kernel.netlink.socket import NetlinkSocket

_OURS = (ROUTE_PROTOCOL, ELEVATED_ROUTE_PROTOCOL)
_ADDRESS_GENERATION = re.compile(r"ipv6/conf/(.+)/addr_gen_mode")
# Writing them writes others, so they are restored first.
_FIRST = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")


class Routing:
    """Routes, neighbours, addresses and responders in the network namespace of the calling thread."""

    def __init__(self, sock: NetlinkSocket, families: Iterable[int]) -> None:
        self._socket = sock
        self._families = tuple(families)
        self._names = {each.ifindex: each.name for each in link.dump(sock)}

    def routes(self) -> dict[str, Route]:
        rows = (row for family in self._families for ours in _OURS for row in route.dump(self._socket, family, 0, ours))
        return {
            self._words(row, f"{ip_address(row.destination)}/{row.prefix_length} table {row.table}"): row
            for row in rows
        }

    def remove_routes(self) -> None:
        _raise_first(route.delete(self._socket, self.routes().values()))

    def neighbours(self) -> dict[str, Neighbour]:
        rows = neighbour.dump(self._socket, protocol=ROUTE_PROTOCOL)
        return {self._words(row, f"{ip_address(row.address)} lladdr {row.mac}"): row for row in rows}

    def remove_neighbours(self) -> None:
        _raise_first(neighbour.delete(self._socket, self.neighbours().values()))

    def addresses(self) -> dict[str, Address]:
        marked = address.stores_protocol()
        rows = address.dump(self._socket)
        # Where the kernel keeps no mark: nobody else puts the gateway's address on an interface with this scope.
        governed = {row.ifindex for row in rows if row.address == GATEWAY_V4.packed and row.scope == SCOPE_HOST}
        return {
            self._words(row, str(ip_address(row.address))): row
            for row in rows
            if row.address in (GATEWAY_V4.packed, GATEWAY_V6.packed)
            and (row.protocol == ROUTE_PROTOCOL if marked else row.ifindex in governed)
        }

    def remove_addresses(self) -> None:
        for row in self.addresses().values():
            delete_address(self._socket, row)

    def responders(self) -> dict[str, int]:
        return {
            f"{what} on {name}": ifindex
            for ifindex, name in self._names.items()
            for what, there in (
                ("responder", responder.is_attached(self._socket, ifindex)),
                ("gate", gate.hooks_closed(self._socket, ifindex)),
            )
            if there
        }

    def remove_responders(self) -> None:
        for ifindex in self.responders().values():
            gate.open_up(self._socket, ifindex)
            responder.detach(self._socket, ifindex)

    def workloads(self) -> list[str]:
        """The interfaces that a workload is reached by now."""
        carriers = {row.ifindex for row in self.routes().values()} | {row.ifindex for row in self.addresses().values()}
        return sorted(map(self._name, carriers))

    def _words(self, row: Route | Neighbour | Address, what: str) -> str:
        return f"{what} dev {self._name(row.ifindex)} proto {row.protocol}"

    def _name(self, ifindex: int) -> str:
        return self._names.get(ifindex, f"interface {ifindex}")


def pins(bpffs: Path) -> list[str]:
    return [str(each) for each in responder.pins(bpffs)]


def remove_pins(bpffs: Path) -> None:
    for each in responder.pins(bpffs):
        if each.is_dir():
            each.rmdir()
        else:
            pin.unpin(str(each))


def sysctls(state_dir: Path) -> dict[str, tuple[str, str]]:
    """Settings that are not what they were before ours: as they are, and as they were."""
    found = {}
    for path, original in recorded(state_dir / RECORD).items():
        value = _read(path)
        if value not in ("", original):
            found[path] = (value, original)
    return {path: found[path] for path in sorted(found, key=lambda path: (path not in _FIRST, path))}


def restore_sysctls(sock: NetlinkSocket, state_dir: Path) -> None:
    for host_wide in (True, False):
        for path, (_, original) in sysctls(state_dir).items():
            if (path in _FIRST) == host_wide:
                _restore(sock, path, original)


def _restore(sock: NetlinkSocket, path: str, original: str) -> None:
    interface = _ADDRESS_GENERATION.fullmatch(path)
    if interface is None:
        sysctl.write(path, original)
    else:
        # By the sysctl the kernel would make the link-local address at once (net/ipv6/addrconf.c).
        link.change(sock, link.get(sock, interface[1]).ifindex, addr_gen_mode=int(original))


def _read(path: str) -> str:
    """Empty where there is no such setting any more."""
    try:
        return sysctl.read(path)
    except Gone:
        return ""


def _raise_first(failed: dict[Route, KernelError] | dict[Neighbour, KernelError]) -> None:
    for error in failed.values():
        raise error
