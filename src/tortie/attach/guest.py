"""The guest side of a veth, found again and put back as `attach` gave it, after it was set down and up.

With its end going down a workload loses its routes, the gateway's neighbour entry and its IPv6 addresses, and nobody in
there knows how to make them again. Blocking calls: run them in a thread.

Invariants:
* Only an end that lacks its gateway's neighbour entry has been down; of any other nothing is touched, whatever it
  lacks, since that was the workload's own doing. The entry is written last, so what a crash cuts short is done again.
* What somebody put there meanwhile stays: another default route, another entry for the gateway.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress

from tortie.attach.veth import Address, default_route, gateway_entry, is_pair, on_link
from tortie.conventions import GATEWAY_V4, GATEWAY_V6, ROUTE_PROTOCOL
from tortie.errors import Exists, Gone, Refused
from tortie.kernel import netns
from tortie.kernel.netlink import address, link, namespace, neighbour, route
from tortie.kernel.netlink.link import Link
from tortie.kernel.netlink.neighbour import STATE_PERMANENT
from tortie.kernel.netlink.socket import NetlinkSocket


class GuestSides:
    """Those of the workloads of the caller's network namespace; for one thread at a time."""

    def __init__(self) -> None:
        # By the number that the host has for them, as found last: a host has hundreds, and looks through all of them.
        self._paths: dict[int, str] = {}

    def restore(self, interface: str, addresses: Collection[Address]) -> tuple[str, ...]:
        """Puts back what is missing behind this host end, and returns it in words.

        `Gone` when there is no such interface, or its namespace has no path any more by which it could be entered.
        """
        with NetlinkSocket() as host:
            outer = link.get(host, interface)
            if outer.peer_netns_id is None:
                raise Gone(f"its other end is no longer in a namespace of its own: attach the workload of {interface}")
            with self._enter(host, outer.peer_netns_id) as guest:
                end = link.get_by_index(guest, outer.peer_index)
                if not (end.up and is_pair(outer, end)):
                    return ()
                return tuple(_restore(guest, end, addresses))

    def _enter(self, host: NetlinkSocket, number: int) -> NetlinkSocket:
        """A socket in a namespace, whatever name it goes by now, or went by when it was attached."""
        found = self._open(host, number)
        if found is None:
            self._paths = dict(namespace.numbered(host))
            found = self._open(host, number)
        if found is None:
            raise Gone(
                f"its network namespace cannot be entered: no process is seen in it, and no name in {netns.NAMED}"
            )
        return found

    def _open(self, host: NetlinkSocket, number: int) -> NetlinkSocket | None:
        path = self._paths.get(number)
        if path is None:
            return None
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            # The path may be another namespace's by now.
            if namespace.number(host, descriptor) != number:
                return None
            return NetlinkSocket.open_in(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)


def _restore(guest: NetlinkSocket, end: Link, addresses: Collection[Address]) -> Iterator[str]:
    entries = {found.address: found for found in neighbour.dump(guest, ifindex=end.ifindex)}
    for gateway in (GATEWAY_V4, GATEWAY_V6):
        own = [each for each in addresses if each.version == gateway.version]
        there = entries.get(gateway.packed)
        if not own or (there is not None and there.state & STATE_PERMANENT):
            continue
        if gateway.version == 6:
            # Those of IPv4 stay where they are.
            try:
                yield from _restore_addresses(guest, end, own)
            except Refused:
                continue  # the workload turned IPv6 off
        wanted = on_link(end.ifindex, gateway)
        if not _has_default(guest, gateway):
            wanted.append(default_route(end.ifindex, gateway))
        refused = route.add(guest, wanted)
        for error in refused.values():
            if not isinstance(error, Exists):
                raise error
        for row in wanted:
            if row not in refused:
                yield f"IPv{gateway.version} default route" if row.prefix_length == 0 else f"route {gateway}"
        for error in neighbour.replace(guest, [gateway_entry(end.ifindex, gateway)]).values():
            raise error
        yield f"neighbour {gateway}"


def _restore_addresses(guest: NetlinkSocket, end: Link, addresses: Collection[Address]) -> Iterator[str]:
    for each in addresses:
        row = address.Address(
            end.ifindex, each.packed, each.max_prefixlen, flags=address.FLAG_NODAD, protocol=ROUTE_PROTOCOL
        )
        with suppress(Exists):
            address.add(guest, row)
            yield f"address {each}"


def _has_default(guest: NetlinkSocket, gateway: Address) -> bool:
    family = default_route(0, gateway).family
    return any(found.prefix_length == 0 for found in route.dump(guest, family))
