"""Expressions as bytes, to the letter of include/uapi/linux/netfilter/nf_tables.h."""

from __future__ import annotations

import struct

import pytest

from tortie.kernel.netfilter import rule
from tortie.kernel.netfilter.expression import (
    VERDICT_REGISTER,
    Base,
    Bitwise,
    Cmp,
    Ct,
    CtDirection,
    CtKey,
    Expression,
    Exthdr,
    Fib,
    FibFlag,
    FibResult,
    Lookup,
    Meta,
    MetaKey,
    Op,
    Payload,
    Range,
)
from tortie.kernel.netfilter.message import Family
from tortie.kernel.netfilter.statement import (
    Connlimit,
    Counter,
    Decide,
    Icmpx,
    Immediate,
    Limit,
    Log,
    Masquerade,
    Nat,
    NatType,
    Notrack,
    Redirect,
    Reject,
    RejectType,
    SetCt,
    SetMeta,
)
from tortie.kernel.netfilter.verdict import ACCEPT, CONTINUE, DROP, RETURN, goto, jump


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def be32(kind: int, value: int) -> bytes:
    return struct.pack("=HH", 8, kind) + struct.pack(">I", value & 0xFFFFFFFF)


def be64(kind: int, value: int) -> bytes:
    return struct.pack("=HH", 12, kind) + struct.pack(">Q", value)


def value(kind: int, content: bytes) -> bytes:
    """NFTA_DATA_VALUE within an attribute."""
    return attribute(kind, attribute(1, content))


def expression(name: str, *attributes: bytes) -> bytes:
    """NFTA_LIST_ELEM with NFTA_EXPR_NAME and NFTA_EXPR_DATA."""
    return attribute(1, attribute(1, name.encode() + b"\0") + attribute(2, b"".join(attributes)))


def verdict(code: int, chain: bytes = b"") -> bytes:
    """NFTA_IMMEDIATE_DATA holding a verdict."""
    return attribute(2, attribute(2, be32(1, code) + (attribute(2, chain) if chain else b"")))


REG_1, REG_2, REG32_01, REG32_03 = 1, 2, 9, 11

CASES: dict[str, tuple[Expression, bytes]] = {
    "meta": (Meta(MetaKey.IIFNAME), expression("meta", be32(2, 6), be32(1, REG_1))),
    "meta, second word": (Meta(MetaKey.MARK, 1), expression("meta", be32(2, 3), be32(1, REG32_01))),
    "meta, fifth word": (Meta(MetaKey.L4PROTO, 4), expression("meta", be32(2, 16), be32(1, REG_2))),
    "payload": (
        Payload(Base.TRANSPORT, 2, 2, 3),
        expression("payload", be32(1, REG32_03), be32(2, 2), be32(3, 2), be32(4, 2)),
    ),
    "ct": (Ct(CtKey.STATE), expression("ct", be32(1, REG_1), be32(2, 0))),
    "ct of a tuple": (
        Ct(CtKey.DST_IP6, direction=CtDirection.REPLY),
        expression("ct", be32(1, REG_1), be32(2, 22), attribute(3, b"\1")),
    ),
    "fib": (
        Fib(FibResult.OIF, FibFlag.SOURCE | FibFlag.IIF),
        expression("fib", be32(1, REG_1), be32(2, 1), be32(3, 9)),
    ),
    "exthdr": (
        Exthdr(44, 0, 1, present=True),
        expression("exthdr", be32(1, REG_1), attribute(2, b"\x2c"), be32(3, 0), be32(4, 1), be32(5, 1), be32(6, 0)),
    ),
    "cmp": (Cmp(b"\6"), expression("cmp", be32(1, REG_1), be32(2, 0), value(3, b"\6"))),
    "cmp greater": (Cmp(b"\0\x50", Op.GT), expression("cmp", be32(1, REG_1), be32(2, 4), value(3, b"\0\x50"))),
    "range": (
        Range(b"\0\1", b"\0\2", inverted=True),
        expression("range", be32(1, REG_1), be32(2, 1), value(3, b"\0\1"), value(4, b"\0\2")),
    ),
    "bitwise": (
        Bitwise(b"\xff\0\0\0", b"\0\1\0\0"),
        expression(
            *("bitwise", be32(1, REG_1), be32(2, REG_1), be32(3, 4), be32(6, 0)),
            *(value(4, b"\xff\0\0\0"), value(5, b"\0\1\0\0")),
        ),
    ),
    "lookup": (Lookup("s"), expression("lookup", attribute(1, b"s\0"), be32(2, REG_1), be32(5, 0))),
    "lookup inverted": (
        Lookup("s", inverted=True),
        expression("lookup", attribute(1, b"s\0"), be32(2, REG_1), be32(5, 1)),
    ),
    "verdict map": (
        Lookup("m", into=VERDICT_REGISTER),
        expression("lookup", attribute(1, b"m\0"), be32(2, REG_1), be32(3, 0), be32(5, 0)),
    ),
    "data map": (
        Lookup("m", into=4, register=1),
        expression("lookup", attribute(1, b"m\0"), be32(2, REG32_01), be32(3, REG_2), be32(5, 0)),
    ),
    "immediate": (Immediate(b"\1\2"), expression("immediate", be32(1, REG_1), value(2, b"\1\2"))),
    "accept": (Decide(ACCEPT), expression("immediate", be32(1, 0), verdict(1))),
    "drop": (Decide(DROP), expression("immediate", be32(1, 0), verdict(0))),
    "continue": (Decide(CONTINUE), expression("immediate", be32(1, 0), verdict(-1))),
    "return": (Decide(RETURN), expression("immediate", be32(1, 0), verdict(-5))),
    "jump": (Decide(jump("c")), expression("immediate", be32(1, 0), verdict(-3, b"c\0"))),
    "goto": (Decide(goto("c")), expression("immediate", be32(1, 0), verdict(-4, b"c\0"))),
    "meta mark set": (SetMeta(MetaKey.MARK), expression("meta", be32(2, 3), be32(3, REG_1))),
    "ct mark set": (SetCt(CtKey.MARK), expression("ct", be32(4, REG_1), be32(2, 3))),
    "notrack": (Notrack(), attribute(1, attribute(1, b"notrack\0"))),
    "counter": (Counter(2, 3), expression("counter", be64(1, 3), be64(2, 2))),
    "log": (
        Log(7, "abc", 64),
        expression("log", attribute(2, b"abc\0"), attribute(1, b"\0\7"), be32(3, 64)),
    ),
    "limit": (
        Limit(10, burst=3),
        expression("limit", be64(1, 10), be64(2, 1), be32(3, 3), be32(4, 0), be32(5, 0)),
    ),
    "connlimit": (Connlimit(3, over=True), expression("connlimit", be32(1, 3), be32(2, 1))),
    "reject": (
        Reject(RejectType.ICMPX, Icmpx.ADMIN_PROHIBITED),
        expression("reject", be32(1, 2), attribute(2, b"\3")),
    ),
    "reject with a reset": (Reject(RejectType.TCP_RESET), expression("reject", be32(1, 1))),
    "dnat": (
        Nat(NatType.DESTINATION, Family.IP, 0, 1),
        expression(
            *("nat", be32(1, 1), be32(2, 2), be32(3, REG_1), be32(4, REG_1)),
            *(be32(5, REG32_01), be32(6, REG32_01), be32(7, 3)),
        ),
    ),
    "snat": (
        Nat(NatType.SOURCE, Family.IP6, 0),
        expression("nat", be32(1, 0), be32(2, 10), be32(3, REG_1), be32(4, REG_1), be32(7, 1)),
    ),
    "masquerade": (Masquerade(), expression("masq")),
    "masquerade with random ports": (Masquerade(random_ports=True), expression("masq", be32(1, 16))),
    "masquerade with a range of ports": (
        Masquerade(port_registers=(0, 1)),
        expression("masq", be32(1, 2), be32(2, REG_1), be32(3, REG32_01)),
    ),
    "redirect": (Redirect(0), expression("redir", be32(1, REG_1), be32(2, REG_1), be32(3, 2))),
}


@pytest.mark.parametrize(("piece", "expected"), CASES.values(), ids=CASES)
def test_an_expression_is_these_bytes(piece: Expression, expected: bytes) -> None:
    assert piece.encode() == expected


def test_a_body_is_its_expressions_in_their_order() -> None:
    pieces = (Meta(MetaKey.L4PROTO), Cmp(b"\6"), Decide(DROP))
    assert rule.body(pieces) == b"".join(piece.encode() for piece in pieces)


class TestCounters:
    def test_figures_are_read_in_their_order(self) -> None:
        counted = rule.body([Counter(1, 60), Decide(jump("c")), Counter(2**40, 2**50)])
        assert rule.figures(counted) == [(1, 60), (2**40, 2**50)]

    def test_zeroed_is_what_the_rule_was_made_of(self) -> None:
        made = rule.body([Cmp(b"\6"), Counter(), Decide(DROP)])
        counted = rule.body([Cmp(b"\6"), Counter(7, 0x0A0D000000000000), Decide(DROP)])
        assert rule.zeroed(counted) == made

    def test_without_a_counter_nothing_changes(self) -> None:
        body = rule.body([Log(1, "counter"), Decide(DROP)])
        assert rule.zeroed(body) == body
        assert rule.figures(body) == []
