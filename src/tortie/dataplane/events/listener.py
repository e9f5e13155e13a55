"""Listens to what the rules tell of, and keeps it as events.

Invariants:
* A wake-up costs some milliseconds at most, and memory is bounded by the ring, whatever is sent at us.
* What is not told is counted: packets that the kernel could not hand over, and those beyond an endpoint's ration.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import ip_address

import msgspec

from tortie.conventions import DROP_GROUP, LOG_GROUP
from tortie.dataplane.events.naming import Namer
from tortie.dataplane.events.ration import Ration
from tortie.dataplane.events.ring import Ring
from tortie.dataplane.events.wire import parse
from tortie.errors import Gone
from tortie.intent.bulk import BulkJudge
from tortie.intent.indexed import IndexedState
from tortie.intent.policy import Address
from tortie.kernel.netfilter.nflog import LogSocket, Lost
from tortie.kernel.netfilter.nflog import Packet as Told
from tortie.kernel.netlink import address, link
from tortie.kernel.netlink.socket import NetlinkSocket

# The kernel hands over up to 32 packets a datagram, each some tens of microseconds of work.
DATAGRAMS_PER_WAKE_UP = 4
# As much as the rules copy: long chains of IPv6 headers fit.
SNAP_BYTES = 256


class Listener:
    """Both groups in the network namespace in which `open_group` opens its sockets."""

    def __init__(
        self,
        state: IndexedState,
        judge: BulkJudge,
        netlink: NetlinkSocket,
        open_group: Callable[[int, int], LogSocket] = LogSocket,
    ) -> None:
        self._namer = Namer(state, judge, self._held)
        self._netlink = netlink
        self._ration = Ration()
        self._drops = open_group(DROP_GROUP, SNAP_BYTES)
        try:
            self._logs = open_group(LOG_GROUP, SNAP_BYTES)
        except BaseException:
            self._drops.close()
            raise
        self.ring = Ring()
        self.lost = 0  # packets that the kernel could not hand over
        self.untold = 0  # packets beyond a ration

    def close(self) -> None:
        self._drops.close()
        self._logs.close()

    def filenos(self) -> tuple[int, int]:
        """`read` when one of them is readable."""
        return self._drops.fileno(), self._logs.fileno()

    def read(self, now: float) -> int:
        """Takes in some of what is there; how many events that made. `now` is for the rations."""
        before = self.ring.number
        for sock in (self._drops, self._logs):
            for told in sock.read(DATAGRAMS_PER_WAKE_UP):
                if isinstance(told, Lost):
                    self.lost += told.packets
                else:
                    self._take(told, now, is_drop=sock is self._drops)
        return self.ring.number - before

    def _take(self, told: Told, now: float, *, is_drop: bool) -> None:
        interface, out_interface = self._name(told.in_ifindex), self._name(told.out_ifindex)
        packet = parse(told.payload, interface, told.source_mac)
        untold = self._ration.take(self._namer.subject(packet, interface, out_interface), now)
        if untold is None:
            self.untold += 1
            return
        time_s = told.time_s or time.time()
        if is_drop:
            event = self._namer.drop(time_s, told.prefix, packet, interface, out_interface)
        else:
            event = self._namer.log(time_s, packet, interface, out_interface)
        self.ring.add(msgspec.structs.replace(event, untold=untold))

    def _held(self, interface: str) -> frozenset[Address]:
        """The host's addresses there; none when it is gone."""
        try:
            ifindex = link.get(self._netlink, interface).ifindex
        except Gone:
            return frozenset()
        return frozenset(ip_address(each.address) for each in address.dump(self._netlink, ifindex=ifindex))

    def _name(self, ifindex: int) -> str:
        """Empty for none; of an interface that is gone, its index. It may have another name than it had just now."""
        if not ifindex:
            return ""
        try:
            return link.get_by_index(self._netlink, ifindex).name
        except Gone:
            return f"interface {ifindex}"
