"""What the kernel holds, as far as routing workloads needs it: links, the host's addresses, router advertisements.

Fed by a full read (`resync`) and then by events; an event's meaning for the rows comes out as a `Change`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple

from tortie.conventions import GATEWAY_V4, GATEWAY_V6, ROUTE_PROTOCOL
from tortie.dataplane.l3.governed import Governed
from tortie.dataplane.l3.held import HeldAddresses
from tortie.dataplane.l3.render import route_metric
from tortie.dataplane.l3.rows import AddressKey, Kind, NeighbourKey, RouteKey, RouteTarget, RowKey
from tortie.errors import KernelError
from tortie.intent.interface import Interface
from tortie.intent.report import Noted
from tortie.kernel.netlink import address, link, route
from tortie.kernel.netlink.address import Address
from tortie.kernel.netlink.link import Link
from tortie.kernel.netlink.monitor import (
    AddressAdded,
    AddressDeleted,
    Event,
    LinkChanged,
    LinkGone,
    NeighbourChanged,
    NeighbourDeleted,
    RouteAdded,
    RouteDeleted,
    RuleChanged,
)
from tortie.kernel.netlink.neighbour import STATE_PERMANENT, Neighbour
from tortie.kernel.netlink.route import PROTOCOL_RA, SCOPE_HOST, TABLE_MAIN, Route
from tortie.kernel.netlink.socket import NetlinkSocket


class Change(NamedTuple):
    """What one event means."""

    links: tuple[str, ...] = ()  # interfaces by name, whose rows must be rendered again
    lost: tuple[tuple[str, Kind], ...] = ()  # interface and table whose rows vanished without an event for each
    rows: tuple[tuple[RowKey, Any], ...] = ()  # rows of ours as they are now, None: not there
    freed: tuple[RowKey, ...] = ()  # something foreign came or went where a row of ours belongs
    host: bool = False  # the host's own rows must be rendered again
    lookups: bool = False  # the kernel may find its way to any address otherwise than before


class Judged(NamedTuple):
    """Interfaces that are meant for workloads, by name, with what is to be said of them."""

    own: dict[str, str]  # they are the host's own
    kept: dict[str, str]  # they are governed, and somebody took them for the host later


_NOTHING = Change()

# Rows that go with their link; the responder's maps are ours to clean.
_ON_THE_LINK = (Kind.SYSCTL, Kind.MAC, Kind.ADDRESS, Kind.FILTER, Kind.NEIGHBOUR, Kind.ROUTE)


class Facts:
    """The kernel's links and the host's addresses; `ipv6` says whether this kernel runs IPv6 at all."""

    def __init__(self, sock: NetlinkSocket, ipv6: bool, governed: Governed) -> None:
        self.ipv6 = ipv6
        self.held = HeldAddresses()
        self.ra_uplinks: set[int] = set()  # interfaces whose IPv6 default route came by router advertisement
        self._socket = sock
        self._links: dict[int, Link] = {}
        self._ungoverned: set[int] = set()  # of the links
        self._index_of: dict[str, int] = {}
        self._addresses: dict[int, dict[tuple[bytes, int], Address]] = {}  # by address and prefix length
        self._read = False
        self.changes = 0  # so many times something became of a link or an address
        self._fit = governed
        self._stirred: set[int] = set()  # interfaces of which something changed since the last `judge`
        self._kept: dict[int, str] = {}  # governed ones that somebody took for the host later, each with how
        self._news: set[str] = set()  # names of interfaces of which something became since the last `news`

    def link(self, name: str) -> Link | None:
        """None also before the first whole read: an event alone does not say whether a link is a workload's."""
        if not self._read:
            return None
        return self._links.get(self._index_of.get(name, 0))

    @property
    def known(self) -> bool:
        """A whole read is done."""
        return self._read

    def name(self, ifindex: int) -> str:
        known = self._links.get(ifindex)
        return known.name if known is not None else f"interface {ifindex}"

    def names(self) -> Iterable[str]:
        return self._index_of.keys()

    def links(self) -> Iterable[Link]:
        return self._links.values()

    def judge(self, is_meant: Callable[[str], bool]) -> Judged:
        """Judges the interfaces that are meant for workloads, by their names, each with what is to be said of it.

        One that cannot be judged is not among the host's own: it stays closed.
        """
        unsure = [self._links[ifindex] for ifindex in self._ungoverned]
        own = {known.name: reason for known in unsure if is_meant(known.name) and (reason := self._own(known))}
        self._fit.save()
        for ifindex in self._stirred:
            known = self._links.get(ifindex)
            if known is not None and ifindex in self._fit and (reason := self._taken(known)):
                self._kept[ifindex] = reason
            else:
                self._kept.pop(ifindex, None)
        self._stirred.clear()
        kept = {self.name(ifindex): reason for ifindex, reason in self._kept.items()}
        return Judged(own, {name: reason for name, reason in kept.items() if is_meant(name)})

    @property
    def problem(self) -> Noted | None:
        """What hinders the memory of the judgements."""
        return self._fit.problem

    def holders(self, held: IPv4Address | IPv6Address) -> list[Link]:
        """The interfaces that hold the address."""
        return [self._links[index] for index in self.held.interfaces(held) if index in self._links]

    def news(self) -> dict[str, Interface | None]:
        """The interfaces that came, changed or went (None) since the last call, by name."""
        names, self._news = self._news, set()
        return {name: self._interface(name) for name in names}

    def _interface(self, name: str) -> Interface | None:
        ifindex = self._index_of.get(name)
        if ifindex is None:
            return None
        addresses = frozenset(ip_address(packed) for packed, _ in self._addresses.get(ifindex, ()))
        return Interface(ifindex, addresses, ifindex in self._fit)

    def carriers(self) -> Iterable[int]:
        """Interfaces of the kinds that carry workloads."""
        return [known.ifindex for known in self._links.values() if known.kind in ("veth", "tun")]

    def unfit(self, candidate: Link) -> str:
        """Why the interface is not a workload's; empty when it is, or is governed already.

        A fit interface is not judged again: a foreign address or master that comes later is the operator's doing,
        and must not cut off a workload. An unfit one is judged at every question.
        """
        try:
            reason = self._unfit(candidate)
        except KernelError as error:
            return f"interface {candidate.name} could not be judged: {error}"
        self._fit.save()
        return reason

    def _unfit(self, candidate: Link) -> str:
        if candidate.ifindex in self._fit:
            return ""
        reason = "" if self._governed(candidate) else self._judge(candidate)
        if not reason:
            self._fit.add(candidate.ifindex)
            self._ungoverned.discard(candidate.ifindex)
            self._news.add(candidate.name)
        return reason

    def resync(self) -> Iterator[None]:
        """Reads everything again, one kind a step; raises KernelError with the old facts of that kind kept.

        Events may be observed between the steps: each step takes over what it read before it ends. Links come last,
        since they are judged by their addresses.
        """
        addresses = address.dump(self._socket)
        self._addresses.clear()
        self.held.clear()
        for found in addresses:
            self._hold(found)
        yield
        advertised: list[Route] = []
        if self.ipv6:
            advertised = route.dump(self._socket, socket.AF_INET6, protocol=PROTOCOL_RA)
        self.ra_uplinks = {found.ifindex for found in advertised if found.prefix_length == 0}
        yield
        links = link.dump(self._socket)
        self._news.update(self._index_of)
        self._links = {known.ifindex: known for known in links}
        self._index_of = {known.name: known.ifindex for known in links}
        self._fit.keep(self._links.keys())
        self._ungoverned = self._links.keys() - self._fit.indexes
        self._stirred.update(self._links, self._kept)
        self._news.update(self._index_of)
        self._read = True
        self.changes += 1

    def observe(self, event: Event) -> Change:
        self.changes += isinstance(event, LinkChanged | LinkGone | AddressAdded | AddressDeleted)
        match event:
            case LinkChanged(changed):
                return self._link_changed(changed)
            case LinkGone(gone):
                return self._link_gone(gone)
            case AddressAdded(added):
                return self._address_changed(added, there=True)
            case AddressDeleted(deleted):
                return self._address_changed(deleted, there=False)
            case RuleChanged():
                return Change(lookups=True)
            case RouteAdded(added, replaced):
                return self._route_changed(added, there=True, replaced=replaced)
            case RouteDeleted(deleted):
                return self._route_changed(deleted, there=False, replaced=False)
            case NeighbourChanged(entry):
                return _neighbour_changed(entry, there=True)
            case NeighbourDeleted(entry):
                return _neighbour_changed(entry, there=False)
            case _:
                return _NOTHING

    def _link_changed(self, now: Link) -> Change:
        before = self._links.get(now.ifindex)
        self._links[now.ifindex] = now
        if now.ifindex not in self._fit:
            self._ungoverned.add(now.ifindex)
        self._stirred.add(now.ifindex)
        if before is not None and before.name != now.name and self._index_of.get(before.name) == now.ifindex:
            del self._index_of[before.name]
        self._index_of[now.name] = now.ifindex
        if before == now:
            return _NOTHING
        names = {now.name} if before is None else {before.name, now.name}
        self._news |= names
        # Setting a link down takes its IPv4 routes without an event for each.
        lost = ((now.name, Kind.ROUTE),) if before is not None and before.up and not now.up else ()
        return Change(links=tuple(names), lost=lost, rows=((RowKey(Kind.MAC, now.ifindex), now.mac),))

    def _link_gone(self, gone: Link) -> Change:
        self._links.pop(gone.ifindex, None)
        self._ungoverned.discard(gone.ifindex)
        self._stirred.add(gone.ifindex)
        self._news.add(gone.name)
        self._fit.discard(gone.ifindex)
        if self._index_of.get(gone.name) == gone.ifindex:
            del self._index_of[gone.name]
        values = [ip_address(packed) for packed, _ in self._addresses.pop(gone.ifindex, {})]
        before = [self.held.row(value) for value in values]
        for value in values:
            self.held.gone(gone.ifindex, value)
        lost = tuple((gone.name, kind) for kind in _ON_THE_LINK)
        was_uplink = gone.ifindex in self.ra_uplinks
        self.ra_uplinks.discard(gone.ifindex)
        host = was_uplink or before != [self.held.row(value) for value in values]
        return Change(links=(gone.name,), lost=lost, host=host)

    def _address_changed(self, changed: Address, there: bool) -> Change:
        value = ip_address(changed.address)
        self._stirred.add(changed.ifindex)
        before = self.held.row(value)
        if there:
            self._hold(changed)
        else:
            self.held.gone(changed.ifindex, value)
            self._addresses.get(changed.ifindex, {}).pop((changed.address, changed.prefix_length), None)
        rows: tuple[tuple[RowKey, Any], ...] = ()
        if value in (GATEWAY_V4, GATEWAY_V6):
            key = RowKey(Kind.ADDRESS, AddressKey(changed.ifindex, value, changed.prefix_length))
            rows = ((key, True if there else None),)
        name = self.name(changed.ifindex)
        self._news.add(name)
        # With its last IPv4 address an interface loses its IPv4 routes, without an event for each
        # (net/ipv4/fib_frontend.c, fib_inetaddr_event).
        lost = ((name, Kind.ROUTE),) if not there and not self._has_v4(changed.ifindex) else ()
        return Change(
            links=() if changed.ifindex in self._fit else (name,),
            lost=lost,
            rows=rows,
            host=self.held.row(value) != before,
        )

    def _route_changed(self, changed: Route, there: bool, replaced: bool) -> Change:
        if changed.table != TABLE_MAIN:
            return _NOTHING
        if changed.prefix_length == 0 and changed.protocol == PROTOCOL_RA:
            (self.ra_uplinks.add if there else self.ra_uplinks.discard)(changed.ifindex)
            return Change(host=True)
        if changed.prefix_length != 8 * len(changed.destination):
            return _NOTHING
        key = RowKey(Kind.ROUTE, RouteKey(changed.destination, changed.metric))
        if changed.protocol == ROUTE_PROTOCOL:
            return Change(rows=((key, RouteTarget(changed.ifindex, ROUTE_PROTOCOL) if there else None),))
        ours = RowKey(Kind.ROUTE, RouteKey(changed.destination, route_metric(ip_address(changed.destination))))
        return Change(rows=((key, None),) if replaced else (), freed=(ours,))

    def _hold(self, found: Address) -> None:
        self._addresses.setdefault(found.ifindex, {})[found.address, found.prefix_length] = found
        self.held.added(found.ifindex, ip_address(found.address))

    def _has_v4(self, ifindex: int) -> bool:
        return any(len(packed) == 4 for packed, _ in self._addresses.get(ifindex, {}))

    def _own(self, candidate: Link) -> str:
        try:
            return self._unfit(candidate)
        except KernelError:
            return ""

    def _governed(self, candidate: Link) -> bool:
        """An agent before this one governed it, and could not say so: our gateway address stands on it."""
        return any(map(_is_our_gateway, self._addresses.get(candidate.ifindex, {}).values()))

    def _judge(self, candidate: Link) -> str:
        name = candidate.name
        if candidate.loopback:
            return f"interface {name} is the loopback: it cannot be a workload's"
        if candidate.master:
            return f"interface {name} belongs to {self.name(candidate.master)}: take it out of there first"
        if (value := self._foreign_address(candidate)) is not None:
            return f"interface {name} carries the host's address {value}: it is left alone"
        for family in (socket.AF_INET, socket.AF_INET6) if self.ipv6 else (socket.AF_INET,):
            rows = route.dump(self._socket, family, ifindex=candidate.ifindex)
            if any(row.prefix_length == 0 for row in rows):
                return f"interface {name} carries a default route of the host: it is left alone"
        return ""

    def _taken(self, governed: Link) -> str:
        """What of a governed interface somebody took for the host since."""
        if governed.master:
            what = f"belongs to {self.name(governed.master)}"
        elif (value := self._foreign_address(governed)) is not None:
            what = f"carries the host's address {value}"
        else:
            return ""
        return f"it {what}, since it is governed: that opens nothing, and is left as it is"

    def _foreign_address(self, candidate: Link) -> IPv4Address | IPv6Address | None:
        for found in self._addresses.get(candidate.ifindex, {}).values():
            value = ip_address(found.address)
            if not (_is_our_gateway(found) or (value.version == 6 and value.is_link_local)):
                return value
        return None


def _is_our_gateway(found: Address) -> bool:
    return found.address == GATEWAY_V4.packed and found.scope == SCOPE_HOST


def _neighbour_changed(entry: Neighbour, there: bool) -> Change:
    key = RowKey(Kind.NEIGHBOUR, NeighbourKey(entry.ifindex, ip_address(entry.address)))
    ours = there and entry.state & STATE_PERMANENT and entry.protocol == ROUTE_PROTOCOL
    return Change(rows=((key, entry.mac if ours else None),))
