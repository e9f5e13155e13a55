"""One message of a transaction: what the kernel is to do to an object of a ruleset."""

from __future__ import annotations

import enum
import sys
from typing import NamedTuple

from tortie.kernel.netfilter.message import GENERIC, NF_TABLES, Family, message_type, number
from tortie.kernel.netlink.message import HEADER, parse_attributes, text

# NLM_F_*: of a rule, append, in the place of another; of whatever is new, fail if it is there
REPLACE = 0x100
EXCLUSIVE = 0x200
CREATE = 0x400
APPEND = 0x800

TABLE = 1  # in every message the first attribute is the table's name


class Operation(enum.IntEnum):
    """NFT_MSG_*"""

    NEW_TABLE = 0
    GET_TABLE = 1
    DELETE_TABLE = 2
    NEW_CHAIN = 3
    GET_CHAIN = 4
    DELETE_CHAIN = 5
    NEW_RULE = 6
    GET_RULE = 7
    DELETE_RULE = 8
    NEW_SET = 9
    GET_SET = 10
    DELETE_SET = 11
    NEW_ELEMENTS = 12
    GET_ELEMENTS = 13
    DELETE_ELEMENTS = 14
    NEW_GENERATION = 15
    GET_GENERATION = 16


class Change(NamedTuple):
    operation: Operation
    flags: int
    payload: bytes  # all behind the netlink header

    def __str__(self) -> str:
        """`new rule inet tortie forward`: what is done to which object."""
        family, _, _ = GENERIC.unpack_from(self.payload)
        attributes = parse_attributes(self.payload, GENERIC.size)
        words = [self.operation.name.lower().replace("_", " "), Family(family).name.lower(), attributes.text(TABLE)]
        if self.operation in (Operation.NEW_CHAIN, Operation.DELETE_CHAIN):
            words.append(attributes.text(_CHAIN_NAME))
        elif self.operation not in (Operation.NEW_TABLE, Operation.DELETE_TABLE):
            words.append(attributes.text(_NAME))
        if self.operation in (Operation.NEW_RULE, Operation.DELETE_RULE) and _RULE_HANDLE in attributes:
            words.append(f"handle {number(attributes, _RULE_HANDLE)}")
        return " ".join(words)

    def attribute_at(self, offset: int) -> str:
        """The attribute at that place of the message, counted from its header, if it is a name; else nothing."""
        start = offset - HEADER.size
        if not GENERIC.size <= start < len(self.payload):
            return ""
        length = int.from_bytes(self.payload[start : start + 2], sys.byteorder)
        name = self.payload[start + 4 : start + length]
        if name[-1:] != b"\0" or not name.isascii():
            return ""
        word = name[:-1].decode()
        return word if word.isprintable() else ""


_NAME = 2  # of a rule the chain, of elements and of a set the set
_CHAIN_NAME = 3
_RULE_HANDLE = 3


def change(operation: Operation, flags: int, family: Family, table: str, *attributes: bytes) -> Change:
    return Change(operation, flags, head(family, table) + b"".join(attributes))


def head(family: Family, table: str) -> bytes:
    """What opens every message about something in a table."""
    return GENERIC.pack(family, 0, 0) + text(TABLE, table)


def wire_type(operation: Operation) -> int:
    return message_type(NF_TABLES, operation)
