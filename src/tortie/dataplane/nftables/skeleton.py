"""The base chains, where packets are met, and what every endpoint shares there.

    prerouting    is the sender who it says it is (`arrival`)? Asked of fragments too, before the kernel puts them
                  together, since it does so with those of different interfaces
    forward       established passes; iif -> what its endpoint may send
    forward       the same again; oif -> what its endpoint may receive
    input         a workload's packets to this host
    postrouting   nothing leaves by an interface that is closed

Sender and receiver have a base chain each, since an accept ends just the base chain that it is met in; a way from the
one's chains on to the other's would be longer than the kernel lets any be (NFT_JUMP_STACK_SIZE).
Interfaces are known by their index, which is quicker than their name (some 50 ns a look-up) and stays
when they are renamed. Names close what has no endpoint, or has one that is not told of yet: those that begin like a
workload's, and those that endpoints have. Of an endpoint half may be written, so every place asks for what is closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tortie.dataplane.naming import digest
from tortie.dataplane.nftables.arrival import WORKLOADS, arriving, index_key, places
from tortie.dataplane.nftables.conditions import ask, icmp, in_state, of_family, rule, udp
from tortie.dataplane.nftables.drops import drop, drops
from tortie.dataplane.nftables.rows import (
    ChainSpec,
    KernelRule,
    Kind,
    MemberKey,
    RowKey,
    Rows,
    SetSpec,
    chain_row,
)
from tortie.intent.packet import ACK, FIN, ICMPV6, RST, SYN, TCP
from tortie.intent.policy import Direction, Family, PolicySettings
from tortie.intent.verdict import Reason
from tortie.kernel.netfilter.chain import Hook, InetHook, Priority
from tortie.kernel.netfilter.datatype import IFINDEX, IFNAME, VERDICT, ifname
from tortie.kernel.netfilter.expression import Base, Bitwise, Cmp, CtState, Lookup, Meta, MetaKey, Op, Payload
from tortie.kernel.netfilter.verdict import ACCEPT, goto

# By index: from interfaces to the chains of their endpoints, and those that have none any more though their names do
# not say so. By name: those that endpoints have and that begin like no workload's, and those that are the host's own
# though they do.
SENDER = "sender"
RECEIVER = "receiver"
CLOSED = "closed"
NAMED = "named"
EXEMPT = "exempt"

TO_HOST = "to-host"

_NEIGHBOUR_DISCOVERY = (130, 131, 132, 133, 135, 136, 143)


def skeleton(settings: PolicySettings, prefixes: tuple[str, ...], *, any_others: bool) -> Rows:
    """Every row that stands whatever the endpoints are. `any_others`: interfaces that begin like no workload's are."""
    rows: Rows = {
        RowKey(Kind.SET, SENDER): SetSpec((IFINDEX,), (VERDICT,)),
        RowKey(Kind.SET, RECEIVER): SetSpec((IFINDEX,), (VERDICT,)),
        RowKey(Kind.SET, CLOSED): SetSpec((IFINDEX,)),
        RowKey(Kind.SET, NAMED): SetSpec((IFNAME,)),
        RowKey(Kind.SET, EXEMPT): SetSpec((IFNAME,)),
    }
    closed_in = tuple(_closed(MetaKey.IIF, MetaKey.IIFNAME, prefixes, any_others))
    closed_out = tuple(_closed(MetaKey.OIF, MetaKey.OIFNAME, prefixes, any_others))
    chains = {
        TO_HOST: ChainSpec((*_to_host(settings), *closed_in)),
        "arriving": _base(InetHook.PREROUTING, Priority.DEFRAGMENTATION - 1, (*arriving(settings), *closed_in)),
        "forward-from": _base(InetHook.FORWARD, Priority.FILTER - 2, (*_forward(MetaKey.IIF, SENDER), *closed_in)),
        "forward-to": _base(InetHook.FORWARD, Priority.FILTER - 1, (*_forward(MetaKey.OIF, RECEIVER), *closed_out)),
        "input": _base(InetHook.INPUT, Priority.FILTER - 1, (_input(), *closed_in)),
        "postrouting": _base(
            InetHook.POSTROUTING,
            Priority.FILTER,
            (rule(Meta(MetaKey.OIF), Lookup(WORKLOADS), to=ACCEPT), *closed_out),
        ),
    }
    # In this order, since the later ones lead to those before.
    return rows | drops(settings) | places(settings) | {chain_row(name, spec): spec for name, spec in chains.items()}


def closing(ifindex: int) -> Rows:
    """Nothing passes that interface, whatever its name."""
    return {RowKey(Kind.MEMBER, MemberKey(CLOSED, index_key(ifindex))): None}


def naming(interface: str) -> Rows:
    """An interface that an endpoint has, and that begins like no workload's: closed until it is known by its index."""
    return {RowKey(Kind.MEMBER, MemberKey(NAMED, ifname(interface))): None}


def exemption(interfaces: Iterable[str]) -> Rows:
    """The interfaces that nobody closes: members, since these come before the rules that would."""
    return {RowKey(Kind.MEMBER, MemberKey(EXEMPT, ifname(name))): None for name in interfaces}


def entrance(direction: Direction, chains: Mapping[Family, str], settings: PolicySettings) -> tuple[str, Rows]:
    """The chain that leads an endpoint's packets to that of their family, past no policy; its name, and its row."""
    rules = [*_guard(settings), *(rule(*of_family(family), to=goto(chain)) for family, chain in chains.items())]
    name = f"{'to' if direction is Direction.INGRESS else 'from'}-{digest(rules)}"
    return name, {RowKey(Kind.CHAIN, name): ChainSpec(tuple(rules))}


def dispatch(direction: Direction, ifindex: int, chain: str) -> Rows:
    """The way from an interface to that chain."""
    entry = MemberKey(RECEIVER if direction is Direction.INGRESS else SENDER, index_key(ifindex))
    return {RowKey(Kind.DISPATCH, entry): goto(chain)}


def _guard(settings: PolicySettings) -> Iterator[KernelRule]:
    """What is asked of a packet that no conversation vouches for, before any policy is."""
    yield rule(*in_state(CtState.INVALID), to=drop(Reason.INVALID))
    if not settings.lenient:
        flags = FIN | SYN | RST | ACK
        yield rule(
            Meta(MetaKey.L4PROTO),
            Cmp(bytes([TCP])),
            *in_state(CtState.NEW),
            Payload(Base.TRANSPORT, 13, 1),
            Bitwise(bytes([flags]), b"\0"),
            Cmp(bytes([SYN]), Op.NEQ),
            to=drop(Reason.MID_STREAM),
        )


# --- Base chains


def _base(hook: InetHook, priority: int, rules: Iterable[KernelRule]) -> ChainSpec:
    return ChainSpec(tuple(rules), Hook(hook, priority))


def _closed(index: MetaKey, name: MetaKey, prefixes: tuple[str, ...], any_others: bool) -> Iterator[KernelRule]:
    """What is no endpoint's, and yet a workload's by its name or its past."""
    end = drop(Reason.UNKNOWN_INTERFACE)
    for prefix in prefixes:
        yield rule(Meta(name), Cmp(prefix.encode()), Lookup(EXEMPT, inverted=True), to=end)
    if any_others:  # else packets of the host's own interfaces would ask in vain
        yield rule(Meta(index), Lookup(CLOSED), to=end)
        yield rule(Meta(name), Lookup(NAMED), to=end)


def _forward(interface: MetaKey, chains: str) -> Iterator[KernelRule]:
    yield rule(*in_state(CtState.ESTABLISHED | CtState.RELATED), to=ACCEPT)
    yield ask(interface, chains)


def _input() -> KernelRule:
    return rule(Meta(MetaKey.IIF), Lookup(WORKLOADS), to=goto(TO_HOST))


def _to_host(settings: PolicySettings) -> Iterator[KernelRule]:
    for kind in _NEIGHBOUR_DISCOVERY:
        yield rule(*icmp(ICMPV6, kind), to=ACCEPT)
    yield rule(*udp(68, 67), to=ACCEPT)
    yield rule(*udp(546, 547), to=ACCEPT)
    yield rule(*in_state(CtState.ESTABLISHED | CtState.RELATED), to=ACCEPT)
    yield from _guard(settings)
    if settings.endpoint_to_host == "Drop":
        yield rule(to=drop(Reason.ENDPOINT_TO_HOST))
        return
    yield ask(MetaKey.IIF, SENDER)
