"""What is asked of fragments, before the kernel puts them together.

It does so ahead of the first table of iptables, and its queue does not know by which interface a fragment came: whoever
sends the rest of what another one began is taken for him. So a chain of nf_tables stands before that. Whatever is no
fragment leaves it after two comparisons; of a fragment it is asked whether the interface's endpoint may have sent it:
the same question that the raw table asks of the whole, but for those who have no address yet and send no fragments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from ipaddress import IPv6Network, ip_network

from tortie.conventions import DROP_GROUP
from tortie.dataplane.iptables.drops import TOLD_BYTES, TOLD_PER_S
from tortie.dataplane.iptables.rows import FragmentChain, Kind, RowKey, Rows
from tortie.intent.policy import Address, Family, Network, WorkloadPolicy
from tortie.intent.verdict import Reason
from tortie.kernel.netfilter.chain import Hook, InetHook, Priority
from tortie.kernel.netfilter.expression import (
    VERDICT_REGISTER,
    Base,
    Bitwise,
    Cmp,
    Expression,
    Exthdr,
    Lookup,
    Meta,
    MetaKey,
    Op,
    Payload,
    Range,
)
from tortie.kernel.netfilter.rule import body
from tortie.kernel.netfilter.statement import Counter, Decide, Limit, Log
from tortie.kernel.netfilter.verdict import ACCEPT, DROP, Verdict, goto

# The map from an interface to the chain that asks of its fragments.
SENDERS = "senders"
REASONS = (Reason.UNKNOWN_INTERFACE, Reason.SPOOFED_MAC, Reason.SPOOFED_ADDRESS)

_ASKED = "asked"
_FRAGMENT_HEADER = 44  # RFC 8200 4.5


def fragment_skeleton(prefixes: tuple[str, ...]) -> Rows:
    return {RowKey(Kind.FRAGMENT, name): chain for name, chain in standing_chains(prefixes).items()}


def standing_chains(prefixes: tuple[str, ...]) -> dict[str, FragmentChain]:
    """Every chain that stands whatever the endpoints are, by its name."""
    chains = {drop_chain(reason): FragmentChain(tuple(_drop(reason))) for reason in REASONS}
    chains[_ASKED] = FragmentChain(tuple(_ask(prefixes)))
    chains["fragments"] = FragmentChain(tuple(_find()), Hook(InetHook.PREROUTING, Priority.DEFRAGMENTATION - 1))
    return chains


class Unasked(Enum):
    """What an interface is that has no endpoint."""

    OWN = "the host's own, whatever it begins with"
    CLOSED = "a workload's, or once one's, whatever it begins with"


Sender = WorkloadPolicy | Unasked


def fragments_from(interface: str, sender: Sender) -> Rows:
    """What is asked of those that come by an interface."""
    if isinstance(sender, Unasked):
        rules: tuple[bytes, ...] = (_ACCEPTED if sender is Unasked.OWN else _CLOSED,)
    else:
        rules = tuple(_sent_by(sender))
    return {RowKey(Kind.FRAGMENT, f"from-{interface}"): FragmentChain(rules, interfaces=(interface,))}


def drop_chain(reason: Reason) -> str:
    """The chain in which fragments end for that reason; its counter says how many."""
    return f"drop-{reason}"


# --- The chains


def _find() -> Iterator[bytes]:
    offset_or_more = (Payload(Base.NETWORK, 6, 2), Bitwise(b"\x3f\xff", b"\0\0"), Cmp(b"\0\0", Op.NEQ))
    yield _FAMILY[4] + _rule(*offset_or_more, to=goto(_ASKED))
    yield _FAMILY[6] + _rule(Exthdr(_FRAGMENT_HEADER, 0, 1, present=True), Cmp(b"\1"), to=goto(_ASKED))


def _ask(prefixes: Iterable[str]) -> Iterator[bytes]:
    yield body((Meta(MetaKey.IIFNAME), Lookup(SENDERS, into=VERDICT_REGISTER)))
    for prefix in prefixes:
        yield _rule(Meta(MetaKey.IIFNAME), Cmp(prefix.encode()), to=_dropped(Reason.UNKNOWN_INTERFACE))


def _sent_by(workload: WorkloadPolicy) -> Iterator[bytes]:
    if workload.mac:
        mac = bytes.fromhex(workload.mac.replace(":", ""))
        yield _rule(Payload(Base.LINK, 6, 6), Cmp(mac, Op.NEQ), to=_dropped(Reason.SPOOFED_MAC))
    for source in (*workload.addresses, *workload.allowed_sources):
        yield _from(source)
    yield _FROM_LINK_LOCAL
    yield _SPOOFED


def _drop(reason: Reason) -> Iterator[bytes]:
    """Told to who listens, as far as the limit goes; counted always."""
    yield body((Limit(TOLD_PER_S, burst=TOLD_PER_S), Log(DROP_GROUP, reason, TOLD_BYTES)))
    yield body((Counter(), Decide(DROP)))


# --- Pieces of rules


def _dropped(reason: Reason) -> Verdict:
    return goto(drop_chain(reason))


def _rule(*expressions: Expression, to: Verdict) -> bytes:
    return body((*expressions, Decide(to)))


def _from(source: Address | Network) -> bytes:
    network = ip_network(source)
    family: Family = 4 if network.version == 4 else 6
    first, last = network.network_address.packed, network.broadcast_address.packed
    within = Cmp(first) if first == last else Range(first, last)
    return _FAMILY[family] + _SOURCE[family] + within.encode() + _ACCEPTED


# Each is part of many rules, and encoding takes longer than all else (measured).
_FAMILY: dict[Family, bytes] = {
    4: body((Meta(MetaKey.NFPROTO), Cmp(b"\x02"))),
    6: body((Meta(MetaKey.NFPROTO), Cmp(b"\x0a"))),
}
_SOURCE: dict[Family, bytes] = {
    4: Payload(Base.NETWORK, 12, 4).encode(),
    6: Payload(Base.NETWORK, 8, 16).encode(),
}
_ACCEPTED = _rule(to=ACCEPT)
_CLOSED = _rule(to=_dropped(Reason.UNKNOWN_INTERFACE))
_FROM_LINK_LOCAL = _from(IPv6Network("fe80::/10"))
_SPOOFED = _rule(to=_dropped(Reason.SPOOFED_ADDRESS))
