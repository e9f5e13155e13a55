"""Who may be behind an interface, and what nobody may send from there though it is who it says it is.

    sources -> what nobody may send         most packets: index, MAC and address are looked up at once
    uncertain -> MAC -> unspecified         those of none of its addresses, such as who asks for one
    uncertain -> arrive-IFNAME              of an interface from which prefixes are allowed, or any MAC

Whenever a rule or a verdict that leads to a chain is written, the kernel walks every way through the table, once for
each element of a map that leads anywhere. So only particular interfaces have a chain; all others are elements of sets.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from ipaddress import IPv6Network

from tortie.dataplane.nftables.conditions import (
    ask,
    family_of,
    from_address,
    from_network,
    from_packed,
    icmp,
    of_family,
    ports,
    rule,
    udp,
    within,
)
from tortie.dataplane.nftables.drops import drop
from tortie.dataplane.nftables.match import ADDRESS, side
from tortie.dataplane.nftables.rows import ChainSpec, KernelRule, Kind, MemberKey, RowKey, Rows, SetSpec
from tortie.intent.packet import ICMP, ICMPV6, IPIP, TCP, UDP
from tortie.intent.policy import Family, PolicySettings, WorkloadPolicy
from tortie.intent.verdict import Reason
from tortie.kernel.netfilter.datatype import ETHER, IFINDEX, VERDICT, concatenate
from tortie.kernel.netfilter.expression import Base, Cmp, Lookup, Meta, MetaKey, Op, Payload
from tortie.kernel.netfilter.verdict import ACCEPT, goto

WORKLOADS = "workload-interfaces"  # all that have an endpoint
MACS = "macs"
SOURCES: dict[Family, str] = {4: "sources4", 6: "sources6"}
PARTICULAR = "particular"

UNCERTAIN = "arrive-uncertain"
UNSPECIFIED = "arrive-unspecified"
CHECKED = "arrive-checked"
CHECKED_UDP = "arrive-checked-udp"

_MAC = Payload(Base.LINK, 6, 6, register=1)  # behind the interface's index
_LINK_LOCAL = IPv6Network("fe80::/10")


def places(settings: PolicySettings) -> Rows:
    """The sets and chains that stand whatever the endpoints are."""
    rows: Rows = {
        RowKey(Kind.SET, WORKLOADS): SetSpec((IFINDEX,)),
        RowKey(Kind.SET, MACS): SetSpec((IFINDEX, ETHER)),
        RowKey(Kind.SET, PARTICULAR): SetSpec((IFINDEX,), (VERDICT,)),
    }
    for family, name in SOURCES.items():
        rows[RowKey(Kind.SET, name)] = SetSpec((IFINDEX, ETHER, ADDRESS[family]))
    # In this order, since the later ones lead to those before.
    rows[RowKey(Kind.CHAIN, CHECKED_UDP)] = ChainSpec(tuple(_checked_udp(settings)))
    rows[RowKey(Kind.CHAIN, CHECKED)] = ChainSpec(tuple(_checked(settings)))
    rows[RowKey(Kind.CHAIN, UNSPECIFIED)] = ChainSpec(tuple(_unspecified()))
    rows[RowKey(Kind.CHAIN, UNCERTAIN)] = ChainSpec(tuple(_uncertain()))
    return rows


def arrival(workload: WorkloadPolicy, ifindex: int) -> Rows:
    """What may come from a workload behind its interface."""
    interface = index_key(ifindex)
    rows: Rows = {RowKey(Kind.DISPATCH, MemberKey(WORKLOADS, interface)): None}
    networks = [each for each in workload.allowed_sources if each.prefixlen < each.max_prefixlen]
    hosts = [each.network_address for each in workload.allowed_sources if each not in networks]
    addresses = [*workload.addresses, *hosts]
    if workload.mac:
        mac = bytes.fromhex(workload.mac.replace(":", ""))
        rows[RowKey(Kind.DISPATCH, MemberKey(MACS, concatenate(interface, mac)))] = None
        for address in addresses:
            source = MemberKey(SOURCES[family_of(address)], concatenate(interface, mac, address.packed))
            rows[RowKey(Kind.DISPATCH, source)] = None
    if networks or not workload.mac:
        name = f"arrive-{workload.interface}"
        rules: list[KernelRule] = []
        if workload.mac:
            rules.append(rule(Payload(Base.LINK, 6, 6), Cmp(mac, Op.NEQ), to=drop(Reason.SPOOFED_MAC)))
        else:
            rules += [rule(*from_address(address), to=goto(CHECKED)) for address in addresses]
        rules += [rule(*from_network(network), to=goto(CHECKED)) for network in networks]
        rows[RowKey(Kind.CHAIN, name)] = ChainSpec((*rules, rule(to=goto(UNSPECIFIED))))
        rows[RowKey(Kind.DISPATCH, MemberKey(PARTICULAR, interface))] = goto(name)
    return rows


def index_key(ifindex: int) -> bytes:
    return ifindex.to_bytes(IFINDEX.length, sys.byteorder)


def arriving() -> Iterator[KernelRule]:
    """What is asked first, of every packet that comes by any interface."""
    for family, name in SOURCES.items():
        source = side(family, source=True).address._replace(register=3)
        yield rule(*of_family(family), Meta(MetaKey.IIF), _MAC, source, Lookup(name), to=goto(CHECKED))
    yield rule(Meta(MetaKey.IIF), Lookup(WORKLOADS), to=goto(UNCERTAIN))


def _uncertain() -> Iterator[KernelRule]:
    """Packets of a workload from none of the addresses that it has."""
    yield ask(MetaKey.IIF, PARTICULAR)
    yield rule(Meta(MetaKey.IIF), _MAC, Lookup(MACS), to=goto(UNSPECIFIED))
    yield rule(to=drop(Reason.SPOOFED_MAC))


def _unspecified() -> Iterator[KernelRule]:
    """Who has no address yet may ask for one, and has one that is good on its link alone."""
    yield rule(*of_family(4), *from_packed(bytes(4)), *udp(68, 67), to=ACCEPT)
    yield rule(*of_family(6), *within(_LINK_LOCAL), to=goto(CHECKED))
    for kind in (131, 135, 143):
        yield rule(*of_family(6), *from_packed(bytes(16)), *icmp(ICMPV6, kind), to=ACCEPT)
    yield rule(to=drop(Reason.SPOOFED_ADDRESS))


def _checked(settings: PolicySettings) -> Iterator[KernelRule]:
    """What nobody may send, though it is who it says it is. Every packet comes here, so most are let go at once."""
    yield rule(Meta(MetaKey.L4PROTO), Cmp(bytes([TCP])), to=ACCEPT)
    yield rule(Meta(MetaKey.L4PROTO), Cmp(bytes([UDP])), to=goto(CHECKED_UDP))
    yield rule(*icmp(ICMPV6, 134), to=drop(Reason.ROUTER_ADVERTISEMENT))
    yield rule(*icmp(ICMPV6, 137), to=drop(Reason.REDIRECT))
    yield rule(*of_family(4), *icmp(ICMP, 5), to=drop(Reason.REDIRECT))
    if not settings.ipip_from_workloads:
        yield rule(Meta(MetaKey.L4PROTO), Cmp(bytes([IPIP])), to=drop(Reason.TUNNEL))
    yield rule(to=ACCEPT)


def _checked_udp(settings: PolicySettings) -> Iterator[KernelRule]:
    yield rule(*ports(67, 68), to=drop(Reason.DHCP_SERVER))
    yield rule(*ports(547, 546), to=drop(Reason.DHCP_SERVER))
    if not settings.vxlan_from_workloads:
        port = settings.vxlan_port.to_bytes(2, "big")
        yield rule(Payload(Base.TRANSPORT, 2, 2), Cmp(port), to=drop(Reason.TUNNEL))
    yield rule(to=ACCEPT)
