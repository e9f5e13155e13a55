"""The base chains, and what every endpoint shares: where packets are met, what a workload may send, how one is dropped.

    prerouting    iif -> arrive-IFNAME: is the sender who it says it is? Asked of fragments too, before the kernel puts
                  them together, since it does so with those of different interfaces
    forward       established passes; iif -> what its endpoint may send
    forward       the same again; oif -> what its endpoint may receive
    input         a workload's packets to this host
    postrouting   nothing leaves by an interface that is closed

Sender and receiver have a base chain each, since an accept ends just the base chain that it is met in; a way from the
one's chains on to the other's would be longer than the kernel lets any be (NFT_JUMP_STACK_SIZE).
Interfaces are known by their index, which is quicker than their name (some 50 ns a look-up) and stays
when they are renamed. Names close what has no endpoint, or has one that is not told of yet: those that begin like a
workload's, and those that endpoints have.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Network

from tortie.conventions import DROP_GROUP
from tortie.dataplane.nftables.match import side
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
from tortie.intent.packet import ACK, FIN, ICMP, ICMPV6, IPIP, RST, SYN, TCP, UDP
from tortie.intent.policy import Address, Family, Network, PolicySettings, WorkloadPolicy
from tortie.intent.verdict import Reason
from tortie.kernel.netfilter.chain import Hook, InetHook, Priority
from tortie.kernel.netfilter.datatype import IFINDEX, IFNAME, VERDICT, ifname
from tortie.kernel.netfilter.expression import (
    VERDICT_REGISTER,
    Base,
    Bitwise,
    Cmp,
    Ct,
    CtKey,
    CtState,
    Expression,
    Lookup,
    Meta,
    MetaKey,
    Op,
    Payload,
    Range,
)
from tortie.kernel.netfilter.rule import body
from tortie.kernel.netfilter.statement import Counter, Decide, Icmpx, Limit, Log, Reject, RejectType
from tortie.kernel.netfilter.verdict import ACCEPT, DROP, Verdict, goto

# By index: maps from an interface to the chains of its endpoint, the set of all that have one, and of those that have
# none any more though their names do not say so. By name: those that endpoints have and that begin like no workload's,
# and those that are the host's own though they do.
ARRIVAL = "arrival"
SENDER = {4: "sender4", 6: "sender6"}
RECEIVER = {4: "receiver4", 6: "receiver6"}
WORKLOADS = "workload-interfaces"
CLOSED = "closed"
NAMED = "named"
EXEMPT = "exempt"

CHECKED = "arrive-checked"
CHECKED_UDP = "arrive-checked-udp"
TO_HOST = "to-host"

# Of drops that are told of, a second; all are counted.
TOLD_PER_S = 100

_LINK_LOCAL = IPv6Network("fe80::/10")
NFPROTO = {4: b"\x02", 6: b"\x0a"}
_NEIGHBOUR_DISCOVERY = (130, 131, 132, 133, 135, 136, 143)


def skeleton(settings: PolicySettings, prefixes: tuple[str, ...], *, any_others: bool) -> Rows:
    """Every row that stands whatever the endpoints are. `any_others`: interfaces that begin like no workload's are."""
    rows: Rows = {}
    for name in (ARRIVAL, *SENDER.values(), *RECEIVER.values()):
        rows[RowKey(Kind.SET, name)] = SetSpec((IFINDEX,), (VERDICT,))
    for name in (WORKLOADS, CLOSED):
        rows[RowKey(Kind.SET, name)] = SetSpec((IFINDEX,))
    for name in (NAMED, EXEMPT):
        rows[RowKey(Kind.SET, name)] = SetSpec((IFNAME,))
    # In this order, since the later ones lead to those before.
    chains = {drop_chain(reason): ChainSpec(tuple(_drop(reason, settings))) for reason in Reason}
    chains |= {
        CHECKED_UDP: ChainSpec(tuple(_checked_udp(settings))),
        CHECKED: ChainSpec(tuple(_checked(settings))),
        TO_HOST: ChainSpec(tuple(_to_host(settings))),
        "arriving": _base(
            InetHook.PREROUTING,
            Priority.DEFRAGMENTATION - 1,
            (_ask(MetaKey.IIF, ARRIVAL), *_closed(MetaKey.IIF, MetaKey.IIFNAME, prefixes, any_others)),
        ),
        "forward-from": _base(InetHook.FORWARD, Priority.FILTER - 2, _forward(MetaKey.IIF, SENDER)),
        "forward-to": _base(InetHook.FORWARD, Priority.FILTER - 1, _forward(MetaKey.OIF, RECEIVER)),
        "input": _base(InetHook.INPUT, Priority.FILTER - 1, _input()),
        "postrouting": _base(
            InetHook.POSTROUTING,
            Priority.FILTER,
            (
                rule(Meta(MetaKey.OIF), Lookup(WORKLOADS), to=ACCEPT),
                *_closed(MetaKey.OIF, MetaKey.OIFNAME, prefixes, any_others),
            ),
        ),
    }
    return rows | {chain_row(name, chain): chain for name, chain in chains.items()}


def arrival(workload: WorkloadPolicy, ifindex: int) -> Rows:
    """The chain in which a workload's packets arrive, and what leads there."""
    name = f"arrive-{workload.interface}"
    rules: list[KernelRule] = []
    if workload.mac:
        mac = bytes.fromhex(workload.mac.replace(":", ""))
        rules.append(rule(Payload(Base.LINK, 6, 6), Cmp(mac, Op.NEQ), to=dropped(Reason.SPOOFED_MAC)))
    for address in workload.addresses:
        rules.append(rule(*_from_address(address), to=goto(CHECKED)))
    for network in workload.allowed_sources:
        rules.append(rule(*_from_network(network), to=goto(CHECKED)))
    rules += [
        rule(*_family(4), *_from(bytes(4)), *_udp(68, 67), to=ACCEPT),
        rule(*_family(6), *_within(_LINK_LOCAL), to=goto(CHECKED)),
        *(rule(*_family(6), *_from(bytes(16)), *_icmp(ICMPV6, kind), to=ACCEPT) for kind in (131, 135, 143)),
        rule(to=dropped(Reason.SPOOFED_ADDRESS)),
    ]
    return {
        RowKey(Kind.CHAIN, name): ChainSpec(tuple(rules)),
        RowKey(Kind.DISPATCH, MemberKey(ARRIVAL, index_key(ifindex))): goto(name),
        RowKey(Kind.DISPATCH, MemberKey(WORKLOADS, index_key(ifindex))): None,
    }


def index_key(ifindex: int) -> bytes:
    return ifindex.to_bytes(IFINDEX.length, sys.byteorder)


def closing(ifindex: int) -> Rows:
    """Nothing passes that interface, whatever its name."""
    return {RowKey(Kind.MEMBER, MemberKey(CLOSED, index_key(ifindex))): None}


def naming(interface: str) -> Rows:
    """An interface that an endpoint has, and that begins like no workload's: closed until it is known by its index."""
    return {RowKey(Kind.MEMBER, MemberKey(NAMED, ifname(interface))): None}


def exemption(interfaces: Iterable[str]) -> Rows:
    """The interfaces that nobody closes: members, since these come before the rules that would."""
    return {RowKey(Kind.MEMBER, MemberKey(EXEMPT, ifname(name))): None for name in interfaces}


def guard(settings: PolicySettings) -> tuple[KernelRule, ...]:
    """What is asked of a packet that no conversation vouches for, before any policy is."""
    rules = [rule(*in_state(CtState.INVALID), to=dropped(Reason.INVALID))]
    if not settings.lenient:
        flags = FIN | SYN | RST | ACK
        rules.append(
            rule(
                Meta(MetaKey.L4PROTO),
                Cmp(bytes([TCP])),
                *in_state(CtState.NEW),
                Payload(Base.TRANSPORT, 13, 1),
                Bitwise(bytes([flags]), b"\0"),
                Cmp(bytes([SYN]), Op.NEQ),
                to=dropped(Reason.MID_STREAM),
            )
        )
    return tuple(rules)


# --- Base chains


def _base(hook: InetHook, priority: int, rules: Iterable[KernelRule]) -> ChainSpec:
    return ChainSpec(tuple(rules), Hook(hook, priority))


def _closed(index: MetaKey, name: MetaKey, prefixes: tuple[str, ...], any_others: bool) -> Iterator[KernelRule]:
    """What is no endpoint's, and yet a workload's by its name or its past."""
    end = dropped(Reason.UNKNOWN_INTERFACE)
    for prefix in prefixes:
        yield rule(Meta(name), Cmp(prefix.encode()), Lookup(EXEMPT, inverted=True), to=end)
    if any_others:  # else packets of the host's own interfaces would ask in vain
        yield rule(Meta(index), Lookup(CLOSED), to=end)
        yield rule(Meta(name), Lookup(NAMED), to=end)


def _forward(interface: MetaKey, maps: dict[int, str]) -> Iterator[KernelRule]:
    yield rule(*in_state(CtState.ESTABLISHED | CtState.RELATED), to=ACCEPT)
    yield from _dispatch(interface, maps)


def _input() -> Iterator[KernelRule]:
    yield rule(Meta(MetaKey.IIF), Lookup(WORKLOADS), to=goto(TO_HOST))


def _dispatch(interface: MetaKey, maps: dict[int, str]) -> Iterator[KernelRule]:
    for family, name in maps.items():
        yield KernelRule(
            body(
                (
                    Meta(MetaKey.NFPROTO),
                    Cmp(NFPROTO[family]),
                    Meta(interface),
                    Lookup(name, into=VERDICT_REGISTER),
                )
            )
        )


# --- What endpoints share


def _checked(settings: PolicySettings) -> Iterator[KernelRule]:
    """What nobody may send, though it is who it says it is. Every packet comes here, so most are let go at once."""
    yield rule(Meta(MetaKey.L4PROTO), Cmp(bytes([TCP])), to=ACCEPT)
    yield rule(Meta(MetaKey.L4PROTO), Cmp(bytes([UDP])), to=goto(CHECKED_UDP))
    yield rule(*_icmp(ICMPV6, 134), to=dropped(Reason.ROUTER_ADVERTISEMENT))
    yield rule(*_icmp(ICMPV6, 137), to=dropped(Reason.REDIRECT))
    yield rule(*_family(4), *_icmp(ICMP, 5), to=dropped(Reason.REDIRECT))
    if not settings.ipip_from_workloads:
        yield rule(Meta(MetaKey.L4PROTO), Cmp(bytes([IPIP])), to=dropped(Reason.TUNNEL))
    yield rule(to=ACCEPT)


def _checked_udp(settings: PolicySettings) -> Iterator[KernelRule]:
    yield rule(*_ports(67, 68), to=dropped(Reason.DHCP_SERVER))
    yield rule(*_ports(547, 546), to=dropped(Reason.DHCP_SERVER))
    if not settings.vxlan_from_workloads:
        port = settings.vxlan_port.to_bytes(2, "big")
        yield rule(Payload(Base.TRANSPORT, 2, 2), Cmp(port), to=dropped(Reason.TUNNEL))
    yield rule(to=ACCEPT)


def _to_host(settings: PolicySettings) -> Iterator[KernelRule]:
    for kind in _NEIGHBOUR_DISCOVERY:
        yield rule(*_icmp(ICMPV6, kind), to=ACCEPT)
    yield rule(*_udp(68, 67), to=ACCEPT)
    yield rule(*_udp(546, 547), to=ACCEPT)
    yield rule(*in_state(CtState.ESTABLISHED | CtState.RELATED), to=ACCEPT)
    yield from guard(settings)
    if settings.endpoint_to_host == "Drop":
        yield rule(to=dropped(Reason.ENDPOINT_TO_HOST))
        return
    yield from _dispatch(MetaKey.IIF, SENDER)


# Denials of policy, which may be told to the sender.
REJECTED = (Reason.POLICY, Reason.TIER_DEFAULT, Reason.NO_PROFILE_MATCHED)


def _drop(reason: Reason, settings: PolicySettings) -> Iterator[KernelRule]:
    """Told to who listens, as far as the limit goes; counted always."""
    yield KernelRule(body((Limit(TOLD_PER_S, burst=TOLD_PER_S), Log(DROP_GROUP, reason, 256))))
    if settings.deny == "Reject" and reason in REJECTED:
        yield KernelRule(body((Meta(MetaKey.L4PROTO), Cmp(bytes([TCP])), Counter(), Reject(RejectType.TCP_RESET))))
        yield KernelRule(body((Counter(), Reject(RejectType.ICMPX, Icmpx.ADMIN_PROHIBITED))))
    else:
        yield KernelRule(body((Counter(), Decide(DROP))))


def silent_drop(reason: Reason) -> ChainSpec:
    """The same where nobody can be answered."""
    return ChainSpec(tuple(_drop(reason, PolicySettings())))


def drop_chain(reason: Reason) -> str:
    """The chain in which packets end for that reason; its counters say how many."""
    return f"drop-{reason}"


def dropped(reason: Reason) -> Verdict:
    return goto(drop_chain(reason))


# --- Pieces of rules


def rule(*expressions: Expression, to: Verdict) -> KernelRule:
    return KernelRule(body((*expressions, Decide(to))))


def _ask(key: MetaKey, name: str) -> KernelRule:
    return KernelRule(body((Meta(key), Lookup(name, into=VERDICT_REGISTER))))


def _family(family: Family) -> Iterator[Expression]:
    yield from (Meta(MetaKey.NFPROTO), Cmp(NFPROTO[family]))


def _from(address: bytes) -> Iterator[Expression]:
    family: Family = 4 if len(address) == 4 else 6
    yield from (side(family, source=True).address, Cmp(address))


def _from_address(address: Address) -> Iterator[Expression]:
    yield from _family(4 if address.version == 4 else 6)
    yield from _from(address.packed)


def _from_network(network: Network) -> Iterator[Expression]:
    yield from _family(4 if network.version == 4 else 6)
    yield from _within(network)


def _within(network: Network) -> Iterator[Expression]:
    address = side(4 if network.version == 4 else 6, source=True).address
    yield from (address, Range(network.network_address.packed, network.broadcast_address.packed))


def _udp(source: int, destination: int) -> Iterator[Expression]:
    yield from (Meta(MetaKey.L4PROTO), Cmp(bytes([UDP])))
    yield from _ports(source, destination)


def _ports(source: int, destination: int) -> Iterator[Expression]:
    ports = source.to_bytes(2, "big") + destination.to_bytes(2, "big")
    yield from (Payload(Base.TRANSPORT, 0, 4), Cmp(ports))


def _icmp(protocol: int, kind: int) -> Iterator[Expression]:
    yield from (Meta(MetaKey.L4PROTO), Cmp(bytes([protocol])), Payload(Base.TRANSPORT, 0, 1), Cmp(bytes([kind])))


def in_state(states: CtState) -> Iterator[Expression]:
    mask = int(states).to_bytes(4, "little")
    yield from (Ct(CtKey.STATE), Bitwise(mask, bytes(4)), Cmp(bytes(4), Op.NEQ))
