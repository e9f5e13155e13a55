"""How many packets were dropped for each reason, from the counters of the chains in which they end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from tortie.dataplane.nftables.chains import SILENT
from tortie.dataplane.nftables.rows import TABLE
from tortie.dataplane.nftables.skeleton import drop_chain
from tortie.errors import Gone
from tortie.intent.report import Count
from tortie.intent.verdict import DROPPING, Reason
from tortie.kernel.netfilter import rule
from tortie.kernel.netfilter.message import Family
from tortie.kernel.netfilter.socket import NetfilterSocket


def dropped(sock: NetfilterSocket) -> Mapping[Reason, Count]:
    """Since each chain was written; a change of `deny` writes some of them anew, and they count from zero."""
    return {reason: _sum(sock, drop_chain(reason)) for reason in DROPPING}


def _sum(sock: NetfilterSocket, chain: str) -> Count:
    total = Count(0, 0)
    for name in (chain, chain + SILENT):
        with suppress(Gone):
            for one in rule.dump(sock, Family.INET, TABLE, name):
                for figure in rule.figures(one.expressions):
                    total += Count(*figure)
    return total
