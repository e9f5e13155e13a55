"""Links: read, create veth pairs and bridges, change, delete."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from tortie.errors import Gone
from tortie.kernel.netlink.message import (
    CREATE,
    EXCLUSIVE,
    Message,
    attribute,
    mac_bytes,
    mac_text,
    nested,
    parse_attributes,
    text,
    u8,
    u32,
    unpack_fixed,
)
from tortie.kernel.netlink.socket import NetlinkSocket

# include/uapi/linux/rtnetlink.h, if.h
NEW_LINK = 16
DELETE_LINK = 17
GET_LINK = 18
SET_LINK = 19

FLAG_UP = 0x1
FLAG_LOOPBACK = 0x8
FLAG_RUNNING = 0x40
FLAG_LOWER_UP = 0x10000
FLAG_DORMANT = 0x20000

# include/uapi/linux/if_link.h
_MAC = 1
_NAME = 3
_MTU = 4
_PEER = 5  # IFLA_LINK
_MASTER = 10
_OPERSTATE = 16
_LINK_INFO = 18
_AF_SPEC = 26
_NETNS_FD = 28
_EXT_MASK = 29
_PEER_NETNS_ID = 37
_CARRIER_DOWN_COUNT = 48
_INFO_KIND = 1
_INFO_DATA = 2
_VETH_PEER = 1
_INET6_ADDR_GEN_MODE = 8

_SKIP_STATISTICS = 1 << 3  # RTEXT_FILTER_SKIP_STATS

ADDR_GEN_EUI64 = 0
ADDR_GEN_NONE = 1

OPERSTATES = ("UNKNOWN", "NOTPRESENT", "DOWN", "LOWERLAYERDOWN", "TESTING", "DORMANT", "UP")

# family, pad, device type, index, flags, change mask
_LINK_MESSAGE = struct.Struct("=BBHiII")


class Link(NamedTuple):
    """A network interface. `flags` are IFF_*."""

    ifindex: int
    name: str
    flags: int
    mac: str  # empty where the device has none
    mtu: int
    master: int  # index of the bridge, bond or VRF it belongs to, else 0
    kind: str  # "veth", "tun", "bridge", ...; empty for hardware and loopback
    operstate: str  # as `ip link` prints it
    peer_index: int  # the other end of a veth, the device under a VLAN, else 0
    peer_netns_id: int | None  # where the peer is, when that is another network namespace
    addr_gen_mode: int | None  # how IPv6 makes the link-local address; None without IPv6
    carrier_losses: int = 0  # since it was made, itself included for a veth: tells of those too short for an event

    @property
    def up(self) -> bool:
        return bool(self.flags & FLAG_UP)

    @property
    def running(self) -> bool:
        """Frames can pass: IFF_RUNNING, or what becomes it when the kernel's link watch has run.

        That takes up to a second for a tap, or a veth whose ends have one index (net/core/link_watch.c,
        linkwatch_urgent_event), while carrier is in the first event.
        """
        carrier = self.flags & (FLAG_UP | FLAG_LOWER_UP | FLAG_DORMANT) == FLAG_UP | FLAG_LOWER_UP
        return carrier or bool(self.flags & FLAG_RUNNING)

    @property
    def loopback(self) -> bool:
        return bool(self.flags & FLAG_LOOPBACK)


class VethEnd(NamedTuple):
    """One end of a veth pair to be made. What is empty or 0 is left to the kernel."""

    name: str
    mac: str = ""
    mtu: int = 0
    netns: int | None = None  # descriptor of its network namespace; None is the socket's
    ifindex: int = 0  # both ends' or none's: the kernel takes a peer's only beside the other


def dump(sock: NetlinkSocket) -> list[Link]:
    body = _LINK_MESSAGE.pack(socket.AF_UNSPEC, 0, 0, 0, 0, 0) + u32(_EXT_MASK, _SKIP_STATISTICS)
    return sock.dump(GET_LINK, body, parse, "list links")


def get(sock: NetlinkSocket, name: str) -> Link:
    """The link of that name, or `Gone`."""
    link = _get(sock, 0, text(_NAME, name), f"look up link {name}")
    if link.name != name:
        # The kernel also looks among alternative names; by those no event would ever find it again.
        raise Gone(f"look up link {name}: it is only an alternative name of {link.name}")
    return link


def get_by_index(sock: NetlinkSocket, ifindex: int) -> Link:
    """The link of that index, or `Gone`."""
    return _get(sock, ifindex, b"", f"look up link {ifindex}")


def create_veth(sock: NetlinkSocket, end: VethEnd, peer: VethEnd) -> None:
    """Makes a veth pair, down, each end at once in its namespace; `Exists` if a name is taken there."""
    data = nested(_INFO_DATA, attribute(_VETH_PEER, _veth_end(peer)))
    info = nested(_LINK_INFO, text(_INFO_KIND, "veth"), data)
    body = _veth_end(end) + info
    sock.request(NEW_LINK, CREATE | EXCLUSIVE, body, f"create veth {end.name} with peer {peer.name}")


def create_bridge(sock: NetlinkSocket, name: str, mtu: int = 0) -> None:
    """Makes a bridge, down; `Exists` if the name is taken."""
    body = _LINK_MESSAGE.pack(0, 0, 0, 0, 0, 0) + text(_NAME, name)
    if mtu:
        body += u32(_MTU, mtu)
    body += nested(_LINK_INFO, text(_INFO_KIND, "bridge"))
    sock.request(NEW_LINK, CREATE | EXCLUSIVE, body, f"create bridge {name}")


def change(
    sock: NetlinkSocket,
    ifindex: int,
    *,
    name: str | None = None,
    mac: str | None = None,
    mtu: int | None = None,
    up: bool | None = None,
    master: int | None = None,
    addr_gen_mode: int | None = None,
    netns: int | None = None,
) -> None:
    """Changes what is given in one request; `master` 0 releases, `netns` is a descriptor to move the link into.

    Not atomic: of several changes the first may stand when a later one is refused.
    """
    flags = FLAG_UP if up else 0
    mask = 0 if up is None else FLAG_UP
    parts = [_LINK_MESSAGE.pack(socket.AF_UNSPEC, 0, 0, ifindex, flags, mask)]
    if netns is not None:
        parts.append(u32(_NETNS_FD, netns))
    if mac is not None:
        parts.append(attribute(_MAC, mac_bytes(mac)))
    if mtu is not None:
        parts.append(u32(_MTU, mtu))
    if name is not None:
        parts.append(text(_NAME, name))
    if master is not None:
        parts.append(u32(_MASTER, master))
    if addr_gen_mode is not None:
        parts.append(nested(_AF_SPEC, nested(socket.AF_INET6, u8(_INET6_ADDR_GEN_MODE, addr_gen_mode))))
    sock.request(SET_LINK, 0, b"".join(parts), f"change link {ifindex}")


def delete(sock: NetlinkSocket, ifindex: int) -> None:
    """Removes the link, a veth with its peer; one that is not there is no error.

    Takes about 20 ms (the kernel waits for RCU): not for an event loop's hot path.
    """
    try:
        body = _LINK_MESSAGE.pack(socket.AF_UNSPEC, 0, 0, ifindex, 0, 0)
        sock.request(DELETE_LINK, 0, body, f"delete link {ifindex}")
    except Gone:
        return


def parse(message: Message) -> Link | None:
    """The link of an RTM_NEWLINK or RTM_DELLINK message; None if it tells of something else."""
    family, _, _, ifindex, flags, _ = unpack_fixed(_LINK_MESSAGE, message.payload)
    if family != socket.AF_UNSPEC:
        # Bridges report their ports under AF_BRIDGE: a port that leaves would look like a deleted link.
        return None
    attributes = parse_attributes(message.payload, _LINK_MESSAGE.size)
    operstate = attributes.u8(_OPERSTATE)
    inet6 = attributes.nested(_AF_SPEC).nested(socket.AF_INET6)
    return Link(
        ifindex=ifindex,
        name=attributes.text(_NAME),
        flags=flags,
        mac=mac_text(attributes.get(_MAC, b"")),
        mtu=attributes.u32(_MTU),
        master=attributes.u32(_MASTER),
        kind=attributes.nested(_LINK_INFO).text(_INFO_KIND),
        operstate=OPERSTATES[operstate] if operstate < len(OPERSTATES) else str(operstate),
        peer_index=attributes.u32(_PEER),
        peer_netns_id=attributes.i32(_PEER_NETNS_ID) if _PEER_NETNS_ID in attributes else None,
        addr_gen_mode=inet6.u8(_INET6_ADDR_GEN_MODE) if _INET6_ADDR_GEN_MODE in inet6 else None,
        carrier_losses=attributes.u32(_CARRIER_DOWN_COUNT),
    )


def _get(sock: NetlinkSocket, ifindex: int, selector: bytes, doing: str) -> Link:
    body = _LINK_MESSAGE.pack(socket.AF_UNSPEC, 0, 0, ifindex, 0, 0) + selector
    for message in sock.request(GET_LINK, 0, body + u32(_EXT_MASK, _SKIP_STATISTICS), doing):
        link = parse(message)
        if link is not None:
            return link
    raise Gone(f"{doing}: no answer")


def _veth_end(end: VethEnd) -> bytes:
    parts = [_LINK_MESSAGE.pack(0, 0, 0, end.ifindex, 0, 0), text(_NAME, end.name)]
    if end.mac:
        parts.append(attribute(_MAC, mac_bytes(end.mac)))
    if end.mtu:
        parts.append(u32(_MTU, end.mtu))
    if end.netns is not None:
        parts.append(u32(_NETNS_FD, end.netns))
    return b"".join(parts)
