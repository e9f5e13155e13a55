"""Who may be behind an interface, and what nobody may send from there though it is who it says it is.

    sources                                 most packets: index, MAC, EtherType and address are looked up at once, and
                                            of TCP, or of UDP to an ordinary port, that is all
    uncertain -> arrive-IFNAME              all others of an interface from which prefixes are allowed, or any MAC
    uncertain -> what nobody may send       of another interface, all others of its addresses
    uncertain -> MAC -> unspecified         those of none of its addresses, such as who asks for one

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
from tortie.intent.policy import FAMILIES, Family, PolicySettings, WorkloadPolicy
from tortie.intent.verdict import Reason
from tortie.kernel.netfilter.datatype import ETHER, IFINDEX, VERDICT, concatenate
from tortie.kernel.netfilter.expression import Base, Cmp, Expression, Lookup, Meta, MetaKey, Op, Payload
from tortie.kernel.netfilter.verdict import ACCEPT, goto

WORKLOADS = "workloads"  # all interfaces that have an endpoint
MACS = "macs"
SOURCES: dict[Family, str] = {4: "ipv4-sources", 6: "ipv6-sources"}
PARTICULAR = "particular"

UNCERTAIN = "arrive-uncertain"
UNSPECIFIED = "arrive-unspecified"
CHECKED = "arrive-checked"
CHECKED_UDP = "arrive-checked-udp"

# Of the sets that every packet asks. A hash of fixed size is quicker than one that grows, and takes 1 MiB for this.
SIZE = 65_536

_MAC = Payload(Base.LINK, 6, 6, register=1)  # behind the interface's index
_MAC_AND_TYPE = _MAC._replace(length=8)  # the EtherType, in the two bytes by which a concatenation pads a MAC
_ETHERTYPE: dict[Family, bytes] = {4: b"\x08\x00", 6: b"\x86\xdd"}
_PROTOCOL: dict[Family, Payload] = {4: Payload(Base.NETWORK, 9, 1), 6: Payload(Base.NETWORK, 6, 1)}
_DESTINATION_PORT = Payload(Base.TRANSPORT, 2, 2)
_DHCP: dict[Family, tuple[int, int]] = {4: (68, 67), 6: (546, 547)}  # ports of client and server
_LINK_LOCAL = IPv6Network("fe80::/10")


def places(settings: PolicySettings) -> Rows:
    """The sets and chains that stand whatever the endpoints are."""
    rows: Rows = {
        RowKey(Kind.SET, WORKLOADS): SetSpec((IFINDEX,), size=SIZE),
        RowKey(Kind.SET, MACS): SetSpec((IFINDEX, ETHER)),
        RowKey(Kind.SET, PARTICULAR): SetSpec((IFINDEX,), (VERDICT,)),
    }
    for family, name in SOURCES.items():
        rows[RowKey(Kind.SET, name)] = SetSpec((IFINDEX, ETHER, ADDRESS[family]), size=SIZE)
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
            family = family_of(address)
            source = concatenate(interface, mac + _ETHERTYPE[family], address.packed)
            rows[RowKey(Kind.DISPATCH, MemberKey(SOURCES[family], source))] = None
    if networks or not workload.mac:
        name = f"arrive-{workload.interface}"
        rules: list[KernelRule] = []
        if workload.mac:
            rules.append(rule(Payload(Base.LINK, 6, 6), Cmp(mac, Op.NEQ), to=drop(Reason.SPOOFED_MAC)))
        rules += [rule(*from_address(address), to=goto(CHECKED)) for address in addresses]
        rules += [rule(*from_network(network), to=goto(CHECKED)) for network in networks]
        rows[RowKey(Kind.CHAIN, name)] = ChainSpec((*rules, rule(to=goto(UNSPECIFIED))))
        rows[RowKey(Kind.DISPATCH, MemberKey(PARTICULAR, interface))] = goto(name)
    return rows


def index_key(ifindex: int) -> bytes:
    return ifindex.to_bytes(IFINDEX.length, sys.byteorder)


def arriving(settings: PolicySettings) -> Iterator[KernelRule]:
    """What is asked first, of every packet that comes by any interface. One rule lets go of most.

    The protocol is read where the family's header has it: a packet of another family is of none of these sources.
    """
    for family in FAMILIES:
        tcp, udp = ((_PROTOCOL[family], Cmp(bytes([number]))) for number in (TCP, UDP))
        of_tcp = rule(*tcp, *_source(family), to=ACCEPT)
        of_udp = rule(*udp, *_ordinary(settings), *_source(family), to=ACCEPT)
        yield of_tcp._replace(comment="TCP from a workload's own address")
        yield of_udp._replace(comment="UDP from a workload's own address")
    yield rule(Meta(MetaKey.IIF), Lookup(WORKLOADS), to=goto(UNCERTAIN))


def _source(family: Family) -> Iterator[Expression]:
    """That the packet is of that family, and its sender known by interface, MAC and address."""
    yield from (Meta(MetaKey.IIF), _MAC_AND_TYPE, side(family, source=True).address._replace(register=3))
    yield Lookup(SOURCES[family])


def _ordinary(settings: PolicySettings) -> Iterator[Expression]:
    """Of UDP: that the port is none of those that `_checked_udp` asks about."""
    yield _DESTINATION_PORT
    for client, _ in _DHCP.values():
        yield Cmp(_packed(client), Op.NEQ)
    if not settings.vxlan_from_workloads:
        yield Cmp(_packed(settings.vxlan_port), Op.NEQ)


def _uncertain() -> Iterator[KernelRule]:
    """Packets of a workload that are more than ordinary, or from none of the addresses that it has."""
    yield ask(MetaKey.IIF, PARTICULAR)
    for family in FAMILIES:
        yield rule(*_source(family), to=goto(CHECKED))
    yield rule(Meta(MetaKey.IIF), _MAC, Lookup(MACS), to=goto(UNSPECIFIED))
    yield rule(to=drop(Reason.SPOOFED_MAC))


def _unspecified() -> Iterator[KernelRule]:
    """Who has no address yet may ask for one, and has one that is good on its link alone."""
    yield rule(*of_family(4), *from_packed(bytes(4)), *udp(*_DHCP[4]), to=ACCEPT)
    yield rule(*of_family(6), *within(_LINK_LOCAL), to=goto(CHECKED))
    for kind in (131, 135, 143):
        yield rule(*of_family(6), *from_packed(bytes(16)), *icmp(ICMPV6, kind), to=ACCEPT)
    yield rule(to=drop(Reason.SPOOFED_ADDRESS))


def _checked(settings: PolicySettings) -> Iterator[KernelRule]:
    """What nobody may send, though it is who it says it is."""
    yield rule(Meta(MetaKey.L4PROTO), Cmp(bytes([TCP])), to=ACCEPT)
    yield rule(Meta(MetaKey.L4PROTO), Cmp(bytes([UDP])), to=goto(CHECKED_UDP))
    yield rule(*icmp(ICMPV6, 134), to=drop(Reason.ROUTER_ADVERTISEMENT))
    yield rule(*icmp(ICMPV6, 137), to=drop(Reason.REDIRECT))
    yield rule(*of_family(4), *icmp(ICMP, 5), to=drop(Reason.REDIRECT))
    if not settings.ipip_from_workloads:
        yield rule(Meta(MetaKey.L4PROTO), Cmp(bytes([IPIP])), to=drop(Reason.TUNNEL))
    yield rule(to=ACCEPT)


def _checked_udp(settings: PolicySettings) -> Iterator[KernelRule]:
    for client, server in _DHCP.values():
        yield rule(*ports(server, client), to=drop(Reason.DHCP_SERVER))
    if not settings.vxlan_from_workloads:
        yield rule(_DESTINATION_PORT, Cmp(_packed(settings.vxlan_port)), to=drop(Reason.TUNNEL))
    yield rule(to=ACCEPT)


def _packed(port: int) -> bytes:
    return port.to_bytes(2, "big")
