"""Every expression: taken by the kernel, read by nft as it is meant, and read back byte for byte as it was sent."""

from __future__ import annotations

from collections.abc import Sequence
from sys import byteorder
from typing import Any

import pytest

from tests.netns.conftest import Namespace
from tests.netns.kernel.netfilter.nft import INET, TABLE, ip, rules
from tortie.kernel.netfilter import chain, elements, rule, sets, table
from tortie.kernel.netfilter.chain import ArpHook, Chain, Hook, InetHook, NetdevHook, Priority
from tortie.kernel.netfilter.datatype import IFNAME, IPV4, SERVICE, VERDICT
from tortie.kernel.netfilter.elements import Element
from tortie.kernel.netfilter.expression import (
    VERDICT_REGISTER,
    Base,
    Bitwise,
    Cmp,
    Ct,
    CtDirection,
    CtKey,
    CtState,
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
from tortie.kernel.netfilter.rule import Rule
from tortie.kernel.netfilter.sets import Set
from tortie.kernel.netfilter.socket import NetfilterSocket
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
from tortie.kernel.netfilter.table import Table
from tortie.kernel.netfilter.transaction import commit
from tortie.kernel.netfilter.verdict import ACCEPT, CONTINUE, DROP, RETURN, Code, goto, jump

TCP = (Meta(MetaKey.L4PROTO), Cmp(b"\6"))
IS_IPV4 = (Meta(MetaKey.NFPROTO), Cmp(b"\2"))
SOURCE = Payload(Base.NETWORK, 12, 4)
PORT = Payload(Base.TRANSPORT, 2, 2)

MEMBERS = Set(INET, TABLE, "members", (IPV4,))
PAIRS = Set(INET, TABLE, "pairs", (IPV4, SERVICE))
VERDICTS = Set(INET, TABLE, "verdicts", (IFNAME,), (VERDICT,))
TARGETS = Set(INET, TABLE, "targets", (SERVICE,), (IPV4,))


def number(value: int) -> bytes:
    return value.to_bytes(4, byteorder)


def match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def meta(key: str) -> dict[str, Any]:
    return {"meta": {"key": key}}


def payload(protocol: str, field: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": field}}


TCP_PORT = payload("tcp", "dport")
NFPROTO_IPV4 = match(meta("nfproto"), "ipv4")

Case = tuple[Sequence[Expression], Sequence[Any]]

FILTER: dict[str, Case] = {
    "interface by name": ((Meta(MetaKey.IIFNAME), Cmp(b"eth0".ljust(16, b"\0"))), [match(meta("iifname"), "eth0")]),
    "interface by index": ((Meta(MetaKey.OIF), Cmp(number(1))), [match(meta("oif"), "lo")]),
    "names by their beginning": ((Meta(MetaKey.OIFNAME), Cmp(b"cali")), [match(meta("oifname"), "cali*")]),
    "family": ((Meta(MetaKey.NFPROTO), Cmp(b"\x0a")), [match(meta("nfproto"), "ipv6")]),
    "mark with a mask": (
        (Meta(MetaKey.MARK), Bitwise(number(0xF0), number(0)), Cmp(number(0x20), Op.NEQ)),
        [match({"&": [meta("mark"), 0xF0]}, 0x20, "!=")],
    ),
    "protocol and port": ((*TCP, PORT, Cmp(b"\0\x50")), [match(TCP_PORT, 80)]),
    "ports from a range": ((*TCP, PORT, Cmp(b"\0\x50", Op.GTE)), [match(TCP_PORT, 80, ">=")]),
    "ports outside a range": (
        (*TCP, PORT, Range(b"\0\x50", b"\0\x5a", inverted=True)),
        [match(TCP_PORT, {"range": [80, 90]}, "!=")],
    ),
    "address and prefix": (
        (*IS_IPV4, SOURCE, Bitwise(ip("255.240.0.0"), bytes(4)), Cmp(ip("10.16.0.0"))),
        [match(payload("ip", "saddr"), {"prefix": {"addr": "10.16.0.0", "len": 12}})],
    ),
    "MAC": (
        (Meta(MetaKey.IIFTYPE), Cmp(b"\1\0"), Payload(Base.LINK, 6, 6), Cmp(bytes.fromhex("020000000018"))),
        [match(payload("ether", "saddr"), "02:00:00:00:00:18")],
    ),
    "flags of TCP": (
        (*TCP, Payload(Base.TRANSPORT, 13, 1), Bitwise(b"\x17", b"\0"), Cmp(b"\2", Op.NEQ)),
        [match({"&": [payload("tcp", "flags"), ["fin", "syn", "rst", "ack"]]}, "syn", "!=")],
    ),
    "state": (
        (
            Ct(CtKey.STATE),
            Bitwise(number(CtState.ESTABLISHED | CtState.RELATED), number(0)),
            Cmp(number(0), Op.NEQ),
        ),
        [match({"ct": {"key": "state"}}, ["established", "related"], "in")],
    ),
    "status": (
        (Ct(CtKey.STATUS), Bitwise(number(0x20), number(0)), Cmp(number(0), Op.NEQ)),
        [match({"ct": {"key": "status"}}, "dnat", "in")],
    ),
    "mark of the connection": ((Ct(CtKey.MARK), Cmp(number(7))), [match({"ct": {"key": "mark"}}, 7)]),
    "direction": ((Ct(CtKey.DIRECTION), Cmp(b"\1")), [match({"ct": {"key": "direction"}}, "reply")]),
    "original address": (
        (Ct(CtKey.SRC_IP, direction=CtDirection.ORIGINAL), Cmp(ip("10.0.0.1"))),
        [match({"ct": {"key": "ip saddr", "dir": "original"}}, "10.0.0.1")],
    ),
    "reverse path": (
        (Fib(FibResult.OIF, FibFlag.SOURCE | FibFlag.IIF | FibFlag.PRESENT), Cmp(number(0)), Decide(DROP)),
        [match({"fib": {"result": "oif", "flags": ["saddr", "iif"]}}, False), {"drop": None}],
    ),
    "type of address": (
        (Fib(FibResult.ADDRESS_TYPE, FibFlag.DESTINATION), Cmp(number(2))),
        [match({"fib": {"result": "type", "flags": ["daddr"]}}, "local")],
    ),
    "fragment": ((Exthdr(44, 0, 1, present=True), Cmp(b"\1")), [match({"exthdr": {"name": "frag"}}, True)]),
    "set": ((*IS_IPV4, SOURCE, Lookup("members")), [match(payload("ip", "saddr"), "@members")]),
    "not in a set": (
        (*IS_IPV4, SOURCE, Lookup("members", inverted=True)),
        [match(payload("ip", "saddr"), "@members", "!=")],
    ),
    "concatenation": (
        (*IS_IPV4, *TCP, SOURCE, PORT._replace(register=1), Lookup("pairs")),
        [match({"concat": [payload("ip", "saddr"), TCP_PORT]}, "@pairs")],
    ),
    "verdict map": (
        (Meta(MetaKey.IIFNAME), Lookup("verdicts", into=VERDICT_REGISTER)),
        [{"vmap": {"key": meta("iifname"), "data": "@verdicts"}}],
    ),
    "accept": ((Decide(ACCEPT),), [{"accept": None}]),
    "drop": ((Decide(DROP),), [{"drop": None}]),
    "continue": ((Decide(CONTINUE),), [{"continue": None}]),
    "return": ((Decide(RETURN),), [{"return": None}]),
    "jump": ((Decide(jump("other")),), [{"jump": {"target": "other"}}]),
    "goto": ((Decide(goto("other")),), [{"goto": {"target": "other"}}]),
    "counter": ((Counter(2, 120),), [{"counter": {"packets": 2, "bytes": 120}}]),
    "log": ((Log(5, "why", 64),), [{"log": {"prefix": "why", "group": 5, "snaplen": 64}}]),
    "limit": ((Limit(10, burst=20),), [{"limit": {"rate": 10, "burst": 20, "per": "second"}}]),
    "beyond a limit": (
        (Limit(3, 60, over=True),),
        [{"limit": {"rate": 3, "burst": 5, "per": "minute", "inv": True}}],
    ),
    "connections": ((Connlimit(3, over=True), Decide(DROP)), [{"ct count": {"val": 3, "inv": True}}, {"drop": None}]),
    "mark set": ((Immediate(number(9)), SetMeta(MetaKey.MARK)), [{"mangle": {"key": meta("mark"), "value": 9}}]),
    "mark of the connection set": (
        (Immediate(number(9)), SetCt(CtKey.MARK)),
        [{"mangle": {"key": {"ct": {"key": "mark"}}, "value": 9}}],
    ),
    "reject": (
        (Reject(RejectType.ICMPX, Icmpx.ADMIN_PROHIBITED),),
        [{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}],
    ),
    "reject in IPv4": (
        (*IS_IPV4, Reject(RejectType.ICMP, 1)),
        [{"reject": {"type": "icmp", "expr": "host-unreachable"}}],
    ),
    "reject with a reset": (
        (*TCP, Reject(RejectType.TCP_RESET)),
        [match(meta("l4proto"), "tcp"), {"reject": {"type": "tcp reset"}}],
    ),
    "notrack": ((Notrack(),), [{"notrack": None}]),
}

DESTINATION_NAT: dict[str, Case] = {
    "address": (
        (*IS_IPV4, Immediate(ip("10.0.0.9")), Nat(NatType.DESTINATION, Family.IP, 0)),
        [NFPROTO_IPV4, {"dnat": {"family": "ip", "addr": "10.0.0.9"}}],
    ),
    "address and port": (
        (*TCP, Immediate(ip("fd00::9")), Immediate(b"\0\x50", 4), Nat(NatType.DESTINATION, Family.IP6, 0, 4)),
        [match(meta("l4proto"), "tcp"), {"dnat": {"family": "ip6", "addr": "fd00::9", "port": 80}}],
    ),
    "address by a map": (
        (*TCP, PORT, Lookup("targets", into=0), Nat(NatType.DESTINATION, Family.IP, 0)),
        [{"dnat": {"family": "ip", "addr": {"map": {"key": TCP_PORT, "data": "@targets"}}}}],
    ),
    "redirect": (
        (*TCP, Immediate(b"\0\x50"), Redirect(0)),
        [match(meta("l4proto"), "tcp"), {"redirect": {"port": 80}}],
    ),
    "redirect to the same port": ((Redirect(),), [{"redirect": None}]),
}

SOURCE_NAT: dict[str, Case] = {
    "address": (
        (*IS_IPV4, Immediate(ip("10.0.0.9")), Nat(NatType.SOURCE, Family.IP, 0)),
        [NFPROTO_IPV4, {"snat": {"family": "ip", "addr": "10.0.0.9"}}],
    ),
    "masquerade": ((Masquerade(),), [{"masquerade": None}]),
    "masquerade with random ports": (
        (Masquerade(random_ports=True),),
        [{"masquerade": {"flags": "fully-random"}}],
    ),
    "masquerade to a range": (
        (*TCP, Immediate(b"\x04\0"), Immediate(b"\x08\0", 1), Masquerade(port_registers=(0, 1))),
        [match(meta("l4proto"), "tcp"), {"masquerade": {"port": {"range": [1024, 2048]}}}],
    ),
}

HOOKS = {
    "filter": Hook(InetHook.PREROUTING, Priority.RAW),
    "dnat": Hook(InetHook.PREROUTING, Priority.DNAT, type="nat"),
    "snat": Hook(InetHook.POSTROUTING, Priority.SNAT, type="nat"),
}
CASES = [
    *(("filter", name, *case) for name, case in FILTER.items()),
    *(("dnat", name, *case) for name, case in DESTINATION_NAT.items()),
    *(("snat", name, *case) for name, case in SOURCE_NAT.items()),
]


@pytest.mark.parametrize(
    ("hook", "name", "pieces", "expected"), CASES, ids=[f"{hook}-{name}" for hook, name, *_ in CASES]
)
def test_an_expression(
    host: Namespace,
    sock: NetfilterSocket,
    hook: str,
    name: str,
    pieces: Sequence[Expression],
    expected: list[Any],
) -> None:
    # Notrack stands before connection tracking, a rejection behind; both are no business of this test.
    where = HOOKS[hook] if name == "notrack" or hook != "filter" else Hook(InetHook.INPUT)
    wanted = Rule(INET, TABLE, "c", rule.body(pieces), "why it is here")
    base = Chain(INET, TABLE, "c", where)
    others = [chain.add(Chain(INET, TABLE, "other")), *map(sets.add, (MEMBERS, PAIRS, VERDICTS, TARGETS))]
    commit(sock, [*others, chain.add(base), rule.append(wanted)])

    assert rules(host, "c") == [expected]
    (found,) = rule.dump(sock, INET, TABLE, "c")
    assert found == wanted._replace(handle=found.handle)


def test_counters_are_read_and_set_back(sock: NetfilterSocket) -> None:
    body = rule.body([Counter(7, 420), Decide(RETURN)])
    commit(sock, [chain.add(Chain(INET, TABLE, "c")), rule.append(Rule(INET, TABLE, "c", body))])
    (found,) = rule.dump(sock, INET, TABLE)
    assert rule.figures(found.expressions) == [(7, 420)]
    assert rule.zeroed(found.expressions) == rule.body([Counter(), Decide(RETURN)])


FAMILIES: dict[str, tuple[Hook, Sequence[Expression], str]] = {
    "ip": (
        Hook(InetHook.FORWARD, -10, Code.DROP),
        [SOURCE, Cmp(ip("10.0.0.1"))],
        "hook forward priority -10; policy drop",
    ),
    "ip6": (
        Hook(InetHook.OUTPUT, type="route"),
        [Payload(Base.NETWORK, 24, 16), Cmp(ip("fd00::1"))],
        "type route hook output",
    ),
    "arp": (Hook(ArpHook.INPUT), [Payload(Base.NETWORK, 6, 2), Cmp(b"\0\1"), Decide(DROP)], "hook input"),
    "netdev": (
        Hook(NetdevHook.INGRESS, device="lo"),
        [Payload(Base.LINK, 6, 6), Cmp(bytes(6)), Decide(DROP)],
        'hook ingress device "lo"',
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_its_tables_chains_and_rules(host: Namespace, sock: NetfilterSocket, name: str) -> None:
    hook, pieces, words = FAMILIES[name]
    family = Family[name.upper()]
    base = Chain(family, TABLE, "c", hook)
    wanted = Rule(family, TABLE, "c", rule.body(pieces))
    commit(sock, [table.put(Table(family, TABLE)), chain.add(base), rule.append(wanted)])

    assert words in host.run(f"nft --numeric list chain {name} {TABLE} c")
    assert [found._replace(handle=0) for found in chain.dump(sock, family, TABLE)] == [base]
    assert [found._replace(handle=0) for found in rule.dump(sock, family, TABLE)] == [wanted]
    assert [(found.family, found.name) for found in table.dump(sock, family)] == [(family, TABLE)]


def test_a_map_of_verdicts_leads_on(host: Namespace, sock: NetfilterSocket) -> None:
    commit(sock, [chain.add(Chain(INET, TABLE, "other")), sets.add(VERDICTS)])
    commit(sock, elements.add(VERDICTS, [Element(b"lo".ljust(16, b"\0"), data=jump("other"))]))
    assert '"lo" : jump other' in host.run(f"nft list map inet {TABLE} verdicts")
