"""Host endpoints: what may come to this host, leave it and pass through it, besides what workloads may.

    raw      doNotTrack policies, of what arrives and of what the host sends; what they allow is not tracked
    mangle   preDNAT policies, of what arrives; and all others, of what the host sends when its destination was
             translated, since only behind that it is known by which interface it leaves
    filter   applyOnForward policies, by the interface it came by before, by the one it leaves by after the workloads'
             own; all others, of what comes to the host and what it sends

What one table decided the next one knows by both bits of the mark together: see `trusted`, `admitted`, `not_waiting`.
Nothing of this exists where no host endpoint asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from tortie.dataplane.hosts import Hosts
from tortie.dataplane.iptables.chains import (
    ALLOW,
    ESTABLISHED,
    PASS,
    Marks,
    asked,
    clear_mark,
    is_exactly,
    set_exactly,
    set_mark,
)
from tortie.dataplane.iptables.dispatch import Ours, by, tree
from tortie.dataplane.iptables.drops import drop_rows, dropped
from tortie.dataplane.iptables.rows import FILTER, MANGLE, RAW, Rows, Rule, chain, chain_name
from tortie.dataplane.naming import digest
from tortie.intent.packet import WITH_PORTS
from tortie.intent.policy import (
    FAMILIES,
    Chain,
    Direction,
    FailsafePort,
    Family,
    HostEndpointPolicy,
    ObjectKey,
    PolicySettings,
)
from tortie.intent.verdict import Reason

_IN, _OUT = Direction.INGRESS, Direction.EGRESS

HOST_TRACKED = chain_name("host-tracked")
_FAILSAFE = {_IN: chain_name("host-failsafe-in"), _OUT: chain_name("host-failsafe-out")}


class Place(NamedTuple):
    """Where a sort of policies is asked."""

    name: str
    table: str
    direction: Direction
    chain: Callable[[HostEndpointPolicy], Chain]
    first: tuple[str, ...] = ()  # chains that are asked before the policies
    closes: bool = False  # what nobody decides is denied
    has_rest: bool = True  # the endpoint of all other interfaces is asked too

    @property
    def dispatch(self) -> str:
        """The chain that leads to those of the endpoints."""
        return by(self.name)

    @property
    def option(self) -> str:
        return "-i" if self.direction is _IN else "-o"

    def speaks(self, endpoint: HostEndpointPolicy) -> bool:
        """Whether an endpoint has something to say here."""
        return self.closes or bool(self.chain(endpoint).tiers)


_WITH_FAILSAFE_IN, _WITH_FAILSAFE_OUT = (HOST_TRACKED, _FAILSAFE[_IN]), (HOST_TRACKED, _FAILSAFE[_OUT])
UNTRACKED_IN = Place("host-raw-in", RAW, _IN, lambda each: each.untracked.ingress, (_FAILSAFE[_IN],), has_rest=False)
UNTRACKED_OUT = Place("host-raw-out", RAW, _OUT, lambda each: each.untracked.egress, (_FAILSAFE[_OUT],), has_rest=False)
BEFORE = Place("host-before", MANGLE, _IN, lambda each: each.pre_dnat, (_FAILSAFE[_IN],))
THROUGH_IN = Place("host-through-in", FILTER, _IN, lambda each: each.forward.ingress, (HOST_TRACKED,))
THROUGH_OUT = Place("host-through-out", FILTER, _OUT, lambda each: each.forward.egress, (HOST_TRACKED,))
HOST_IN = Place("host-in", FILTER, _IN, lambda each: each.normal.ingress, _WITH_FAILSAFE_IN, closes=True)
HOST_OUT = Place("host-out", FILTER, _OUT, lambda each: each.normal.egress, _WITH_FAILSAFE_OUT, closes=True)
LEAVING = Place("host-leaving", MANGLE, _OUT, lambda each: each.normal.egress, (_FAILSAFE[_OUT],), closes=True)
_PLACES = (UNTRACKED_IN, UNTRACKED_OUT, BEFORE, THROUGH_IN, THROUGH_OUT, HOST_IN, HOST_OUT, LEAVING)

# --- What the mark says from one table to the next. Others who set all of its bits open nothing by it.


def trusted(marks: Marks) -> str:
    """Allowed before connection tracking: no later place asks again."""
    return f"{is_exactly(marks.both, marks.both)} -m conntrack --ctstate UNTRACKED"


def admitted(marks: Marks) -> str:
    """Allowed before translation: the endpoint that it came by does not ask again."""
    return is_exactly(marks.allowed, marks.both)


def not_waiting(marks: Marks) -> str:
    """Sent by this host and translated since, a packet waits for its new route; any other does not."""
    return f"-m mark ! --mark {marks.passed:#x}/{marks.both:#x}"


# --- Rows


def places_of(hosts: Hosts) -> tuple[Place, ...]:
    """Where any endpoint has something to say."""
    named, rest = hosts.by_interface.values(), hosts.rest
    return tuple(
        place
        for place in _PLACES
        if any(map(place.speaks, named)) or (place.has_rest and rest is not None and place.speaks(rest))
    )


def policies_of(hosts: Hosts, table: str) -> set[ObjectKey]:
    """Whose chains a table needs for host endpoints."""
    places = [place for place in places_of(hosts) if place.table == table]
    chains = [place.chain(endpoint) for place in places for endpoint in hosts.all if place.speaks(endpoint)]
    return {key for each in chains for key in each.policies_and_profiles()}


def host_rows(hosts: Hosts, settings: PolicySettings, marks: Marks, ours: Ours) -> Rows:
    """Everything that the host endpoints need, but for the policies."""
    rows: Rows = {}
    places = places_of(hosts)
    for place in places:
        rows |= _place_rows(place, hosts, marks, ours)
    for table in {place.table for place in places}:
        first = {name for place in places if place.table == table for name in place.first}
        rows |= _shared(table, first, settings, marks)
    return rows


def _place_rows(place: Place, hosts: Hosts, marks: Marks, ours: Ours) -> Rows:
    rows: Rows = {}

    def leads(endpoint: HostEndpointPolicy) -> str:
        name, more = _endpoint_chain(place, endpoint, marks)
        rows.update(more)
        return f"-g {name}"

    targets = {name: leads(each) for name, each in hosts.by_interface.items() if place.speaks(each)}
    last: list[Rule] = []
    if place.has_rest and hosts.rest is not None and place.speaks(hosts.rest):
        # Interfaces with an endpoint of their own are not the rest, even where theirs has nothing to say.
        targets |= dict.fromkeys(hosts.by_interface.keys() - targets.keys(), "-j RETURN")
        targets |= dict.fromkeys(set(ours.exempt) - hosts.by_interface.keys(), leads(hosts.rest))
        others = (*(f"{prefix}+" for prefix in ours.prefixes), "lo")
        last = [*(Rule(f"{place.option} {name} -j RETURN") for name in others), Rule(leads(hosts.rest))]
    if targets or last:
        targets |= dict.fromkeys(ours.outsiders, "-j RETURN")
    return rows | tree(place.table, place.name, place.option, targets, last)


def _endpoint_chain(place: Place, endpoint: HostEndpointPolicy, marks: Marks) -> tuple[str, Rows]:
    """The chain of an endpoint at a place, named by its contents. Who is allowed returns with the mark that says so."""
    rules = [
        *(Rule(f"-j {name}") for name in place.first),
        Rule(f"-m mark ! --mark 0x0/{marks.both:#x} -j RETURN"),
        *asked(place.chain(endpoint), place.direction, marks),
    ]
    if place.closes:
        rules.append(Rule(f"-g {dropped(Reason.NO_PROFILE_MATCHED)}", "no profile matched"))
    elif place.table == FILTER:
        rules.append(Rule(f"-g {ALLOW}"))
    name = chain_name("host", digest(place.table, tuple(rules))[:16])
    return name, {row: spec for family in FAMILIES for row, spec in chain(family, place.table, name, rules).items()}


def _shared(table: str, first: Collection[str], settings: PolicySettings, marks: Marks) -> Rows:
    """What the endpoints of a table share. What the filter table has anyway stands in `skeleton`."""
    rows: Rows = {}
    if table != FILTER:
        reasons = (Reason.POLICY, Reason.TIER_DEFAULT, Reason.NO_PROFILE_MATCHED)
        rows |= drop_rows(table, reasons, settings)
    for family in FAMILIES:
        if table == RAW:
            rows |= chain(family, RAW, ALLOW, [set_mark(marks.both), Rule("-j CT --notrack")])
        elif table == MANGLE:
            rows |= chain(family, MANGLE, ALLOW, [set_exactly(marks.allowed, marks.both)])
        else:
            rows |= chain(family, FILTER, HOST_TRACKED, _tracked(marks))
        if table != FILTER:
            rows |= chain(family, table, PASS, [set_mark(marks.passed)])
        for direction, name in _FAILSAFE.items():
            if name in first:
                rows |= chain(family, table, name, _failsafe(direction, table, family, settings))
    return rows


def _tracked(marks: Marks) -> Iterator[Rule]:
    """A host's conversations may be older than its tracking, so one is not refused for its beginning."""
    yield clear_mark(marks.both)
    yield Rule(f"{ESTABLISHED} -g {ALLOW}")
    yield Rule(f"-m conntrack --ctstate INVALID -g {dropped(Reason.INVALID)}")


# --- Failsafe ports


def _failsafe(direction: Direction, table: str, family: Family, settings: PolicySettings) -> Iterator[Rule]:
    """In the filter table that is an end; before, others may still have something to say. What answers is not tracked
    either, if the question is not: so the raw table lets both be.
    """
    target = ALLOW if table == FILTER else PASS
    into = direction is _IN
    here, there = settings.failsafe_inbound, settings.failsafe_outbound
    yield from _ports(here if into else there, "--dports", family, direction, target)
    if table == RAW:
        yield from _ports(there if into else here, "--sports", family, direction, target)


def _ports(
    ports: Iterable[FailsafePort], option: str, family: Family, direction: Direction, target: str
) -> Iterator[Rule]:
    for protocol, port, network in ports:
        if protocol not in WITH_PORTS or (network is not None and network.version != family):
            continue
        peer = "" if network is None else f"{'-s' if direction is _IN else '-d'} {network} "
        yield Rule(f"-p {protocol} {peer}-m multiport {option} {port} -g {target}")
