"""The chains in which packets end, one for each reason: they count, tell and drop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tortie.conventions import DROP_GROUP
from tortie.dataplane.iptables.rows import FILTER, MANGLE, RAW, Rows, Rule, chain, chain_name
from tortie.intent.policy import FAMILIES, Family, PolicySettings
from tortie.intent.report import Count
from tortie.intent.verdict import DROPPING, Reason
from tortie.kernel.netfilter.xtables import Variant, counted, used_tables

# Of drops that are told of, a second; all are counted.
TOLD_PER_S = 100
TOLD_BYTES = 256

_OF_POLICY = frozenset({Reason.POLICY, Reason.TIER_DEFAULT, Reason.NO_PROFILE_MATCHED})
_UNREACHABLE = {4: "icmp-admin-prohibited", 6: "icmp6-adm-prohibited"}


def dropped(reason: Reason) -> str:
    """The chain that counts, tells and drops: by the reason alone, which just fits."""
    return chain_name(reason)


def drop_rows(table: str, reasons: Iterable[Reason], settings: PolicySettings) -> Rows:
    """A denial is told to the sender in the filter table alone: the kernel has REJECT nowhere else."""
    rows: Rows = {}
    for reason in reasons:
        rejects = settings.deny == "Reject" and reason in _OF_POLICY and table == FILTER
        for family in FAMILIES:
            rows |= chain(family, table, dropped(reason), _drop(reason, family, rejects=rejects))
    return rows


def _drop(reason: Reason, family: Family, *, rejects: bool) -> Iterator[Rule]:
    """Told to who listens, as far as the limit goes; counted always."""
    told = f"-j NFLOG --nflog-prefix {reason} --nflog-group {DROP_GROUP} --nflog-size {TOLD_BYTES}"
    yield Rule(f"-m limit --limit {TOLD_PER_S}/second --limit-burst {TOLD_PER_S} {told}")
    if rejects:
        yield Rule("-p 6 -j REJECT --reject-with tcp-reset")
        yield Rule(f"-j REJECT --reject-with {_UNREACHABLE[family]}")
    else:
        yield Rule("-j DROP")


def count_drops(variant: Variant) -> Mapping[Reason, Count]:
    """Since each chain was written, in the network namespace of the calling thread. Raises KernelError."""
    reasons = {dropped(reason): reason for reason in DROPPING}
    totals = dict.fromkeys(reasons.values(), Count(0, 0))
    for family in FAMILIES:
        for table in used_tables(variant, family, (FILTER, RAW, MANGLE)):
            told: set[str] = set()
            for each in counted(variant, family, table, reasons):
                # The first rule tells of some of them, each of the others drops.
                if each.chain in told:
                    totals[reasons[each.chain]] += Count(*each.figures)
                told.add(each.chain)
    return totals
