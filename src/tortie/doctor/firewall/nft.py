"""nf_tables as questions to a packet, from the kernel's own dump: no program is run, and iptables-nft comes with it.

An expression that nobody here knows leaves it open whether its rule matches, so an answer is at worst unsure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

from tortie.doctor.firewall.expressions import Contents, Run, step
from tortie.doctor.firewall.packet import Hook, Packet
from tortie.doctor.firewall.ruleset import IPTABLES_NFT, NFTABLES, Answer, Base, Rule, Ruleset
from tortie.errors import Gone
from tortie.kernel.netfilter import chain, elements, rule, sets, table
from tortie.kernel.netfilter.chain import InetHook
from tortie.kernel.netfilter.elements import Element
from tortie.kernel.netfilter.message import Family, parse_list
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netfilter.table import Table, TableFlag
from tortie.kernel.netfilter.verdict import Code
from tortie.kernel.netlink.message import parse_attributes

# A function of nf_tables: asking a kernel that has only the module would load it.
SYMBOL = "nft_do_chain"
OWN_TABLE = "tortie"
OWN_FRAGMENTS = "tortie-fragments-"  # begins the name of what policy by iptables has here

_FAMILIES = {Family.INET: "inet", Family.IP: "ip", Family.IP6: "ip6"}
_HOOKS = {
    InetHook.PREROUTING: "prerouting",
    InetHook.INPUT: "input",
    InetHook.FORWARD: "forward",
    InetHook.OUTPUT: "output",
    InetHook.POSTROUTING: "postrouting",
}
# What iptables-nft calls its tables and base chains.
_XTABLES = ("filter", "mangle", "raw", "security", "nat")
# Drops belong in filter chains; what is only translated is not dropped.
_NAT = "nat"

_CONCATENATED = 1 << 6  # numbers of types from here on are of several fields
_NAME, _DATA = 1, 2  # of an expression


def read(sock: NetfilterSocket) -> Iterator[Ruleset]:
    """The tables of others in the network namespace of the socket."""
    for each in table.dump(sock):
        if each.family in _FAMILIES and not _is_own(each.name) and not each.flags & TableFlag.DORMANT:
            try:
                found = _table(sock, each)
            except Gone:
                continue  # somebody took it away meanwhile
            if found.bases:
                yield found


def own_priorities(sock: NetfilterSocket) -> dict[str, list[int]]:
    """Where tortie's own base chains hook in; nothing where policy is not enforced by nftables."""
    found: dict[str, list[int]] = {}
    for each in chain.dump(sock, Family.INET, OWN_TABLE):
        if each.hook is not None and each.hook.number in _HOOKS:
            found.setdefault(_HOOKS[InetHook(each.hook.number)], []).append(each.hook.priority)
    return found


def _is_own(name: str) -> bool:
    return name == OWN_TABLE or name.startswith(OWN_FRAGMENTS)


def _table(sock: NetfilterSocket, found: Table) -> Ruleset:
    chains = chain.dump(sock, found.family, found.name)
    hooked = [each for each in chains if each.hook and each.hook.number in _HOOKS and each.hook.type != _NAT]
    if not hooked:
        return Ruleset((), {})
    known = {each.name: each for each in sets.dump(sock, found.family, found.name)}
    contents = {name: partial(_elements, sock, each, {}) for name, each in known.items() if _is_readable(each)}
    rules: dict[str, list[Rule]] = {each.name: [] for each in chains}
    for each in rule.dump(sock, found.family, found.name):
        rules.setdefault(each.chain, []).append(Rule(_name(each), question(each.expressions, contents)))
    return Ruleset(
        tuple(_base(each) for each in hooked if each.hook),
        {name: tuple(listed) for name, listed in rules.items()},
    )


def _base(found: chain.Chain) -> Base:
    assert found.hook is not None
    by_xtables = found.family != Family.INET and found.table in _XTABLES and found.name.isupper()
    return Base(
        program=IPTABLES_NFT if by_xtables else NFTABLES,
        family=_FAMILIES[found.family],
        table=found.table,
        chain=found.name,
        hook=cast("Hook", _HOOKS[InetHook(found.hook.number)]),
        priority=found.hook.priority,
        drops=found.hook.policy is Code.DROP,
    )


def _name(found: rule.Rule) -> str:
    return f"handle {found.handle}" + (f' "{found.comment}"' if found.comment else "")


def _is_readable(found: sets.Set) -> bool:
    """Of intervals of several fields each field is an interval of its own, and the kernel tells no fields."""
    return not found.interval or (len(found.key) == 1 and found.key[0].number < _CONCATENATED)


def _elements(sock: NetfilterSocket, wanted: sets.Set, read_before: dict[str, list[Element]]) -> list[Element]:
    if wanted.name not in read_before:
        read_before[wanted.name] = elements.dump(sock, wanted)
    return read_before[wanted.name]


def question(packed: bytes, contents: Contents) -> Callable[[Packet], tuple[Answer, ...]]:
    """What a rule of these bytes does to a packet; `contents` are the sets of its table."""
    opened = [parse_attributes(entry) for entry in parse_list(packed)]
    found = [step(one.text(_NAME), one.nested(_DATA), contents) for one in opened]
    steps = [one for one in found if one is not None]

    def ask(packet: Packet) -> tuple[Answer, ...]:
        run = Run(packet)
        for take in steps:
            answers = take(run)
            if answers is not None:
                return answers
        return ()

    return ask
