"""The base chains, and what every endpoint shares: where packets are met, what a workload may send, how one is dropped.

    prerouting    is the sender who it says it is? Asked of fragments too, before the kernel puts them together, since
                  it does so with those of different interfaces
    forward       established passes; iif -> what its endpoint may send
    forward       the same again; oif -> what its endpoint may receive
    input         a workload's packets to this host
    postrouting   nothing leaves by an interface that is closed

Sender and receiver have a base chain each, since an accept ends just the base chain that it is met in; a way from the
one's chains on to the other's would be longer than the kernel lets any be (NFT_JUMP_STACK_SIZE).
Interfaces are known by their index, which is quicker than their name (some 50 ns a look-up) and stays
when they are renamed. Names close what has no endpoint, or has one that is not told of yet: those that begin like a
workload's, and those that endpoints have.

Whenever a rule or a verdict that leads to a chain is written, the kernel walks every way through the table, once for
each element of a map that leads anywhere. So who may be behind an interface is said by elements without a verdict, and
only where that takes more by a chain.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv6Network

from tortie.conventions import DROP_GROUP
from tortie.dataplane.naming import digest
from tortie.dataplane.nftables.match import ADDRESS, side
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
from tortie.intent.policy import Address, Direction, Family, Network, PolicySettings, WorkloadPolicy
from tortie.intent.verdict import Reason
from tortie.kernel.netfilter.chain import Hook, InetHook, Priority
from tortie.kernel.netfilter.datatype import ETHER, IFINDEX, IFNAME, VERDICT, concatenate, ifname
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

# By index: the interfaces that have an endpoint, and those that have none any more though their names do not say so;
# the MAC, and the MAC and address, of who may be behind one; the chain that says it where it takes more; and the chains
# of its endpoint's policy. By name: interfaces that endpoints have and that begin like no workload's, and those that
# are the host's own though they do.
WORKLOADS = "workload-interfaces"
CLOSED = "closed"
MACS = "macs"
SOURCES: dict[Family, str] = {4: "sources4", 6: "sources6"}
PARTICULAR = "particular"
SENDER = "sender"
RECEIVER = "receiver"
NAMED = "named"
EXEMPT = "exempt"

UNCERTAIN = "arrive-uncertain"
UNSPECIFIED = "arrive-unspecified"
CHECKED = "arrive-checked"
CHECKED_UDP = "arrive-checked-udp"
TO_HOST = "to-host"

# Of drops that are told of, a second; all are counted.
TOLD_PER_S = 100

_MAC = Payload(Base.LINK, 6, 6, register=1)  # behind the interface's index

_LINK_LOCAL = IPv6Network("fe80::/10")
NFPROTO: dict[Family, bytes] = {4: b"\x02", 6: b"\x0a"}
_NEIGHBOUR_DISCOVERY = (130, 131, 132, 133, 135, 136, 143)


def skeleton(settings: PolicySettings, prefixes: tuple[str, ...], *, any_others: bool) -> Rows:
    """Every row that stands whatever the endpoints are. `any_others`: interfaces that begin like no workload's are."""
    rows: Rows = {}
    for name in (WORKLOADS, CLOSED):
        rows[RowKey(Kind.SET, name)] = SetSpec((IFINDEX,))
    rows[RowKey(Kind.SET, MACS)] = SetSpec((IFINDEX, ETHER))
    for family, name in SOURCES.items():
        rows[RowKey(Kind.SET, name)] = SetSpec((IFINDEX, ETHER, ADDRESS[family]))
    for name in (PARTICULAR, SENDER, RECEIVER):
        rows[RowKey(Kind.SET, name)] = SetSpec((IFINDEX,), (VERDICT,))
    for name in (NAMED, EXEMPT):
        rows[RowKey(Kind.SET, name)] = SetSpec((IFNAME,))
    # An interface whose endpoint is written by half is closed as well: every place asks.
    closed_in = tuple(_closed(MetaKey.IIF, MetaKey.IIFNAME, prefixes, any_others))
    closed_out = tuple(_closed(MetaKey.OIF, MetaKey.OIFNAME, prefixes, any_others))
    # In this order, since the later ones lead to those before.
    chains = {drop_chain(reason): ChainSpec(tuple(_drop(reason, settings))) for reason in Reason}
    chains |= {
        CHECKED_UDP: ChainSpec(tuple(_checked_udp(settings))),
        CHECKED: ChainSpec(tuple(_checked(settings))),
        UNSPECIFIED: ChainSpec(tuple(_unspecified())),
        UNCERTAIN: ChainSpec(tuple(_uncertain())),
        TO_HOST: ChainSpec((*_to_host(settings), *closed_in)),
        "arriving": _base(InetHook.PREROUTING, Priority.DEFRAGMENTATION - 1, (*_arriving(), *closed_in)),
        "forward-from": _base(InetHook.FORWARD, Priority.FILTER - 2, (*_forward(MetaKey.IIF, SENDER), *closed_in)),
        "forward-to": _base(InetHook.FORWARD, Priority.FILTER - 1, (*_forward(MetaKey.OIF, RECEIVER), *closed_out)),
        "input": _base(InetHook.INPUT, Priority.FILTER - 1, (_input(), *closed_in)),
        "postrouting": _base(
            InetHook.POSTROUTING,
            Priority.FILTER,
            (rule(Meta(MetaKey.OIF), Lookup(WORKLOADS), to=ACCEPT), *closed_out),
        ),
    }
    return rows | {chain_row(name, chain): chain for name, chain in chains.items()}


def arrival(workload: WorkloadPolicy, ifindex: int) -> Rows:
    """What may come from a workload: elements, and a chain where prefixes are allowed, or any MAC."""
    interface = index_key(ifindex)
    rows: Rows = {RowKey(Kind.DISPATCH, MemberKey(WORKLOADS, interface)): None}
    networks = [each for each in workload.allowed_sources if each.prefixlen < each.max_prefixlen]
    hosts = [each.network_address for each in workload.allowed_sources if each not in networks]
    addresses = [*workload.addresses, *hosts]
    if workload.mac:
        mac = bytes.fromhex(workload.mac.replace(":", ""))
        rows[RowKey(Kind.DISPATCH, MemberKey(MACS, concatenate(interface, mac)))] = None
        for address in addresses:
            source = MemberKey(SOURCES[_family_of(address)], concatenate(interface, mac, address.packed))
            rows[RowKey(Kind.DISPATCH, source)] = None
    if networks or not workload.mac:
        name = f"arrive-{workload.interface}"
        rules: list[KernelRule] = []
        if workload.mac:
            rules.append(rule(Payload(Base.LINK, 6, 6), Cmp(mac, Op.NEQ), to=dropped(Reason.SPOOFED_MAC)))
        else:
            rules += [rule(*_from_address(address), to=goto(CHECKED)) for address in addresses]
        rules += [rule(*_from_network(network), to=goto(CHECKED)) for network in networks]
        rows[RowKey(Kind.CHAIN, name)] = ChainSpec((*rules, rule(to=goto(UNSPECIFIED))))
        rows[RowKey(Kind.DISPATCH, MemberKey(PARTICULAR, interface))] = goto(name)
    return rows


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


def entrance(direction: Direction, chains: Mapping[Family, str], settings: PolicySettings) -> tuple[str, Rows]:
    """The chain that leads an endpoint's packets to that of their family, past no policy; its name, and its row."""
    rules = [*_guard(settings), *(rule(*_family(family), to=goto(chain)) for family, chain in chains.items())]
    name = f"{'to' if direction is Direction.INGRESS else 'from'}-{digest(rules)}"
    return name, {RowKey(Kind.CHAIN, name): ChainSpec(tuple(rules))}


def dispatch(direction: Direction, ifindex: int, chain: str) -> Rows:
    """The way from an interface to that chain."""
    entry = MemberKey(RECEIVER if direction is Direction.INGRESS else SENDER, index_key(ifindex))
    return {RowKey(Kind.DISPATCH, entry): goto(chain)}


def _guard(settings: PolicySettings) -> Iterator[KernelRule]:
    """What is asked of a packet that no conversation vouches for, before any policy is."""
    yield rule(*in_state(CtState.INVALID), to=dropped(Reason.INVALID))
    if not settings.lenient:
        flags = FIN | SYN | RST | ACK
        yield rule(
            Meta(MetaKey.L4PROTO),
            Cmp(bytes([TCP])),
            *in_state(CtState.NEW),
            Payload(Base.TRANSPORT, 13, 1),
            Bitwise(bytes([flags]), b"\0"),
            Cmp(bytes([SYN]), Op.NEQ),
            to=dropped(Reason.MID_STREAM),
        )


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


def _arriving() -> Iterator[KernelRule]:
    for family, name in SOURCES.items():
        source = side(family, source=True).address._replace(register=3)
        yield rule(*_family(family), Meta(MetaKey.IIF), _MAC, source, Lookup(name), to=goto(CHECKED))
    yield rule(Meta(MetaKey.IIF), Lookup(WORKLOADS), to=goto(UNCERTAIN))


def _forward(interface: MetaKey, chains: str) -> Iterator[KernelRule]:
    yield rule(*in_state(CtState.ESTABLISHED | CtState.RELATED), to=ACCEPT)
    yield _ask(interface, chains)


def _input() -> KernelRule:
    return rule(Meta(MetaKey.IIF), Lookup(WORKLOADS), to=goto(TO_HOST))


# --- What endpoints share


def _uncertain() -> Iterator[KernelRule]:
    """Packets of a workload from none of the addresses that it has."""
    yield _ask(MetaKey.IIF, PARTICULAR)
    yield rule(Meta(MetaKey.IIF), _MAC, Lookup(MACS), to=goto(UNSPECIFIED))
    yield rule(to=dropped(Reason.SPOOFED_MAC))


def _unspecified() -> Iterator[KernelRule]:
    """Who has no address yet may ask for one, and has one that is good on its link alone."""
    yield rule(*_family(4), *_from(bytes(4)), *_udp(68, 67), to=ACCEPT)
    yield rule(*_family(6), *_within(_LINK_LOCAL), to=goto(CHECKED))
    for kind in (131, 135, 143):
        yield rule(*_family(6), *_from(bytes(16)), *_icmp(ICMPV6, kind), to=ACCEPT)
    yield rule(to=dropped(Reason.SPOOFED_ADDRESS))


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
    yield from _guard(settings)
    if settings.endpoint_to_host == "Drop":
        yield rule(to=dropped(Reason.ENDPOINT_TO_HOST))
        return
    yield _ask(MetaKey.IIF, SENDER)


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


def _family_of(found: Address | Network) -> Family:
    return 4 if found.version == 4 else 6


def _family(family: Family) -> Iterator[Expression]:
    yield from (Meta(MetaKey.NFPROTO), Cmp(NFPROTO[family]))


def _from(address: bytes) -> Iterator[Expression]:
    family: Family = 4 if len(address) == 4 else 6
    yield from (side(family, source=True).address, Cmp(address))


def _from_address(address: Address) -> Iterator[Expression]:
    yield from _family(_family_of(address))
    yield from _from(address.packed)


def _from_network(network: Network) -> Iterator[Expression]:
    yield from _family(_family_of(network))
    yield from _within(network)


def _within(network: Network) -> Iterator[Expression]:
    address = side(_family_of(network), source=True).address
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
