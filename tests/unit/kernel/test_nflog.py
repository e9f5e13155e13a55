"""Logged packets as messages (include/uapi/linux/netfilter/nfnetlink_log.h)."""

from __future__ import annotations

import struct

from tests.unit.kernel.test_netfilter_expressions import attribute, be32
from tortie.kernel.netfilter import nflog
from tortie.kernel.netfilter.nflog import Packet
from tortie.kernel.netlink.message import Message

IP_PACKET = b"\x45\0\0\x14"


def test_a_binding_is_these_bytes() -> None:
    assert nflog.encode_binding(0x0102, 64) == (
        b"\0\0\1\2"
        + attribute(1, b"\1")
        + attribute(2, struct.pack(">IBB", 64, 2, 0))
        + be32(4, 5)
        + be32(5, 32)
        + attribute(6, b"\0\1")
    )


def test_a_packet_from_outside() -> None:
    payload = (
        b"\2\0\0\1"
        + attribute(1, struct.pack(">HBx", 0x0800, 2))
        + attribute(10, b"deny\0")
        + be32(4, 7)
        + be32(5, 9)
        + be32(2, 0xFF)
        + attribute(8, struct.pack(">Hxx8s", 6, b"\2\0\0\0\0\x18"))
        + attribute(9, IP_PACKET)
        + attribute(3, struct.pack(">QQ", 1000, 250_000))
        + be32(12, 0)
    )
    expected = Packet("deny", IP_PACKET, 2, 0x0800, 7, 9, "02:00:00:00:00:18", 0xFF, 1000.25)
    assert nflog.parse(Message(0x400, 0, 0, payload)) == expected


def test_a_packet_of_the_host_itself() -> None:
    payload = b"\x0a\0\0\1" + attribute(1, struct.pack(">HBx", 0x86DD, 3)) + be32(5, 9)
    assert nflog.parse(Message(0x400, 0, 0, payload)) == Packet("", b"", 3, 0x86DD, 0, 9, "", 0, None)
