"""The veth of a workload: both ends, and the guest side's addresses, gateway and routes.

The guest's gateway is the same everywhere and its MAC a permanent neighbour, so the guest keeps working when it
moves, and its first packet waits for nobody. Blocking calls: run them in a thread.

Invariants:
* `plug` may be repeated: a pair that stands is completed or changed, not made again.
* A failure, and `Plugged.undo`, leave what was there before: no pair, or the pair with its former guest side. Only an
  interface of an earlier life, whose other end is not in this namespace, is gone for good.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from tortie.conventions import GATEWAY_V4, GATEWAY_V6, ROUTE_PROTOCOL, VETH_MAC
from tortie.errors import AttachError, Exists, Gone, KernelError
from tortie.kernel import netns, sysctl
from tortie.kernel.failure import mapped
from tortie.kernel.netlink import address, link, neighbour, route
from tortie.kernel.netlink.link import ADDR_GEN_NONE, Link, VethEnd
from tortie.kernel.netlink.neighbour import STATE_PERMANENT, Neighbour
from tortie.kernel.netlink.route import SCOPE_LINK, SCOPE_UNIVERSE, Route
from tortie.kernel.netlink.socket import NetlinkSocket

Address = IPv4Address | IPv6Address

OWN_NAMESPACE = "/proc/self/ns/net"


class Plugged(NamedTuple):
    """What `plug` left: the guest's MAC, what the guest should know, and the way back."""

    mac: str
    warnings: tuple[str, ...]
    undo: Callable[[], object]


class GuestSide(NamedTuple):
    """How the guest's end is set up. An empty MAC, an MTU of 0: as it is, or the kernel's choice for a new one."""

    addresses: tuple[Address, ...]
    mac: str
    mtu: int


def plug(interface: str, inner: str, netns_path: str, wanted: GuestSide) -> Plugged:
    """Makes the pair `interface` (here, the host end) and `inner` (in the namespace), and sets the guest side up."""
    if netns.identify(netns_path) == netns.identify(OWN_NAMESPACE):
        raise AttachError(f"network namespace {netns_path} is the host's own: give the workload one of its own")
    with NetlinkSocket() as host, NetlinkSocket.open_in(netns_path) as guest:
        if _stands(host, guest, interface, inner):
            undo = partial(_restore, interface, inner, netns_path, _read_guest_side(guest, inner))
        else:
            _make_pair(host, guest, interface, inner, netns_path, wanted)
            undo = partial(unplug, interface)
        try:
            warnings = _set_up(host, guest, interface, inner, netns_path, wanted)
            mac = link.get(guest, inner).mac
        except BaseException:
            undo()
            raise
    return Plugged(mac, warnings, undo)


def unplug(interface: str) -> None:
    """Removes the pair by its host end; one that is not there is no error."""
    with NetlinkSocket() as host:
        found = _find(host, interface)
        if found is not None:
            link.delete(host, found.ifindex)


def _restore(interface: str, inner: str, netns_path: str, before: GuestSide) -> None:
    with NetlinkSocket() as host, NetlinkSocket.open_in(netns_path) as guest:
        _set_up(host, guest, interface, inner, netns_path, before)


def _make_pair(
    host: NetlinkSocket, guest: NetlinkSocket, interface: str, inner: str, netns_path: str, wanted: GuestSide
) -> None:
    if _find(guest, inner) is not None:
        raise AttachError(f"network namespace {netns_path} has an interface {inner} already: detach its owner first")
    # The name is a hash of this workload's identity, so what has it is its interface of an earlier life.
    unplug(interface)
    with mapped(f"open network namespace {netns_path}"):
        descriptor = os.open(netns_path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        end, peer = VethEnd(interface, VETH_MAC, wanted.mtu), VethEnd(inner, wanted.mac, wanted.mtu, descriptor)
        link.create_veth(host, end, peer)
        made = link.get(host, interface)
        if made.ifindex == made.peer_index:
            # One index on both sides, by chance: then the kernel takes a carrier for no matter of urgency, and up to a
            # second of the first packets is lost (net/core/link_watch.c, linkwatch_urgent_event).
            link.delete(host, made.ifindex)
            link.create_veth(host, end._replace(ifindex=made.ifindex), peer._replace(ifindex=made.ifindex + 1))
            made = link.get(host, interface)
        if made.addr_gen_mode is not None:
            link.change(host, made.ifindex, addr_gen_mode=ADDR_GEN_NONE)
    except BaseException:
        # Also after a refused creation: its answer may have been lost, and the pair stand.
        unplug(interface)
        raise
    finally:
        os.close(descriptor)


def _stands(host: NetlinkSocket, guest: NetlinkSocket, interface: str, inner: str) -> bool:
    outer_end, inner_end = _find(host, interface), _find(guest, inner)
    return outer_end is not None and inner_end is not None and is_pair(outer_end, inner_end)


def _read_guest_side(guest: NetlinkSocket, inner: str) -> GuestSide:
    end = link.get(guest, inner)
    ours = (found for found in address.dump(guest, ifindex=end.ifindex) if found.protocol == ROUTE_PROTOCOL)
    return GuestSide(tuple(ip_address(found.address) for found in ours), end.mac, end.mtu)


def _set_up(
    host: NetlinkSocket, guest: NetlinkSocket, interface: str, inner: str, netns_path: str, wanted: GuestSide
) -> tuple[str, ...]:
    outer, end = link.get(host, interface), link.get(guest, inner)
    if wanted.mac and wanted.mac != end.mac:
        # Before the neighbours: the kernel forgets them with the old MAC.
        link.change(guest, end.ifindex, mac=wanted.mac)
    for sock, each in ((host, outer), (guest, end)):
        if wanted.mtu and wanted.mtu != each.mtu:
            link.change(sock, each.ifindex, mtu=wanted.mtu)
    warnings = _set_up_guest(guest, netns_path, end, wanted.addresses)
    # The host end comes up last: from now on the guest's packets arrive.
    link.change(host, outer.ifindex, up=True)
    return warnings


def _set_up_guest(guest: NetlinkSocket, netns_path: str, end: Link, addresses: Collection[Address]) -> tuple[str, ...]:
    versions = {each.version for each in addresses}
    if 6 in versions:
        # Container runtimes hand over namespaces with IPv6 off.
        netns.run_in(netns_path, lambda: sysctl.write(f"ipv6/conf/{end.name}/disable_ipv6", "0"))
    link.change(guest, end.ifindex, up=True)
    _set_addresses(guest, end.ifindex, addresses)
    warnings: list[str] = []
    for gateway in (GATEWAY_V4, GATEWAY_V6):
        entry = gateway_entry(end.ifindex, gateway)
        default = default_route(end.ifindex, gateway)
        if gateway.version not in versions:
            # Left from an earlier attachment with addresses of this family too.
            _raise_first(route.delete(guest, [default, *on_link(end.ifindex, gateway)]))
            _raise_first(neighbour.delete(guest, [entry]))
            continue
        _raise_first(neighbour.replace(guest, [entry]))
        _raise_first(_but_existing(route.add(guest, on_link(end.ifindex, gateway))))
        if _but_existing(refused := route.add(guest, [default])):
            _raise_first(refused)
        if refused and not _default_is_ours(guest, end.ifindex, gateway):
            warnings.append(f"the workload has another IPv{gateway.version} default route, which stays")
    return tuple(warnings)


def _set_addresses(guest: NetlinkSocket, ifindex: int, addresses: Collection[Address]) -> None:
    for wanted in addresses:
        row = address.Address(
            ifindex, wanted.packed, wanted.max_prefixlen, flags=address.FLAG_NODAD, protocol=ROUTE_PROTOCOL
        )
        try:
            address.add(guest, row)
        except Exists:
            continue
    keep = {wanted.packed for wanted in addresses}
    for found in address.dump(guest, ifindex=ifindex):
        # Left from an earlier attachment of the same workload with other addresses.
        if found.protocol == ROUTE_PROTOCOL and found.address not in keep:
            address.delete(guest, found)


def is_pair(outer: Link, inner: Link) -> bool:
    """Two links of different namespaces are the ends of one veth."""
    return outer.peer_index == inner.ifindex and inner.peer_index == outer.ifindex


def gateway_entry(ifindex: int, gateway: Address) -> Neighbour:
    """The gateway's MAC, which the guest need not ask for."""
    return Neighbour(ifindex, gateway.packed, VETH_MAC, STATE_PERMANENT, ROUTE_PROTOCOL)


def on_link(ifindex: int, gateway: Address) -> list[Route]:
    """What makes the gateway reachable: nothing for IPv6, whose link-local addresses are."""
    if gateway.version == 6:
        return []
    return [Route(socket.AF_INET, gateway.packed, 32, ifindex, protocol=ROUTE_PROTOCOL, scope=SCOPE_LINK)]


def default_route(ifindex: int, gateway: Address) -> Route:
    """The guest's way to everybody."""
    family = socket.AF_INET if gateway.version == 4 else socket.AF_INET6
    return Route(
        family,
        bytes(len(gateway.packed)),
        0,
        ifindex,
        gateway=gateway.packed,
        metric=0 if gateway.version == 4 else 1024,
        protocol=ROUTE_PROTOCOL,
        scope=SCOPE_UNIVERSE,
    )


def _default_is_ours(guest: NetlinkSocket, ifindex: int, gateway: Address) -> bool:
    family = socket.AF_INET if gateway.version == 4 else socket.AF_INET6
    rows = route.dump(guest, family, ifindex=ifindex)
    return any(row.prefix_length == 0 and row.gateway == gateway.packed for row in rows)


def _but_existing(failed: dict[Route, KernelError]) -> dict[Route, KernelError]:
    return {row: error for row, error in failed.items() if not isinstance(error, Exists)}


def _raise_first(failed: dict[Route, KernelError] | dict[Neighbour, KernelError]) -> None:
    for error in failed.values():
        raise error


def _find(sock: NetlinkSocket, name: str) -> Link | None:
    try:
        return link.get(sock, name)
    except Gone:
        return None
