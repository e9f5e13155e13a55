"""Rules: expressions in their order, in a chain.

A rule is compared by its bytes: the kernel lists what it was sent, but for counters, which `zeroed` sets back.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tortie.kernel.netfilter.change import APPEND, CREATE, REPLACE, TABLE, Change, Operation, change, head, wire_type
from tortie.kernel.netfilter.expression import Expression
from tortie.kernel.netfilter.message import Family, be64, nest, number, open_message, parse_list
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netfilter.statement import Counter
from tortie.kernel.netlink.message import ATTRIBUTE, Message, attribute, parse_attributes, text

_CHAIN = 2
_HANDLE = 3
_EXPRESSIONS = 4
_POSITION = 6
_USERDATA = 7
_EXPRESSION_NAME = 1
_EXPRESSION_DATA = 2
_LOOKUP_SET = 1

COMMENT_BYTES = 128  # nft refuses a longer one
_COMMENT = 0  # type in the userdata, which is type, length, value in bytes

# A counter as Counter.encode gives it and the kernel lists it; the groups are the octets and the packets.
_COUNTER_HEAD = struct.pack("=HH8sHHHH", 12, 1, b"counter\0", 28, 2, 12, 1)
_COUNTER_MIDDLE = struct.pack("=HH", 12, 2)
_COUNTER = re.compile(re.escape(_COUNTER_HEAD) + b"(.{8})" + re.escape(_COUNTER_MIDDLE) + b"(.{8})", re.DOTALL)
_ZEROED = _COUNTER_HEAD + bytes(8) + _COUNTER_MIDDLE + bytes(8)


class Rule(NamedTuple):
    """`expressions` as `body` packs them. The handle, as read back, is its name within the table."""

    family: Family
    table: str
    chain: str
    expressions: bytes
    comment: str = ""
    handle: int = 0


class Figures(NamedTuple):
    """What a counter counted."""

    packets: int
    octets: int


def body(expressions: Iterable[Expression]) -> bytes:
    return b"".join([expression.encode() for expression in expressions])


def append(rule: Rule, after: int = 0) -> Change:
    """At the end of the chain, or right after the rule of that handle."""
    return _new(rule, CREATE | APPEND, be64(_POSITION, after) if after else b"")


def insert(rule: Rule, before: int = 0) -> Change:
    """At the beginning of the chain, or right before the rule of that handle."""
    return _new(rule, CREATE, be64(_POSITION, before) if before else b"")


def replace(rule: Rule) -> Change:
    """In the place of the rule with its handle; the new one gets a handle of its own."""
    return _new(rule, REPLACE, be64(_HANDLE, rule.handle))


def delete(rule: Rule) -> Change:
    """The rule of its handle."""
    name = text(_CHAIN, rule.chain)
    return change(Operation.DELETE_RULE, 0, rule.family, rule.table, name, be64(_HANDLE, rule.handle))


def dump(sock: NetfilterSocket, family: Family, table: str, chain: str = "") -> list[Rule]:
    """The rules of a table, or of one chain, in their order."""
    wanted = head(family, table) + (text(_CHAIN, chain) if chain else b"")
    return sock.dump(wire_type(Operation.GET_RULE), wanted, parse, f"list rules of {table} {chain}".rstrip())


def parse(message: Message) -> Rule:
    family, attributes = open_message(message)
    return Rule(
        family,
        attributes.text(TABLE),
        attributes.text(_CHAIN),
        attributes.get(_EXPRESSIONS, b""),
        _parse_comment(attributes.get(_USERDATA, b"")),
        number(attributes, _HANDLE),
    )


def zeroed(expressions: bytes) -> bytes:
    """The same with all counters at zero: what the rule was made of."""
    return _COUNTER.sub(lambda found: _ZEROED, expressions)


def resumed(expressions: bytes, counted: Iterable[Figures]) -> bytes:
    """The same with counters that go on from these figures, one for each."""
    begins = iter(counted)
    return _COUNTER.sub(lambda found: Counter(*next(begins)).encode()[ATTRIBUTE.size :], expressions)


def lookups(expressions: bytes) -> Iterator[str]:
    """The names of the sets and maps that it asks, in their order."""
    for entry in parse_list(expressions):
        attributes = parse_attributes(entry)
        if attributes.text(_EXPRESSION_NAME) == "lookup":
            yield attributes.nested(_EXPRESSION_DATA).text(_LOOKUP_SET)


def figures(expressions: bytes) -> list[Figures]:
    """What its counters counted, in their order."""
    return [
        Figures(int.from_bytes(found[2], "big"), int.from_bytes(found[1], "big"))
        for found in _COUNTER.finditer(expressions)
    ]


def _new(rule: Rule, flags: int, where: bytes) -> Change:
    comment = rule.comment.encode()
    if len(comment) > COMMENT_BYTES:
        raise ValueError(f"a comment of {len(comment)} bytes, {COMMENT_BYTES} are allowed: {rule.comment}")
    userdata = attribute(_USERDATA, bytes((_COMMENT, len(comment) + 1)) + comment + b"\0") if comment else b""
    expressions = nest(_EXPRESSIONS, rule.expressions)
    return change(
        Operation.NEW_RULE, flags, rule.family, rule.table, text(_CHAIN, rule.chain), where, expressions, userdata
    )


def _parse_comment(userdata: bytes) -> str:
    offset = 0
    while offset + 2 <= len(userdata):
        kind, length = userdata[offset], userdata[offset + 1]
        if kind == _COMMENT:
            return userdata[offset + 2 : offset + 2 + length].rstrip(b"\0").decode("utf-8", "replace")
        offset += 2 + length
    return ""
