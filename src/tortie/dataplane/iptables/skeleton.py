"""What every endpoint shares: where packets are met, what a workload may send, how one is dropped.

    raw PREROUTING   -i -> tortie-at-INTERFACE: is the sender who it says it is? An interface that only looks like a
                     workload's is dropped here
    filter FORWARD   -i -> what its endpoint may send; then -o -> what its endpoint may receive; accepted if the last
                     one that was asked allowed it
    filter INPUT     a workload's packets to this host
    filter OUTPUT    nothing leaves by an interface that only looks like a workload's

Packets of no workload go through all of them and out at the end, to whatever rules stand below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tortie.conventions import DROP_GROUP
from tortie.dataplane.iptables.chains import (
    ALLOW,
    ESTABLISHED,
    FILTER,
    PASS,
    RAW,
    TRACKED,
    Marks,
    chain,
    clear_mark,
    dropped,
    guard,
    is_set,
    set_mark,
    tracked,
)
from tortie.dataplane.iptables.rows import FAMILIES, ChainKey, Kind, RowKey, Rows, Rule, chain_name, chain_of
from tortie.intent.packet import IPIP, UDP
from tortie.intent.policy import Family, PolicySettings, WorkloadPolicy
from tortie.intent.verdict import Reason

ARRIVE = chain_name("arrive")
FORWARD = chain_name("forward")
INPUT = chain_name("input")
OUTPUT = chain_name("output")
CHECKED = chain_name("checked")
TO_HOST = chain_name("to-host")
# Dispatch by interface: to where packets arrive, to what may be sent, to what may be received, to nothing.
AT, FROM, TO, KNOWN = "at", "from", "to", "known"

JUMPS = {
    (RAW, "PREROUTING"): ARRIVE,
    (FILTER, "FORWARD"): FORWARD,
    (FILTER, "INPUT"): INPUT,
    (FILTER, "OUTPUT"): OUTPUT,
}

# Of drops that are told of, a second; all are counted.
TOLD_PER_S = 100
TOLD_BYTES = 256
# Interfaces of one chain; more are parted by the next letter of their names.
INTERFACES_APIECE = 16

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
_OF_POLICY = frozenset({Reason.POLICY, Reason.TIER_DEFAULT, Reason.NO_PROFILE_MATCHED})
_UNREACHABLE = {4: "icmp-admin-prohibited", 6: "icmp6-adm-prohibited"}


def skeleton(settings: PolicySettings, marks: Marks) -> Rows:
    """Every row that stands whatever the endpoints are, but for the dispatch."""
    rows: Rows = {}
    for family in FAMILIES:
        for reason in _DROPPED_IN_RAW:
            rows |= chain(family, RAW, dropped(reason), _drop(reason, "Drop", family))
        for reason in _DROPPED_IN_FILTER:
            deny = settings.deny if reason in _OF_POLICY else "Drop"
            rows |= chain(family, FILTER, dropped(reason), _drop(reason, deny, family))
        rows |= chain(family, RAW, CHECKED, _checked(family, settings))
        rows |= chain(family, RAW, ARRIVE, [Rule(f"-j {_dispatch_name(AT)}")])
        rows |= chain(family, FILTER, ALLOW, [set_mark(marks.allowed)])
        rows |= chain(family, FILTER, PASS, [set_mark(marks.passed)])
        rows |= chain(family, FILTER, TRACKED, tracked(marks))
        rows |= chain(family, FILTER, TO_HOST, _to_host(family, settings, marks))
        rows |= chain(family, FILTER, FORWARD, _forward(marks))
        rows |= chain(family, FILTER, OUTPUT, [Rule(f"-j {_dispatch_name(KNOWN)}")])
        for table, name in JUMPS:
            jump = chain_of([Rule(f"-j {JUMPS[table, name]}")])
            rows[RowKey(Kind.JUMP, ChainKey(family, table, name))] = jump
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
    workloads: Mapping[str, tuple[str, str]], prefixes: tuple[str, ...], exempt: frozenset[str] = frozenset()
) -> Rows:
    """By interface, to the chains of what its endpoint may send, and receive. All others like it are closed, but for
    the exempt ones, which nobody asks.
    """
    left_alone = dict.fromkeys(exempt, "-j RETURN")
    closed = dropped(Reason.UNKNOWN_INTERFACE)
    unknown_in = [Rule(f"-i {prefix}+ -g {closed}") for prefix in prefixes]
    unknown_out = [Rule(f"-o {prefix}+ -g {closed}") for prefix in prefixes]
    trees = (
        (RAW, AT, "-i", {name: f"-g {arrival_chain(name)}" for name in workloads}, unknown_in),
        (FILTER, FROM, "-i", {name: f"-g {chains[0]}" for name, chains in workloads.items()}, unknown_in),
        (FILTER, TO, "-o", {name: f"-g {chains[1]}" for name, chains in workloads.items()}, unknown_out),
        (FILTER, KNOWN, "-o", dict.fromkeys(workloads, "-j RETURN"), unknown_out),
    )
    rows: Rows = {}
    for table, kind, option, targets, last in trees:
        for name, rules in _tree(kind, option, "", {**targets, **left_alone}, last):
            spec = chain_of(rules)
            rows |= {RowKey(Kind.CHAIN, ChainKey(family, table, name)): spec for family in FAMILIES}
    to_host = [Rule(f"-i {name} -j RETURN") for name in sorted(exempt)]
    to_host += [Rule(f"-i {name} -g {TO_HOST}") for name in workloads if not name.startswith(prefixes)]
    to_host += [Rule(f"-i {prefix}+ -g {TO_HOST}") for prefix in prefixes]
    for family in FAMILIES:
        rows |= chain(family, FILTER, INPUT, to_host)
    return rows


def _tree(
    kind: str, option: str, prefix: str, targets: Mapping[str, str], last: list[Rule]
) -> Iterator[tuple[str, list[Rule]]]:
    """The chains for all interfaces that begin with the prefix; a packet of none of them meets the `last` rules."""
    by_letter: dict[str, dict[str, str]] = {}
    for name, target in sorted(targets.items()):
        by_letter.setdefault(name[: len(prefix) + 1], {})[name] = target
    rules: list[Rule] = []
    for some in by_letter.values():
        if len(targets) <= INTERFACES_APIECE or len(some) == 1:
            rules += [Rule(f"{option} {name} {target}") for name, target in some.items()]
            continue
        longer = _common(min(some), max(some))
        if longer in some:
            # Its name is the prefix of others, and there is no next letter.
            rules.append(Rule(f"{option} {longer} {some.pop(longer)}"))
        yield from _tree(kind, option, longer, some, last)
        rules.append(Rule(f"{option} {longer}+ -g {_dispatch_name(kind, longer)}"))
    yield _dispatch_name(kind, prefix), [*rules, *last]


def _common(first: str, last: str) -> str:
    """What two names begin with, and in their order all between them."""
    length = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]


def _dispatch_name(kind: str, prefix: str = "") -> str:
    return chain_name("by", kind, prefix)


# --- The chains of the skeleton


def _forward(marks: Marks) -> Iterator[Rule]:
    yield clear_mark(marks.both)
    yield Rule(f"-j {_dispatch_name(FROM)}")
    yield Rule(f"-j {_dispatch_name(TO)}")
    yield Rule(f"{is_set(marks.allowed)} -j ACCEPT")


def _to_host(family: Family, settings: PolicySettings, marks: Marks) -> Iterator[Rule]:
    if family == 6:
        for kind in _NEIGHBOUR_DISCOVERY:
            yield Rule(f"-p 58 -m icmp6 --icmpv6-type {kind} -j ACCEPT")
        yield Rule(f"{_udp(546, 547)} -j ACCEPT")
    else:
        yield Rule(f"{_udp(68, 67)} -j ACCEPT")
    yield Rule(f"{ESTABLISHED} -j ACCEPT")
    yield from guard()
    if settings.endpoint_to_host == "Drop":
        yield Rule(f"-g {dropped(Reason.ENDPOINT_TO_HOST)}")
        return
    yield Rule(f"-j {_dispatch_name(FROM)}")
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


def _drop(reason: Reason, deny: str, family: Family) -> Iterable[Rule]:
    """Told to who listens, as far as the limit goes; counted always."""
    told = f"-j NFLOG --nflog-prefix {reason} --nflog-group {DROP_GROUP} --nflog-size {TOLD_BYTES}"
    yield Rule(f"-m limit --limit {TOLD_PER_S}/second --limit-burst {TOLD_PER_S} {told}")
    if deny == "Reject":
        yield Rule("-p 6 -j REJECT --reject-with tcp-reset")
        yield Rule(f"-j REJECT --reject-with {_UNREACHABLE[family]}")
    else:
        yield Rule("-j DROP")


def _udp(source: int, destination: int) -> str:
    return f"-p {UDP} -m udp --sport {source} --dport {destination}"
