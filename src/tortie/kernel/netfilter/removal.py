"""A table taken away under traffic.

A packet keeps to the rules that stood when it came to a base chain, and asks sets and maps as they are when it gets
there (net/netfilter/nf_tables_core.c, nft_do_chain; nft_set_hash.c). One that is under way while a table goes in a
single transaction finds its maps empty, and meets the rules behind them: 47 removals under a flood of pings cost 7 of
them, and 28 where the base chains went first none.
"""

from __future__ import annotations

from tortie.kernel.netfilter import chain, table
from tortie.kernel.netfilter.message import Family
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netfilter.transaction import commit


def remove(sock: NetfilterSocket, family: Family, name: str) -> None:
    """Takes away the table with all that is in it. Raises KernelError, `Gone` if there is none."""
    bases = [each for each in chain.dump(sock, family, name) if each.hook is not None]
    if bases:
        commit(sock, [chain.delete(each) for each in bases])
    commit(sock, [table.delete(family, name)])
