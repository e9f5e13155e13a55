"""Expressions of nf_tables as steps of a rule, taken with a packet of which not everything is known.

Numbers of attributes are those of include/uapi/linux/netfilter/nf_tables.h, as `kernel/netfilter` writes them. An
expression that nobody here knows leaves it open whether its rule matches.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

from tortie.doctor.firewall import xtables
from tortie.doctor.firewall.packet import Packet
from tortie.doctor.firewall.registers import WORD, Registers
from tortie.doctor.firewall.ruleset import ACCEPT, DROP, RETURN, Action, Answer, Kind
from tortie.errors import KernelError
from tortie.kernel.netfilter.datatype import ifname
from tortie.kernel.netfilter.elements import Element
from tortie.kernel.netfilter.expression import Base, CtKey, CtState, MetaKey, Op
from tortie.kernel.netfilter.message import number
from tortie.kernel.netfilter.verdict import Code, Verdict, parse
from tortie.kernel.netlink.message import Attributes

_VALUE, _VERDICT = 1, 2  # of NFTA_DATA
_INVERTED = 1
_LONGEST = 16  # bytes that one expression loads

_NEVER_ENDS = ("counter", "log", "notrack", "objref", "last")
_CODES: Mapping[int, Action] = {Code.ACCEPT: ACCEPT, Code.DROP: DROP, Code.RETURN: RETURN}
_LEADS: Mapping[int, Kind] = {Code.JUMP: Kind.JUMP, Code.GOTO: Kind.GOTO}

# A new connection, which nobody translated or marked.
_CONNECTION: Mapping[int, int] = {CtKey.STATE: CtState.NEW, CtKey.STATUS: 0, CtKey.MARK: 0}

_COMPARED: Mapping[int, Callable[[bytes, bytes], bool]] = {
    Op.EQ: bytes.__eq__,
    Op.NEQ: bytes.__ne__,
    Op.LT: bytes.__lt__,
    Op.LTE: bytes.__le__,
    Op.GT: bytes.__gt__,
    Op.GTE: bytes.__ge__,
}

# A set's elements by its name, read when the first rule asks.
Contents = Mapping[str, Callable[[], Sequence[Element]]]


class Run:
    """One rule with one packet, as far as it was taken."""

    def __init__(self, packet: Packet) -> None:
        self.packet = packet
        self.registers = Registers()
        self.sure = True  # that the rule matches up to here

    def holds(self, matches: bool | None) -> Answers:
        """Goes on, or ends the rule where it does not match."""
        if matches is None:
            self.sure = False
        return () if matches is False else None


Answers = tuple[Answer, ...] | None  # None: on with the next step; (): the rule does not match
Step = Callable[[Run], Answers]


def step(name: str, of: Attributes, contents: Contents) -> Step | None:
    """The expression of that name and these attributes; None: it ends no rule and loads nothing."""
    match name:
        case "meta":
            return None if 3 in of else _load(number(of, 1), _meta(number(of, 2)))  # 3: it sets a mark or the like
        case "payload":
            known = _payload(number(of, 2), number(of, 3), number(of, 4))
            return None if 5 in of else _load(number(of, 1), known, number(of, 4))  # 5: it writes to the packet
        case "ct":
            return None if 4 in of else _load(number(of, 1), _ct(number(of, 2)))  # 4: it sets the mark
        case "immediate":
            return _immediate(of)
        case "bitwise":
            return _bitwise(of)
        case "cmp":
            return _cmp(of)
        case "range":
            return _range(of)
        case "lookup":
            return _lookup(of, contents)
        case "match":
            match_name, revision, info = of.text(1), number(of, 2), of.get(3, b"")
            return lambda run: run.holds(xtables.matches(match_name, revision, info, run.packet))
        case "target" if of.text(1) not in xtables.DROPPING:
            return None
        case "reject" | "target":
            return lambda run: (Answer(run.sure, DROP),)
        case _ if name in _NEVER_ENDS:
            return None
    return _unknown


def _unknown(run: Run) -> Answers:
    """It may load anything anywhere, and match or not."""
    run.registers.forget()
    return run.holds(None)


def _load(register: int, known: Callable[[Packet], bytes | None], length: int = _LONGEST) -> Step:
    def load(run: Run) -> Answers:
        value = known(run.packet)
        run.registers.put(register, value, length if value is None else len(value))
        return None

    return load


def _meta(key: int) -> Callable[[Packet], bytes | None]:
    match key:
        case MetaKey.IIFNAME:
            return lambda packet: ifname(packet.incoming.name)
        case MetaKey.OIFNAME:
            return lambda packet: ifname(packet.outgoing.name)
        case MetaKey.IIF:
            return lambda packet: packet.incoming.ifindex.to_bytes(WORD, sys.byteorder)
        case MetaKey.OIF:
            return lambda packet: packet.outgoing.ifindex.to_bytes(WORD, sys.byteorder)
        case MetaKey.NFPROTO:
            return lambda packet: bytes((2 if packet.family == 4 else 10,))
        case MetaKey.PROTOCOL:
            return lambda packet: (0x0800 if packet.family == 4 else 0x86DD).to_bytes(2, "big")
        case MetaKey.L4PROTO:
            return lambda packet: bytes((packet.protocol,))
        case MetaKey.MARK:
            return lambda packet: bytes(WORD)
    return lambda packet: None


def _payload(base: int, offset: int, length: int) -> Callable[[Packet], bytes | None]:
    """Whole fields, and the beginnings of them, as prefixes of addresses are asked for."""

    def known(packet: Packet) -> bytes | None:
        for at, field in _fields(packet, base):
            if field is not None and at <= offset and offset + length <= at + len(field):
                return field[offset - at : offset - at + length]
        return None

    return known


def _fields(packet: Packet, base: int) -> Iterable[tuple[int, bytes | None]]:
    """The fields of a header that may be known, by their offset."""
    protocol = bytes((packet.protocol,))
    if base == Base.NETWORK and packet.family == 4:
        return (9, protocol), (12, packet.source), (16, packet.destination)
    if base == Base.NETWORK:
        return (6, protocol), (8, packet.source), (24, packet.destination)
    if base == Base.TRANSPORT and packet.port is not None:
        return ((2, packet.port.to_bytes(2, "big")),)
    return ()


def _ct(key: int) -> Callable[[Packet], bytes | None]:
    value = _CONNECTION.get(key)
    known = None if value is None else value.to_bytes(WORD, sys.byteorder)
    return lambda packet: known


def _cmp(of: Attributes) -> Step:
    register, compare, wanted = number(of, 1), _COMPARED.get(number(of, 2)), of.nested(3).get(_VALUE, b"")

    def ask(run: Run) -> Answers:
        value = run.registers.get(register, len(wanted))
        return run.holds(None if value is None or compare is None else compare(value, wanted))

    return ask


def _range(of: Attributes) -> Step:
    register, inverted = number(of, 1), bool(number(of, 2))
    first, last = of.nested(3).get(_VALUE, b""), of.nested(4).get(_VALUE, b"")

    def ask(run: Run) -> Answers:
        value = run.registers.get(register, len(first))
        return run.holds(None if value is None else (first <= value <= last) != inverted)

    return ask


def _bitwise(of: Attributes) -> Step:
    source, into, length = number(of, 1), number(of, 2), number(of, 3)
    by_mask = number(of, 6) == 0  # otherwise a shift, or of two registers
    mask, xor = of.nested(4).get(_VALUE, b""), of.nested(5).get(_VALUE, b"")

    def load(run: Run) -> Answers:
        value = run.registers.get(source, length) if by_mask else None
        if value is not None:
            value = bytes(one & m ^ x for one, m, x in zip(value, mask, xor, strict=False))
        run.registers.put(into, value, length)
        return None

    return load


def _immediate(of: Attributes) -> Step:
    register, data = number(of, 1), of.nested(2)
    if register == 0:
        verdict = parse(data.nested(_VERDICT))
        return lambda run: _decided([verdict], sure=run.sure)
    value = data.get(_VALUE, b"")
    return _load(register, lambda packet: value)


def _lookup(of: Attributes, contents: Contents) -> Step:
    name, register, inverted = of.text(1), number(of, 2), bool(number(of, 5) & _INVERTED)
    into = number(of, 3) if 3 in of else None

    def ask(run: Run) -> Answers:
        try:
            content = contents[name]()
        except (KeyError, KernelError):
            return _unknown(run)  # a set of a kind that nobody here can read
        value = run.registers.get(register, len(content[0].key)) if content else b""
        found = content if value is None else [one for one in content if one.key <= value <= (one.last or one.key)]
        if into == 0:
            # By an unknown key any of them, or none.
            verdicts = dict.fromkeys(one.data for one in found if isinstance(one.data, Verdict))
            return _decided(verdicts, sure=run.sure and value is not None)
        if into is not None:
            run.registers.put(into, None, _LONGEST)
        return run.holds(None if value is None else bool(found) != inverted)

    return ask


def _decided(verdicts: Iterable[Verdict], *, sure: bool) -> tuple[Answer, ...]:
    """Without `continue`, and without what hands the packet to a program."""
    answers = []
    for verdict in verdicts:
        if verdict.code in _LEADS:
            answers.append(Answer(sure, Action(_LEADS[verdict.code], verdict.chain)))
        elif verdict.code in _CODES:
            answers.append(Answer(sure, _CODES[verdict.code]))
    return tuple(answers)
