"""What every endpoint shares: what a workload may send, what the host hears of it, how one is dropped; and which way
the interface of a workload leads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tortie.dataplane.iptables.chains import (
    ALLOW,
    ESTABLISHED,
    PASS,
    TRACKED,
    Marks,
    guard,
    is_set,
    set_mark,
    tracked,
)
from tortie.dataplane.iptables.dispatch import by, tree
from tortie.dataplane.iptables.drops import drop_rows, dropped
from tortie.dataplane.iptables.rows import FILTER, MANGLE, RAW, Rows, Rule, chain, chain_name
from tortie.intent.packet import IPIP, UDP
from tortie.intent.policy import FAMILIES, Family, PolicySettings, WorkloadPolicy
from tortie.intent.verdict import Reason

CHECKED = chain_name("checked")
TO_HOST = chain_name("to-host")
# Dispatch by interface: to where packets arrive, to what may be sent, to what may be received, to nothing.
AT, FROM, TO, KNOWN = "at", "from", "to", "known"

_NEIGHBOUR_DISCOVERY = (130, 131, 132, 133, 135, 136, 143)
_UNSPECIFIED = (131, 135, 143)
_DROPPED_IN_RAW = (
    *(Reason.UNKNOWN_INTERFACE, Reason.SPOOFED_MAC, Reason.SPOOFED_ADDRESS, Reason.ROUTER_ADVERTISEMENT),
    *(Reason.REDIRECT, Reason.DHCP_SERVER, Reason.TUNNEL),
)
_DROPPED_IN_FILTER = (
    *(Reason.UNKNOWN_INTERFACE, Reason.INVALID, Reason.MID_STREAM, Reason.POLICY, Reason.TIER_DEFAULT),
    *(Reason.NO_PROFILE_MATCHED, Reason.ENDPOINT_TO_HOST),
)


def skeleton(settings: PolicySettings, marks: Marks) -> Rows:
    """Every row that stands whatever the endpoints are, but for where packets are met, and the dispatch."""
    rows = drop_rows(RAW, _DROPPED_IN_RAW, settings) | drop_rows(FILTER, _DROPPED_IN_FILTER, settings)
    rows |= drop_rows(MANGLE, (Reason.UNKNOWN_INTERFACE,), settings)
    for family in FAMILIES:
        rows |= chain(family, RAW, CHECKED, _checked(family, settings))
        rows |= chain(family, FILTER, ALLOW, [set_mark(marks.allowed)])
        rows |= chain(family, FILTER, PASS, [set_mark(marks.passed)])
        rows |= chain(family, FILTER, TRACKED, tracked(settings, marks))
        rows |= chain(family, FILTER, TO_HOST, _to_host(family, settings, marks))
    return rows


def arrival_chain(interface: str) -> str:
    return chain_name(AT, interface)


def arrival(workload: WorkloadPolicy) -> Rows:
    """The chain in which a workload's packets arrive."""
    rows: Rows = {}
    for family in FAMILIES:
        rows |= chain(family, RAW, arrival_chain(workload.interface), _arrival(workload, family))
    return rows


def dispatch(
    workloads: Mapping[str, tuple[str, str]],
    prefixes: tuple[str, ...],
    exempt: frozenset[str] = frozenset(),
    governed: frozenset[str] = frozenset(),
) -> Rows:
    """By interface, to the chains of what its endpoint may send, and receive. All others that begin like it are closed,
    and those that are governed whatever their names, but for the exempt ones, which nobody asks.
    """
    closed = dropped(Reason.UNKNOWN_INTERFACE)
    others = dict.fromkeys(exempt, "-j RETURN") | dict.fromkeys(governed - workloads.keys(), f"-g {closed}")
    unknown_in = [Rule(f"-i {prefix}+ -g {closed}") for prefix in prefixes]
    unknown_out = [Rule(f"-o {prefix}+ -g {closed}") for prefix in prefixes]
    ways = {name: f"-g {arrival_chain(name)}" for name in workloads}
    rows = tree(RAW, AT, "-i", {**ways, **others}, unknown_in)
    ways = {name: f"-g {chains[0]}" for name, chains in workloads.items()}
    rows |= tree(FILTER, FROM, "-i", {**ways, **others}, unknown_in)
    ways = {name: f"-g {chains[1]}" for name, chains in workloads.items()}
    rows |= tree(FILTER, TO, "-o", {**ways, **others}, unknown_out)
    for table in (FILTER, MANGLE):
        rows |= tree(table, KNOWN, "-o", {**dict.fromkeys(workloads, "-j RETURN"), **others}, unknown_out)
    return rows


# --- The chains of the skeleton


def _to_host(family: Family, settings: PolicySettings, marks: Marks) -> Iterator[Rule]:
    if family == 6:
        for kind in _NEIGHBOUR_DISCOVERY:
            yield Rule(f"-p 58 -m icmp6 --icmpv6-type {kind} -j ACCEPT")
        yield Rule(f"{_udp(546, 547)} -j ACCEPT")
    else:
        yield Rule(f"{_udp(68, 67)} -j ACCEPT")
    yield Rule(f"{ESTABLISHED} -j ACCEPT")
    yield from guard(settings)
    if settings.endpoint_to_host == "Drop":
        yield Rule(f"-g {dropped(Reason.ENDPOINT_TO_HOST)}")
        return
    yield Rule(f"-j {by(FROM)}")
    if settings.endpoint_to_host == "Accept":
        yield Rule(f"{is_set(marks.allowed)} -j ACCEPT")


def _arrival(workload: WorkloadPolicy, family: Family) -> Iterator[Rule]:
    if workload.mac:
        yield Rule(f"-m mac ! --mac-source {workload.mac} -g {dropped(Reason.SPOOFED_MAC)}")
    for source in (*workload.addresses, *workload.allowed_sources):
        if source.version == family:
            yield Rule(f"-s {source} -g {CHECKED}")
    if family == 4:
        yield Rule(f"-s 0.0.0.0/32 {_udp(68, 67)} -j RETURN")
    else:
        yield Rule(f"-s fe80::/10 -g {CHECKED}")
        for kind in _UNSPECIFIED:
            yield Rule(f"-s ::/128 -p 58 -m icmp6 --icmpv6-type {kind} -j RETURN")
    yield Rule(f"-g {dropped(Reason.SPOOFED_ADDRESS)}")


def _checked(family: Family, settings: PolicySettings) -> Iterator[Rule]:
    """What nobody may send, though it is who it says it is."""
    if family == 6:
        yield Rule(f"-p 58 -m icmp6 --icmpv6-type 134 -g {dropped(Reason.ROUTER_ADVERTISEMENT)}")
        yield Rule(f"-p 58 -m icmp6 --icmpv6-type 137 -g {dropped(Reason.REDIRECT)}")
    else:
        yield Rule(f"-p 1 -m icmp --icmp-type 5 -g {dropped(Reason.REDIRECT)}")
    for server, client in ((67, 68), (547, 546)):
        yield Rule(f"{_udp(server, client)} -g {dropped(Reason.DHCP_SERVER)}")
    if not settings.ipip_from_workloads:
        yield Rule(f"-p {IPIP} -g {dropped(Reason.TUNNEL)}")
    if not settings.vxlan_from_workloads:
        yield Rule(f"-p {UDP} -m udp --dport {settings.vxlan_port} -g {dropped(Reason.TUNNEL)}")


def _udp(source: int, destination: int) -> str:
    return f"-p {UDP} -m udp --sport {source} --dport {destination}"
