"""Policy by iptables and IP sets, for hosts that need them, by the programs of either variant.

`rows` names what stands in the kernel. Which rows an intent takes: `hooks` says where packets are met, `dispatch` which
way their interface leads, `skeleton` what all workloads share, `match` and `chains` what policy is, `hosts` what host
endpoints add, `translation` what becomes of addresses, `drops` where packets end, `sets` what selectors mean;
`fragments` what only nf_tables can ask in time. `table` and `fragment_table` are the kernel's side and `watch` sees
what others do to it; `sink` joins them; `counting` reads what rules counted; `backend` keeps all of that in a thread.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from tortie.dataplane.contract import Backend, Options
from tortie.dataplane.iptables.backend import IptablesBackend
from tortie.dataplane.iptables.chains import Marks
from tortie.dataplane.iptables.counting import count
from tortie.dataplane.iptables.drops import count_drops
from tortie.dataplane.iptables.fragment_table import (
    FragmentTable,
    count_fragment_drops,
    fragment_traces,
    remove_fragment_table,
)
from tortie.dataplane.iptables.fragments import standing_chains
from tortie.dataplane.iptables.rows import Kind
from tortie.dataplane.iptables.sink import IptablesSink
from tortie.dataplane.iptables.table import ChainTable, JumpTable, MemberTable, SetTable
from tortie.dataplane.iptables.watch import KernelWatch
from tortie.intent.report import Count
from tortie.intent.verdict import Reason
from tortie.kernel.netfilter import ipset
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netfilter.xtables import Variant, Xtables, may_hold_rules
from tortie.reconcile import Table

__all__ = ["BACKENDS", "IptablesBackend", "make"]


def make(variant: Variant, options: Options) -> IptablesBackend:
    """The backend for the network namespace of the calling thread."""
    marks = Marks.within(options.mark_mask)
    xtables, sock = Xtables(variant, options.xtables_lock), NetfilterSocket()

    def open_sink() -> IptablesSink:
        sets, chains = SetTable(), ChainTable(xtables)
        fragments = FragmentTable(sock, variant, standing_chains(options.prefixes))
        tables: dict[Kind, Table[Any, Any]] = {
            Kind.SET: sets,
            Kind.MEMBER: MemberTable(sets),
            Kind.CHAIN: chains,
            Kind.JUMP: JumpTable(xtables, chains),
            Kind.FRAGMENT: fragments,
        }
        return IptablesSink(tables, KernelWatch(xtables, chains, fragments, sock), options.prefixes, marks)

    def close_sink() -> None:
        xtables.close()
        sock.close()

    return IptablesBackend(open_sink, close_sink, partial(count, xtables), options.wake, options.prefixes)


def traces(variant: Variant, options: Options) -> list[str]:
    """Jumps, chains and sets, and the table of fragments. Sets belong to both variants: each tells of all."""
    rules = _rule_traces(variant, options) if may_hold_rules(variant) else []
    return rules + fragment_traces(variant)


def _rule_traces(variant: Variant, options: Options) -> list[str]:
    xtables = Xtables(variant, options.xtables_lock)
    try:
        chains = ChainTable(xtables)
        ours = chains.read(())
        jumps = JumpTable(xtables, chains).read(())
    finally:
        xtables.close()
    return [
        *(f"IPv{key.family} {key.table}: rule of {key.name} that leads to tortie's" for key in jumps),
        *(f"IPv{key.family} {key.table}: chain {key.name}" for key in ours),
        *(f"IP set {name}" for name in _standing(SetTable())),
    ]


def _standing(sets: SetTable) -> Collection[str]:
    """The sets that there are; none where nobody can have made one."""
    return sets.read(()).keys() if ipset.is_installed() else ()


def remove(variant: Variant, options: Options) -> None:
    """Both are tried, whatever becomes of the other: the rules, and the table of fragments."""
    try:
        if may_hold_rules(variant):
            _remove_rules(variant, options)
    finally:
        remove_fragment_table(variant)


def _remove_rules(variant: Variant, options: Options) -> None:
    """Jumps first, so that nobody passes by what goes. Sets that the other variant uses stay."""
    xtables = Xtables(variant, options.xtables_lock)
    try:
        sets, chains = SetTable(), ChainTable(xtables)
        jumps = JumpTable(xtables, chains)
        ours = chains.read(())
        failed = [*jumps.delete(jumps.read(()).keys()).values(), *chains.delete(ours.keys()).values()]
        sets.delete(_standing(sets))
    finally:
        xtables.close()
    if failed:
        raise failed[0]


def drops(variant: Variant) -> Mapping[Reason, Count]:
    """In the tables of iptables, and before them."""
    before = count_fragment_drops(variant)
    return {reason: count + before.get(reason, Count(0, 0)) for reason, count in count_drops(variant).items()}


BACKENDS = {
    f"iptables-{variant}": Backend(
        partial(make, variant), partial(traces, variant), partial(remove, variant), partial(drops, variant)
    )
    for variant in Variant
}
