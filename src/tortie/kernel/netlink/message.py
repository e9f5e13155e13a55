"""Netlink messages as bytes: headers and attributes, packed and parsed (include/uapi/linux/netlink.h).

Parsing never trusts a length: whatever the bytes, the outcome is a value or a `KernelError`.
"""

from __future__ import annotations

import struct
import sys
from typing import NamedTuple

from tortie.errors import KernelError

# Message types and flags.
ERROR = 2
DONE = 3

REQUEST = 0x1
ACK = 0x4
DUMP = 0x300
DUMP_INTERRUPTED = 0x10
REPLACE = 0x100
EXCLUSIVE = 0x200
CREATE = 0x400

# In answers of type ERROR and DONE the flag bits mean something else.
CAPPED = 0x100
ACK_TLVS = 0x200

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
ATTRIBUTE = struct.Struct("=HH")  # length, type
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_NESTED = 0x8000

_ERROR_TEXT = 1  # NLMSGERR_ATTR_MSG
_ERROR_OFFSET = 2  # NLMSGERR_ATTR_OFFS


class Message(NamedTuple):
    type: int
    flags: int
    sequence: int
    payload: bytes
    port: int = 0  # in an event, the socket of whoever caused it


class Verdict(NamedTuple):
    """The kernel's answer to one request: `errno` 0 is success, `text` its own words, often empty."""

    errno: int
    text: str


def malformed(what: str) -> KernelError:
    return KernelError(f"malformed netlink message: {what}")


def parse_messages(datagram: bytes) -> list[Message]:
    messages = []
    offset, end = 0, len(datagram)
    while offset < end:
        if end - offset < HEADER.size:
            raise malformed(f"{end - offset} bytes where a header must be")
        length, kind, flags, sequence, port = HEADER.unpack_from(datagram, offset)
        if not HEADER.size <= length <= end - offset:
            raise malformed(f"length {length}, {end - offset} bytes left")
        messages.append(Message(kind, flags, sequence, datagram[offset + HEADER.size : offset + length], port))
        offset += (length + 3) & ~3
    return messages


def parse_verdict(message: Message) -> Verdict:
    """The content of an ERROR or DONE message, with the extended acknowledgement's text."""
    if len(message.payload) < 4:
        raise malformed("an acknowledgement without a result")
    result = int.from_bytes(message.payload[:4], sys.byteorder, signed=True)
    return Verdict(-result, _acknowledgement(message).text(_ERROR_TEXT))


def parse_offence(message: Message) -> int:
    """Where in the request the attribute stands that the kernel objects to, from the header on; 0 if untold."""
    return _acknowledgement(message).u32(_ERROR_OFFSET)


def _acknowledgement(message: Message) -> Attributes:
    if not message.flags & ACK_TLVS:
        return Attributes()
    offset = 4
    if message.type == ERROR:
        # The request follows: its header alone when capped, else the whole of it.
        echoed = HEADER.size if message.flags & CAPPED else int.from_bytes(message.payload[4:8], sys.byteorder)
        offset += (echoed + 3) & ~3
    return parse_attributes(message.payload, offset)


class Attributes(dict[int, bytes]):
    """Attributes by type; of a repeated type the last counts. A getter of an absent one gives the default."""

    def _number(self, kind: int, size: int, default: int, signed: bool = False) -> int:
        value = self.get(kind)
        if value is None:
            return default
        if len(value) < size:
            raise malformed(f"attribute {kind} of {len(value)} bytes, not {size}")
        return int.from_bytes(value[:size], sys.byteorder, signed=signed)

    def u8(self, kind: int, default: int = 0) -> int:
        return self._number(kind, 1, default)

    def u32(self, kind: int, default: int = 0) -> int:
        return self._number(kind, 4, default)

    def i32(self, kind: int, default: int = 0) -> int:
        return self._number(kind, 4, default, signed=True)

    def text(self, kind: int) -> str:
        """Up to the first NUL. Names may be any bytes; those that are no UTF-8 survive as surrogates."""
        return self.get(kind, b"").partition(b"\0")[0].decode("utf-8", "surrogateescape")

    def nested(self, kind: int) -> Attributes:
        return parse_attributes(self.get(kind, b""))


def parse_attributes(data: bytes, offset: int = 0) -> Attributes:
    attributes = Attributes()
    end = len(data)
    while end - offset >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if not ATTRIBUTE.size <= length <= end - offset:
            raise malformed(f"attribute {kind & _TYPE_MASK} of length {length}, {end - offset} bytes left")
        attributes[kind & _TYPE_MASK] = data[offset + ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return attributes


def unpack_fixed(form: struct.Struct, payload: bytes) -> tuple[int, ...]:
    """The fixed part that opens a payload."""
    if len(payload) < form.size:
        raise malformed(f"{len(payload)} bytes where {form.size} must be")
    return form.unpack_from(payload)


def attribute(kind: int, value: bytes) -> bytes:
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(attributes))


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(1, sys.byteorder))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(4, sys.byteorder))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode("utf-8", "surrogateescape") + b"\0")


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(mac: bytes) -> str:
    return mac.hex(":")
