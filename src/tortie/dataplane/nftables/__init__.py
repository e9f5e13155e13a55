"""Policy by nftables, in a table of our own.

`rows` names what stands in the kernel. Which rows an intent takes is said by `skeleton`, the base chains; `arrival`,
who may be behind an interface; `chains`, a policy; `endpoints`, what calls policies; `hosts`, that of host endpoints;
and `translation`; all of them ask by `match` and `conditions`, and end in `drops`. `sets` has what is in the selectors'
sets; `cover` and `ordered` keep the prefixes of these apart, and `lengths` says which of them have a hash. `table` is
the kernel's side and `watch` sees what others do to it; `sink` joins them; `counting` and `drops` read the counters.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from tortie.dataplane.contract import Backend, Options
from tortie.dataplane.nftables.arrival import MACS, PARTICULAR, SOURCES, WORKLOADS
from tortie.dataplane.nftables.drops import dropped
from tortie.dataplane.nftables.hosts import HOST_MAPS
from tortie.dataplane.nftables.rows import MAP, Kind
from tortie.dataplane.nftables.sink import NftablesBackend
from tortie.dataplane.nftables.skeleton import RECEIVER, SENDER
from tortie.dataplane.nftables.table import (
    BaseChainTable,
    ChainTable,
    MemberTable,
    SetTable,
    open_table,
    put_table,
    remove_table,
    traces,
)
from tortie.dataplane.nftables.watch import TableWatch
from tortie.intent.report import Count
from tortie.intent.verdict import Reason
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.reconcile import Table

__all__ = ["BACKENDS", "NftablesBackend", "dropped", "make"]

_DISPATCH = frozenset({WORKLOADS, MACS, *SOURCES.values(), PARTICULAR, SENDER, RECEIVER, *HOST_MAPS})


def make(sock: NetfilterSocket, prefixes: tuple[str, ...]) -> NftablesBackend:
    """The backend for the network namespace of the socket, which keeps the table as long as it is open."""
    flags = open_table(sock)
    sets, chains = SetTable(sock), ChainTable(sock)
    members = MemberTable(sock, sets, chains, lambda name: not (name in _DISPATCH or name.startswith(MAP)))
    tables: dict[Kind, Table[Any, Any]] = {
        Kind.SET: sets,
        Kind.MEMBER: members,
        Kind.ENTRY: MemberTable(sock, sets, chains, lambda name: name.startswith(MAP), counts=True),
        Kind.CHAIN: chains,
        Kind.DISPATCH: MemberTable(sock, sets, chains, lambda name: name in _DISPATCH),
        Kind.BASE: BaseChainTable(chains),
    }
    watch = None if flags else TableWatch(sock)
    return NftablesBackend(tables, members, chains, partial(put_table, sock, flags), watch, prefixes)


def _open(options: Options) -> NftablesBackend:
    return make(NetfilterSocket(), options.prefixes)


def _traces(options: Options) -> list[str]:
    with NetfilterSocket() as sock:
        return traces(sock)


def _remove(options: Options) -> None:
    with NetfilterSocket() as sock:
        remove_table(sock)


def _drops() -> Mapping[Reason, Count]:
    with NetfilterSocket() as sock:
        return dropped(sock)


BACKENDS = {"nftables": Backend(_open, _traces, _remove, _drops)}
