"""Packets that rules log: one socket per nflog group, bounded by its receive buffer.

The kernel numbers what it logs to a group, so what did not fit is told in its place, as a number. A group has one
listener in a network namespace; a second is `Refused`.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import NamedTuple, TypeAlias

from tortie.kernel.failure import kernel_error, mapped
from tortie.kernel.netfilter.message import GENERIC, LOG, NETLINK_NETFILTER, be16, be32, message_type, number
from tortie.kernel.netlink.events import EventSocket
from tortie.kernel.netlink.message import (
    ACK,
    ERROR,
    HEADER,
    REQUEST,
    Attributes,
    Message,
    attribute,
    mac_text,
    parse_attributes,
    parse_verdict,
    u8,
    unpack_fixed,
)
from tortie.kernel.netlink.socket import SOL_NETLINK

_NO_ENOBUFS = 5  # NETLINK_NO_ENOBUFS: losses are counted by the numbers of the packets

# include/uapi/linux/netfilter/nfnetlink_log.h
_PACKET = message_type(LOG, 0)
_CONFIGURE = message_type(LOG, 1)
_COMMAND = 1
_MODE = 2
_TIMEOUT = 4
_THRESHOLD = 5
_OPTIONS = 6
_BIND = 1
_COPY_PACKET = 2
_NUMBERED = 1

_HEADER = 1
_PACKET_MARK = 2
_TIMESTAMP = 3
_IN = 4
_OUT = 5
_HARDWARE = 8
_PAYLOAD = 9
_PREFIX = 10
_NUMBER = 12

_COPY = struct.Struct(">IBx")
_PACKET_HEADER = struct.Struct(">HBx")
_TIME = struct.Struct(">QQ")
_ADDRESS = struct.Struct(">Hxx8s")

# The kernel hands packets over by the page: when so many are there, or the first has waited so long.
_PACKETS_AT_ONCE = 32
_WAIT_CENTISECONDS = 5

# Some thousands of packets of 128 bytes, each with what the kernel keeps of it.
BUFFER_BYTES = 4 * 1024 * 1024
SNAP_BYTES = 128


class Packet(NamedTuple):
    """A logged packet. Indexes are 0 and the MAC is empty where the packet had none at that hook."""

    prefix: str
    payload: bytes  # from the network header on, as far as it was copied
    hook: int
    ethertype: int
    in_ifindex: int
    out_ifindex: int
    source_mac: str
    mark: int
    time_s: float | None  # since the epoch; only of what came from outside


class Lost(NamedTuple):
    """So many packets at this place were logged and never read."""

    packets: int


Logged: TypeAlias = Packet | Lost


class LogSocket(EventSocket):
    """The listener of the group in the caller's network namespace from now on. Read once before the first wait."""

    def __init__(self, group: int, snap_bytes: int = SNAP_BYTES, buffer_bytes: int = BUFFER_BYTES) -> None:
        super().__init__(NETLINK_NETFILTER, 0, buffer_bytes)
        self._next = 0
        self._early: list[Message] = []  # what was logged before the kernel had said yes
        try:
            self._bind(encode_binding(group, snap_bytes), f"listen to nflog group {group}")
        except BaseException:
            self.close()
            raise

    def _bind(self, body: bytes, doing: str) -> None:
        with mapped(doing):
            self._socket.setsockopt(SOL_NETLINK, _NO_ENOBUFS, 1)
            self._socket.send(HEADER.pack(HEADER.size + len(body), _CONFIGURE, REQUEST | ACK, 0, 0) + body)
        answer = None
        while answer is None:
            messages, _ = self.receive(1)
            if not messages:
                raise kernel_error(errno.ENOBUFS, doing, "the kernel's answer is lost")
            answer = next((message for message in messages if message.type == ERROR), None)
            self._early += messages
        if (verdict := parse_verdict(answer)).errno:
            raise kernel_error(verdict.errno, doing, verdict.text)

    def read(self, limit: int) -> list[Logged]:
        """What was logged meanwhile, of at most `limit` datagrams, at once; empty when there is nothing."""
        messages, _ = self.receive(limit)
        early, self._early = self._early, []
        logged: list[Logged] = []
        for message in early + messages:
            if message.type != _PACKET:
                continue
            attributes = parse_attributes(message.payload, GENERIC.size)
            this = number(attributes, _NUMBER)
            if lost := this - self._next & 0xFFFFFFFF:
                logged.append(Lost(lost))
            self._next = this + 1
            logged.append(_packet(attributes))
        return logged


def parse(message: Message) -> Packet:
    unpack_fixed(GENERIC, message.payload)
    return _packet(parse_attributes(message.payload, GENERIC.size))


def encode_binding(group: int, snap_bytes: int) -> bytes:
    """Binds the group to the sending socket, and says how packets are to come."""
    return (
        GENERIC.pack(socket.AF_UNSPEC, 0, group)
        + u8(_COMMAND, _BIND)
        + attribute(_MODE, _COPY.pack(snap_bytes, _COPY_PACKET))
        + be32(_TIMEOUT, _WAIT_CENTISECONDS)
        + be32(_THRESHOLD, _PACKETS_AT_ONCE)
        + be16(_OPTIONS, _NUMBERED)
    )


def _packet(attributes: Attributes) -> Packet:
    ethertype, hook = unpack_fixed(_PACKET_HEADER, attributes.get(_HEADER, b""))
    mac, time_s = "", None
    if _HARDWARE in attributes:
        length, address = _ADDRESS.unpack_from(attributes[_HARDWARE].ljust(_ADDRESS.size, b"\0"))
        mac = mac_text(address[:length])
    if _TIMESTAMP in attributes:
        seconds, microseconds = unpack_fixed(_TIME, attributes[_TIMESTAMP])
        time_s = seconds + microseconds / 1e6
    return Packet(
        attributes.text(_PREFIX),
        attributes.get(_PAYLOAD, b""),
        hook,
        ethertype,
        number(attributes, _IN),
        number(attributes, _OUT),
        mac,
        number(attributes, _PACKET_MARK),
        time_s,
    )
