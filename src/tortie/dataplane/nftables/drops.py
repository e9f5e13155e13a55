"""Where packets end: a chain for each reason, which counts, tells and drops; and what these chains have counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from tortie.conventions import DROP_GROUP
from tortie.dataplane.nftables.rows import TABLE, ChainSpec, KernelRule, Kind, RowKey, Rows
from tortie.errors import Gone
from tortie.intent.packet import TCP
from tortie.intent.policy import PolicySettings
from tortie.intent.report import Count
from tortie.intent.verdict import DROPPING, Reason
from tortie.kernel.netfilter import rule
from tortie.kernel.netfilter.expression import Cmp, Meta, MetaKey
from tortie.kernel.netfilter.message import Family
from tortie.kernel.netfilter.rule import body
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netfilter.statement import Counter, Decide, Icmpx, Limit, Log, Reject, RejectType
from tortie.kernel.netfilter.verdict import DROP, Verdict, goto

# Of drops that are told of, a second; all are counted.
TOLD_PER_S = 100

# Denials of policy, which may be told to the sender.
REJECTED = (Reason.POLICY, Reason.TIER_DEFAULT, Reason.NO_PROFILE_MATCHED)

SILENT = "-silent"  # behind the names of chains: those that answer nobody


def drop_chain(reason: Reason) -> str:
    """The chain in which packets end for that reason; its counters say how many."""
    return f"drop-{reason}"


def drop(reason: Reason) -> Verdict:
    """The end of a packet, for that reason."""
    return goto(drop_chain(reason))


def drops(settings: PolicySettings) -> Rows:
    """The chains of all reasons."""
    return {RowKey(Kind.CHAIN, drop_chain(reason)): ChainSpec(tuple(_rules(reason, settings))) for reason in Reason}


def silent_drops() -> Rows:
    """The same where nobody can be answered, of those reasons that are told to senders elsewhere."""
    rules = {reason: ChainSpec(tuple(_rules(reason, PolicySettings()))) for reason in REJECTED}
    return {RowKey(Kind.CHAIN, drop_chain(reason) + SILENT): spec for reason, spec in rules.items()}


def _rules(reason: Reason, settings: PolicySettings) -> Iterator[KernelRule]:
    """Told to who listens, as far as the limit goes; counted always."""
    yield KernelRule(body((Limit(TOLD_PER_S, burst=TOLD_PER_S), Log(DROP_GROUP, reason, 256))))
    if settings.deny == "Reject" and reason in REJECTED:
        yield KernelRule(body((Meta(MetaKey.L4PROTO), Cmp(bytes([TCP])), Counter(), Reject(RejectType.TCP_RESET))))
        yield KernelRule(body((Counter(), Reject(RejectType.ICMPX, Icmpx.ADMIN_PROHIBITED))))
    else:
        yield KernelRule(body((Counter(), Decide(DROP))))


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
