"""Rules: in what order, and for which packets, the kernel asks its routing tables (ip-rule(8)). Read only."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address
from typing import NamedTuple

from tortie.kernel.netlink.message import Message, parse_attributes, unpack_fixed
from tortie.kernel.netlink.route import TABLE_MAIN
from tortie.kernel.netlink.socket import NetlinkSocket

# include/uapi/linux/rtnetlink.h, fib_rules.h
NEW_RULE = 32
DELETE_RULE = 33
GET_RULE = 34

TABLE_DEFAULT = 253
TABLE_LOCAL = 255
ACTION_TABLE = 1
_ACTIONS = {2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}

_DESTINATION = 1
_SOURCE = 2
_INPUT = 3
_PRIORITY = 6
_MARK = 10
_TABLE = 15
_MASK = 16
_OUTPUT = 17
_NARROWING = frozenset({_INPUT, _OUTPUT, 19, 20, 22, 23, 24, 25})  # also l3mdev, users, protocol, ports, DSCP
_INVERT = 0x2

_ADDRESS_BYTES: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 16}

# family, destination length, source length, tos, table, reserved, reserved, action, flags
_RULE_MESSAGE = struct.Struct("=BBBBBBBBI")


class Rule(NamedTuple):
    """`words` is what it says of the packets, close to what `ip rule` prints."""

    family: int
    priority: int
    action: int
    table: int  # 0 when the action is another
    destination: bytes
    destination_length: int
    mark: int
    mask: int
    narrow: bool  # it asks for more than destination and mark: sender, interface, user, ports
    words: str

    @property
    def foreign(self) -> bool:
        """It is none of those that every host has."""
        return self.action != ACTION_TABLE or self.table not in (TABLE_LOCAL, TABLE_MAIN, TABLE_DEFAULT)

    def meets(self, address: bytes, mark: int = 0) -> bool:
        """Every packet of this host to the address, with that mark, follows it."""
        shift = 8 * len(address) - self.destination_length
        same = int.from_bytes(address, "big") >> shift == int.from_bytes(self.destination, "big") >> shift
        return same and mark & self.mask == self.mark and not self.narrow

    def __str__(self) -> str:
        return f"{self.priority}: {self.words}"


def dump(sock: NetlinkSocket, family: int) -> list[Rule]:
    """In the order in which the kernel follows them."""
    rules = sock.dump(GET_RULE, _RULE_MESSAGE.pack(family, *(0,) * 8), parse, "list rules of routing")
    return sorted(rules, key=lambda rule: rule.priority)


def parse(message: Message) -> Rule | None:
    """The rule of an RTM_NEWRULE message; None if it is not of IP."""
    family, to_length, from_length, tos, table, _, _, action, flags = unpack_fixed(_RULE_MESSAGE, message.payload)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return None
    attributes = parse_attributes(message.payload, _RULE_MESSAGE.size)
    table = attributes.u32(_TABLE, table)
    mark = attributes.u32(_MARK)
    mask = attributes.u32(_MASK, 0xFFFFFFFF if mark else 0)
    words = ["not"] if flags & _INVERT else []
    words.append(f"from {_prefix(attributes.get(_SOURCE), from_length)}")
    if _DESTINATION in attributes:
        words.append(f"to {_prefix(attributes[_DESTINATION], to_length)}")
    if mask:
        words.append(f"fwmark {mark:#x}/{mask:#x}")
    for kind, word in ((_INPUT, "iif"), (_OUTPUT, "oif")):
        if kind in attributes:
            words.append(f"{word} {attributes.text(kind)}")
    words.append(f"lookup {table}" if action == ACTION_TABLE else _ACTIONS.get(action, f"action {action}"))
    return Rule(
        family=family,
        priority=attributes.u32(_PRIORITY),
        action=action,
        table=table if action == ACTION_TABLE else 0,
        destination=attributes.get(_DESTINATION, bytes(_ADDRESS_BYTES[family])),
        destination_length=to_length,
        mark=mark,
        mask=mask,
        narrow=bool(flags & _INVERT or tos or from_length or attributes.keys() & _NARROWING),
        words=" ".join(words),
    )


def _prefix(packed: bytes | None, length: int) -> str:
    return f"{ip_address(packed)}/{length}" if packed and len(packed) in (4, 16) else "all"
