"""Expressions of nf_tables on a packet of which not everything is known; the encoder is the kernel's own."""

from __future__ import annotations

import struct
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.doctor.firewall import xtables
from tortie.doctor.firewall.nft import question
from tortie.doctor.firewall.packet import BGP_IN, BGP_PORT, FROM, Interface, Packet
from tortie.doctor.firewall.ruleset import ACCEPT, DROP, Action, Answer, Kind
from tortie.errors import KernelError
from tortie.kernel.netfilter.datatype import ifname
from tortie.kernel.netfilter.elements import Element
from tortie.kernel.netfilter.expression import (
    VERDICT_REGISTER,
    Base,
    Bitwise,
    Cmp,
    Ct,
    CtKey,
    CtState,
    Expression,
    Lookup,
    Meta,
    MetaKey,
    Op,
    Payload,
    Range,
)
from tortie.kernel.netfilter.message import be32, nest
from tortie.kernel.netfilter.rule import body
from tortie.kernel.netfilter.statement import Counter, Decide, Limit, Reject
from tortie.kernel.netfilter.verdict import ACCEPT as ACCEPTS
from tortie.kernel.netfilter.verdict import DROP as DROPS
from tortie.kernel.netfilter.verdict import jump
from tortie.kernel.netlink.message import attribute, text

CALI, ETH = Interface("cali1", 3), Interface("eth0", 2)
OUT = Packet(FROM, "forward", 4, CALI, ETH, source=bytes((10, 65, 0, 21)))
BGP = Packet(BGP_IN, "input", 6, ETH, port=BGP_PORT)

SURE, UNSURE, NO = (Answer(True, DROP),), (Answer(False, DROP),), ()
NEW = int(CtState.NEW).to_bytes(4, "little")
ESTABLISHED = int(CtState.ESTABLISHED).to_bytes(4, "little")
SETS: dict[str, list[Element]] = {
    "names": [Element(ifname("cali1")), Element(ifname("cali2"))],
    "verdicts": [Element(ifname("cali1"), data=jump("one")), Element(ifname("eth0"), data=ACCEPTS)],
    "networks": [Element(bytes((10, 65, 0, 0)), bytes((10, 65, 255, 255)))],
    "empty": [],
}


def ask(packet: Packet, *expressions: Expression) -> tuple[Answer, ...]:
    return question(body(expressions), {name: partial(list, content) for name, content in SETS.items()})(packet)


INCOMING, SOURCE, DESTINATION = Meta(MetaKey.IIFNAME), Payload(Base.NETWORK, 12, 4), Payload(Base.NETWORK, 16, 4)


@pytest.mark.parametrize(
    ("packet", "expressions", "expected"),
    [
        (OUT, (), SURE),
        (OUT, (Counter(7, 9),), SURE),
        (OUT, (INCOMING, Cmp(ifname("cali1"))), SURE),
        (OUT, (INCOMING, Cmp(ifname("cali1"), Op.NEQ)), NO),
        (OUT, (INCOMING, Cmp(b"cali")), SURE),  # "cali*"
        (OUT, (INCOMING, Cmp(b"calix")), NO),
        (OUT, (Meta(MetaKey.OIF), Cmp((2).to_bytes(4, "little"))), SURE),
        (OUT, (Meta(MetaKey.NFPROTO), Cmp(b"\x02")), SURE),
        (OUT, (Meta(MetaKey.NFPROTO), Cmp(b"\x0a")), NO),
        (OUT, (Meta(MetaKey.L4PROTO), Cmp(b"\x06")), SURE),
        (BGP, (Meta(MetaKey.L4PROTO), Cmp(b"\x11")), NO),
        (BGP, (Payload(Base.TRANSPORT, 2, 2), Cmp((179).to_bytes(2, "big"))), SURE),
        (BGP, (Payload(Base.TRANSPORT, 2, 2), Range((1).to_bytes(2, "big"), (178).to_bytes(2, "big"))), NO),
        (BGP, (Payload(Base.TRANSPORT, 0, 2), Cmp((179).to_bytes(2, "big"))), UNSURE),
        (OUT, (SOURCE, Cmp(bytes((10, 65, 0, 21)))), SURE),
        (OUT, (SOURCE, Bitwise(b"\xff\xff\0\0", bytes(4)), Cmp(bytes((10, 65, 0, 0)))), SURE),
        (OUT, (SOURCE, Bitwise(b"\xff\xff\0\0", bytes(4)), Cmp(bytes((10, 66, 0, 0)))), NO),
        (OUT, (DESTINATION, Bitwise(b"\xff\xff\0\0", bytes(4)), Cmp(bytes((10, 66, 0, 0)))), UNSURE),
        (OUT, (Ct(CtKey.STATE), Bitwise(NEW, bytes(4)), Cmp(bytes(4), Op.NEQ)), SURE),
        (OUT, (Ct(CtKey.STATE), Bitwise(ESTABLISHED, bytes(4)), Cmp(bytes(4), Op.NEQ)), NO),
        (OUT, (Limit(10),), UNSURE),
        (OUT, (INCOMING, Lookup("names")), SURE),
        (OUT, (INCOMING, Lookup("names", inverted=True)), NO),
        (OUT, (INCOMING, Lookup("empty")), NO),
        (OUT, (SOURCE, Lookup("networks")), SURE),
        (OUT, (DESTINATION, Lookup("networks")), UNSURE),
        (OUT, (INCOMING, Lookup("unknown")), UNSURE),
        # What is known decides, whatever else is asked.
        (OUT, (Limit(10), INCOMING, Cmp(ifname("eth0"))), NO),
    ],
)
def test_what_a_rule_asks(packet: Packet, expressions: tuple[Expression, ...], expected: tuple[Answer, ...]) -> None:
    assert ask(packet, *expressions, Decide(DROPS)) == expected
    assert ask(packet, *expressions, Reject()) == expected
    assert ask(packet, *expressions) == ()


def test_a_map_of_verdicts() -> None:
    verdicts = Lookup("verdicts", into=VERDICT_REGISTER)
    assert ask(OUT, INCOMING, verdicts) == (Answer(True, Action(Kind.JUMP, "one")),)
    assert ask(BGP, INCOMING, verdicts) == (Answer(True, ACCEPT),)
    assert ask(OUT._replace(incoming=Interface("lo", 1)), INCOMING, verdicts) == ()
    both = (Answer(False, Action(Kind.JUMP, "one")), Answer(False, ACCEPT))
    assert ask(OUT, Payload(Base.NETWORK, 1, 1), verdicts) == both


def test_a_set_that_cannot_be_read_leaves_it_open() -> None:
    def fails() -> list[Element]:
        raise KernelError("list elements of a b: Operation not permitted")

    rule = question(body([INCOMING, Lookup("names"), Decide(DROPS)]), {"names": fails})
    assert rule(OUT) == UNSURE


class Xt:
    """An expression that iptables-nft writes for what nf_tables lacks."""

    def __init__(self, kind: str, name: str, revision: int = 0, info: bytes = b"") -> None:
        inner = text(1, name) + be32(2, revision) + attribute(3, info)
        self._encoded = nest(1, text(1, kind), nest(2, inner))

    def encode(self) -> bytes:
        return self._encoded


def conntrack(states: int, *, inverted: bool = False, wanted: int = 1) -> bytes:
    return bytes(146) + struct.pack("=HHHH", wanted, int(inverted), states, 0)


def multiport(*ports: int | tuple[int, int], inverted: int = 0) -> bytes:
    listed: list[tuple[int, int]] = []
    for each in ports:
        listed += [(each, 0)] if isinstance(each, int) else [(each[0], 1), (each[1], 0)]
    padded = [*listed, *[(0, 0)] * (15 - len(listed))]
    values = [port for port, _ in padded] + [mark for _, mark in padded]
    return struct.pack("=BB15H15BB", 1, len(listed), *values, inverted)


@pytest.mark.parametrize(
    ("packet", "match", "expected"),
    [
        (OUT, Xt("match", "comment", 0, b"x"), SURE),
        (OUT, Xt("match", "conntrack", 3, conntrack(xtables.STATE_NEW)), SURE),
        (OUT, Xt("match", "conntrack", 3, conntrack(xtables.STATE_NEW, inverted=True)), NO),
        (OUT, Xt("match", "conntrack", 3, conntrack(6)), NO),
        (OUT, Xt("match", "conntrack", 3, conntrack(6, wanted=1 | 1 << 13)), NO),
        (OUT, Xt("match", "conntrack", 3, conntrack(6, wanted=3)), UNSURE),
        (OUT, Xt("match", "conntrack", 3, b"short"), UNSURE),
        (OUT, Xt("match", "mark", 1, struct.pack("=IIB", 0x4000, 0x4000, 0)), NO),
        (OUT, Xt("match", "mark", 1, struct.pack("=IIB", 0x4000, 0x4000, 1)), SURE),
        (BGP, Xt("match", "tcp", 0, struct.pack("=HHHHBBBB", 0, 0xFFFF, 179, 179, 0, 0, 0, 0)), SURE),
        (BGP, Xt("match", "tcp", 0, struct.pack("=HHHHBBBB", 0, 0xFFFF, 22, 22, 0, 0, 0, 0)), NO),
        (BGP, Xt("match", "tcp", 0, struct.pack("=HHHHBBBB", 1, 9, 179, 179, 0, 0, 0, 0)), UNSURE),
        (BGP, Xt("match", "multiport", 1, multiport(22, (170, 180))), SURE),
        (BGP, Xt("match", "multiport", 1, multiport(22, 80)), NO),
        (BGP, Xt("match", "multiport", 1, multiport(22, 80, inverted=1)), SURE),
        (OUT, Xt("match", "multiport", 1, multiport(22, 80)), UNSURE),
        (BGP, Xt("match", "udp", 0, struct.pack("=HHHHB", 0, 0xFFFF, 179, 179, 0)), NO),
        (OUT, Xt("match", "set", 4, bytes(40)), UNSURE),
    ],
)
def test_matches_of_xtables(packet: Packet, match: Xt, expected: tuple[Answer, ...]) -> None:
    assert ask(packet, match, Decide(DROPS)) == expected


def test_targets_of_xtables() -> None:
    assert ask(OUT, Xt("target", "REJECT")) == SURE
    assert ask(OUT, Xt("target", "LOG")) == ()


@given(st.binary(max_size=80))
def test_bytes_that_nobody_wrote_are_refused_or_understood(packed: bytes) -> None:
    try:
        answers = question(packed, {})(OUT)
    except KernelError:
        return
    assert all(isinstance(answer, Answer) for answer in answers)
