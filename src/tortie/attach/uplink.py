"""Workloads have the MTU of the uplink, the interface with the node's address: given to them, and changed with it."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from tortie.errors import Gone, KernelError
from tortie.kernel.netlink import link, namespace
from tortie.kernel.netlink.socket import NetlinkSocket


def fit_tap(name: str, mtu: int, *, exactly: bool) -> int:
    """Gives the host end of a TAP the MTU, and returns the one before; unless `exactly`, only if that was larger.

    The guest's side is its hypervisor's: raised unasked, the host would send what the guest cannot take. A TAP that
    is not there yet, 0 before, gets its MTU from whoever makes it.
    """
    with NetlinkSocket() as sock:
        try:
            found = link.get(sock, name)
        except Gone:
            return 0
        if mtu and (mtu < found.mtu or (exactly and mtu != found.mtu)):
            link.change(sock, found.ifindex, mtu=mtu)
        return found.mtu


def follow(interfaces: Collection[str], before: int, now: int) -> list[str]:
    """Gives workloads the MTU that the uplink has now, if they had that of `before` or cannot send as much as they may.

    Returns the veths whose guest is not found: both ends of a veth are changed, or none, since what is larger than the
    other end's MTU is dropped without a word. A TAP is only lowered. Blocking.
    """
    with NetlinkSocket() as host:
        due = [
            each
            for each in link.dump(host)
            if each.name in interfaces and (each.mtu > now or (each.mtu == before != now and each.kind == "veth"))
        ]
        away = {each.ifindex: each for each in due if each.kind == "veth" and each.peer_netns_id is not None}
        for each in due:
            if each.ifindex not in away:
                _change(host, each.ifindex, now)
        for number, path in namespace.numbered(host) if away else ():
            with suppress(KernelError):  # it ended meanwhile
                for each in [each for each in away.values() if each.peer_netns_id == number]:
                    with NetlinkSocket.open_in(path) as guest:
                        _change(guest, each.peer_index, now)
                    _change(host, each.ifindex, now)
                    del away[each.ifindex]
            if not away:
                break
        return [each.name for each in away.values()]


def _change(sock: NetlinkSocket, ifindex: int, mtu: int) -> None:
    try:
        link.change(sock, ifindex, mtu=mtu)
    except Gone:
        return
