"""The kernel's tables behind `Table`: read, put, delete, and which rows are ours.

Ownership, so that a fresh agent with another datastore knows its own: routes and neighbours by protocol number,
addresses by IFA_PROTO where the kernel keeps it and by their value everywhere (nobody else needs a link-scope
gateway), MACs and sysctls by the interface. The responder's tables are in `responder`.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping
from ipaddress import ip_address
from itertools import starmap

from tortie.conventions import GATEWAY_V4, GATEWAY_V6, ROUTE_PROTOCOL
from tortie.dataplane.l3.foreign import delete_address
from tortie.dataplane.l3.originals import Originals
from tortie.dataplane.l3.rows import Address, AddressKey, NeighbourKey, RouteKey, RouteTarget
from tortie.errors import Exists, Gone, KernelError, TortieError
from tortie.kernel import sysctl
from tortie.kernel.netlink import address, fib, link, neighbour, route, rule
from tortie.kernel.netlink.neighbour import STATE_PERMANENT, Neighbour
from tortie.kernel.netlink.route import SCOPE_HOST, SCOPE_LINK, TABLE_MAIN, Route
from tortie.kernel.netlink.socket import NetlinkSocket

_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


def lookup(sock: NetlinkSocket, target: Address) -> RouteTarget | str:
    """The route by which the kernel reaches an address, when it is a row of the main table for just that address.

    Else why it does not, as far as its rules tell.
    """
    found = fib.lookup(sock, target.packed)
    if found is not None and found.prefix_length == 8 * len(found.destination) and found.table == TABLE_MAIN:
        return RouteTarget(found.ifindex, found.protocol)
    for each in rule.dump(sock, _FAMILY[target.version]):
        # Either the rule names the table where the answer came from, or it is one that gives none.
        table = found.table if found is not None else 0
        if each.foreign and each.table == table and each.meets(target.packed):
            return f"rule `{each}` of `ip rule` comes before the main table: delete it, or narrow it"
    return "look at `ip rule` and the main table"


class RouteTable:
    """Single-address routes of our protocol in the main table."""

    def __init__(self, sock: NetlinkSocket, ipv6: bool) -> None:
        self._socket = sock
        self._families = (socket.AF_INET, socket.AF_INET6) if ipv6 else (socket.AF_INET,)

    def read(self, wanted: Collection[RouteKey]) -> Mapping[RouteKey, RouteTarget]:
        rows: dict[RouteKey, RouteTarget] = {}
        for family in self._families:
            for found in route.dump(self._socket, family, protocol=ROUTE_PROTOCOL):
                if found.prefix_length == 8 * len(found.destination):
                    key = RouteKey(found.destination, found.metric)
                    rows[key] = RouteTarget(found.ifindex, found.protocol)
        return rows

    def put(self, rows: Mapping[RouteKey, RouteTarget]) -> Mapping[RouteKey, TortieError]:
        """Creates exclusively; a key that is taken is looked at, and only a row of ours makes way."""
        failed = self._add(rows)
        taken = [key for key, error in failed.items() if isinstance(error, Exists)]
        if not taken:
            return failed
        there = self.read(taken)
        for key in taken:
            if there.get(key) == rows[key]:
                del failed[key]
            elif key not in there:
                failed[key] = Exists("a route of somebody else has this key: delete it, and ours follows")
        ours = {key: rows[key] for key in taken if key in failed and key in there}
        if ours:
            self.delete(ours)
            again = self._add(ours)
            failed = {key: error for key, error in failed.items() if key not in ours} | again
        return failed

    def delete(self, keys: Collection[RouteKey]) -> Mapping[RouteKey, TortieError]:
        target = RouteTarget(0, ROUTE_PROTOCOL)
        return _by_key(route.delete(self._socket, (_route(key, target) for key in keys)))

    def _add(self, rows: Mapping[RouteKey, RouteTarget]) -> dict[RouteKey, TortieError]:
        return _by_key(route.add(self._socket, starmap(_route, rows.items())))


class NeighbourTable:
    """Permanent neighbour entries of our protocol."""

    def __init__(self, sock: NetlinkSocket) -> None:
        self._socket = sock

    def read(self, wanted: Collection[NeighbourKey]) -> Mapping[NeighbourKey, str]:
        return {
            NeighbourKey(found.ifindex, ip_address(found.address)): found.mac
            for found in neighbour.dump(self._socket, protocol=ROUTE_PROTOCOL)
            if found.state & STATE_PERMANENT
        }

    def put(self, rows: Mapping[NeighbourKey, str]) -> Mapping[NeighbourKey, TortieError]:
        """What traffic or an agent before us left under the key is replaced; an entry that somebody made is not."""
        entries = {_neighbour(key, mac): key for key, mac in rows.items()}
        failed: dict[NeighbourKey, TortieError] = {}
        replaceable: list[Neighbour] = []
        for entry, error in neighbour.add(self._socket, entries).items():
            if not isinstance(error, Exists):
                failed[entries[entry]] = error
            elif self._made_by_somebody(entry):
                reason = "a permanent neighbour entry of somebody else stands there: delete it, and ours follows"
                failed[entries[entry]] = Exists(reason)
            else:
                replaceable.append(entry)
        for entry, error in neighbour.replace(self._socket, replaceable).items():
            failed[entries[entry]] = error
        return failed

    def delete(self, keys: Collection[NeighbourKey]) -> Mapping[NeighbourKey, TortieError]:
        entries = {_neighbour(key, ""): key for key in keys}
        return {entries[entry]: error for entry, error in neighbour.delete(self._socket, entries).items()}

    def _made_by_somebody(self, entry: Neighbour) -> bool:
        for found in neighbour.dump(self._socket, entry.family, entry.ifindex):
            if found.address == entry.address:
                return bool(found.state & STATE_PERMANENT) and found.protocol != ROUTE_PROTOCOL
        return False


class AddressTable:
    """The gateway addresses on the host ends."""

    def __init__(self, sock: NetlinkSocket) -> None:
        self._socket = sock
        self._marked = address.stores_protocol()

    def read(self, wanted: Collection[AddressKey]) -> Mapping[AddressKey, bool]:
        """Ours by mark or, wanted and standing, by value: whoever put it there, it serves."""
        rows: dict[AddressKey, bool] = {}
        for found in address.dump(self._socket):
            key = AddressKey(found.ifindex, ip_address(found.address), found.prefix_length)
            if key.address in (GATEWAY_V4, GATEWAY_V6) and (found.protocol == ROUTE_PROTOCOL or key in wanted):
                rows[key] = True
        return rows

    def put(self, rows: Mapping[AddressKey, bool]) -> Mapping[AddressKey, TortieError]:
        failed: dict[AddressKey, TortieError] = {}
        for key in rows:
            try:
                address.add(self._socket, _address(key))
            except Exists:
                continue
            except KernelError as error:
                failed[key] = error
        return failed

    def delete(self, keys: Collection[AddressKey]) -> Mapping[AddressKey, TortieError]:
        failed: dict[AddressKey, TortieError] = {}
        for key in keys:
            try:
                if self._ours(key):
                    delete_address(self._socket, _address(key))
            except KernelError as error:
                failed[key] = error
        return failed

    def _ours(self, key: AddressKey) -> bool:
        if not self._marked:
            return True
        packed = key.address.packed
        there = address.dump(self._socket, ifindex=key.ifindex)
        return any(found.address == packed and found.protocol == ROUTE_PROTOCOL for found in there)


class MacTable:
    """The MAC of each governed host end; it stays when the interface is let go."""

    def __init__(self, sock: NetlinkSocket) -> None:
        self._socket = sock

    def read(self, wanted: Collection[int]) -> Mapping[int, str]:
        """Of these interfaces only: a list of all links takes longer than the event loop should be held."""
        rows: dict[int, str] = {}
        for ifindex in wanted:
            try:
                rows[ifindex] = link.get_by_index(self._socket, ifindex).mac
            except Gone:
                continue
        return rows

    def put(self, rows: Mapping[int, str]) -> Mapping[int, TortieError]:
        """Whoever made permanent neighbours there keeps them, though the kernel forgets them with the old MAC."""
        failed: dict[int, TortieError] = {}
        for ifindex, mac in rows.items():
            try:
                neighbours = neighbour.dump(self._socket, ifindex=ifindex)
                link.change(self._socket, ifindex, mac=mac)
                neighbour.add(self._socket, [found for found in neighbours if found.state & STATE_PERMANENT])
            except KernelError as error:
                failed[ifindex] = error
        return failed

    def delete(self, keys: Collection[int]) -> Mapping[int, TortieError]:
        return {}


_FORWARDING = "/forwarding"
_ALL_FORWARDING = f"ipv6/conf/all{_FORWARDING}"


class SysctlTable:
    """Settings below /proc/sys/net; the value before ours is recorded once, for `tortie node reset`."""

    def __init__(self, originals: Originals) -> None:
        self._originals = originals
        self._known: set[str] = set()  # that are ours to set

    def read(self, wanted: Collection[str]) -> Mapping[str, str]:
        rows: dict[str, str] = {}
        self._known |= set(wanted)
        for path in wanted:
            try:
                rows[path] = sysctl.read(path)
            except Gone:
                continue
        return rows

    def put(self, rows: Mapping[str, str]) -> Mapping[str, TortieError]:
        failed: dict[str, TortieError] = {}
        for path, value in rows.items():
            try:
                before = sysctl.read(path)
                if before != value:
                    for aside in sysctl.written_with(path):
                        self._originals.record(aside, sysctl.read(aside))
                    self._originals.record(path, before)
                    self._write(path, value)
                self._known.add(path)
            except KernelError as error:
                failed[path] = error
        return failed

    def _write(self, path: str, value: str) -> None:
        """Forwarding for all is set by the kernel for each interface as well, and ours stay as they were."""
        ours = [each for each in self._known if each.endswith(_FORWARDING)] if path == _ALL_FORWARDING else []
        before = self.read(ours)
        sysctl.write(path, value)
        for each in before.keys() - {path}:
            sysctl.write(each, before[each])

    def delete(self, keys: Collection[str]) -> Mapping[str, TortieError]:
        """A setting of an interface that was let go stays: nobody knows what the next user of it wants."""
        self._known -= set(keys)
        return {}


def _route(key: RouteKey, target: RouteTarget) -> Route:
    # By place, which takes half as long as by name: there are many.
    destination, metric = key.destination, key.metric
    ifindex, protocol = target
    if len(destination) == 4:
        return Route(socket.AF_INET, destination, 32, ifindex, None, metric, protocol, SCOPE_LINK)
    return Route(socket.AF_INET6, destination, 128, ifindex, None, metric, protocol)


def _by_key(failed: Mapping[Route, TortieError]) -> dict[RouteKey, TortieError]:
    return {RouteKey(each.destination, each.metric): error for each, error in failed.items()}


def _neighbour(key: NeighbourKey, mac: str) -> Neighbour:
    return Neighbour(key.ifindex, key.address.packed, mac, STATE_PERMANENT, ROUTE_PROTOCOL)


def _address(key: AddressKey) -> address.Address:
    # Scope host: with a wider one the host would use the gateway address as its own towards workloads (measured).
    return address.Address(
        key.ifindex,
        key.address.packed,
        key.prefix_length,
        scope=SCOPE_HOST if key.address.version == 4 else SCOPE_LINK,
        flags=address.FLAG_NODAD,
        protocol=ROUTE_PROTOCOL,
    )
