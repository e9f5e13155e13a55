"""What iproute2 says, as the second opinion on everything that is written and read here."""

from __future__ import annotations

import json
import select
from collections.abc import Callable
from typing import Any

from tests.netns.conftest import Namespace
from tortie.kernel.netlink import link
from tortie.kernel.netlink.link import Link, VethEnd
from tortie.kernel.netlink.monitor import Monitor
from tortie.kernel.netlink.socket import NetlinkSocket


def ip(namespace: Namespace, arguments: str) -> list[dict[str, Any]]:
    """`ip -json` as a list of rows; older versions print nothing at all for no rows."""
    return [row for row in json.loads(namespace.run(f"ip -json -details {arguments}") or "[]") if row]


def veth(sock: NetlinkSocket, name: str = "host0", peer: str = "guest0") -> Link:
    """A veth pair within the namespace of `sock`, both ends up, without IPv6 addresses of the kernel's making."""
    link.create_veth(sock, VethEnd(name), VethEnd(peer))
    for end in (name, peer):
        link.change(sock, link.get(sock, end).ifindex, addr_gen_mode=link.ADDR_GEN_NONE)
        link.change(sock, link.get(sock, end).ifindex, up=True)
    return link.get(sock, name)


def wait_link(namespace: Namespace, name: str, wanted: Callable[[Link], bool]) -> None:
    """Waits until the link is as wanted. The kernel brings a carrier to effect at leisure, frames are lost before."""
    with namespace.call(Monitor) as monitor, namespace.netlink() as sock:
        while not wanted(link.get(sock, name)):
            readable, _, _ = select.select([monitor.fileno()], [], [], 5)
            assert readable, f"{link.get(sock, name)} does not change"
            monitor.read(100)
