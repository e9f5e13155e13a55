"""A rule's conditions as arguments of iptables, for one family.

A list of prefixes is a set of the rule's own, named by its contents; so is what must not match beside what must. Ports
fill 15 slots of a `multiport`, a range two of them; more, or names beside numbers, take a rule for each part. Every
negation is one more match of the same rule.

Numbers of ports, types and codes of ICMP stand beside a protocol that has them: a rule is not valid without
(model/rule.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import NamedTuple

from tortie.dataplane.iptables.rows import OWN_SET, Kind, MemberKey, RowKey, Rows, SetSpec, set_name
from tortie.dataplane.naming import digest
from tortie.intent.packet import ICMP, ICMPV6, SCTP, TCP, UDP, UDPLITE, WITH_PORTS
from tortie.intent.policy import Address, End, Family, Icmp, Member, NamedPort, Network, PortRange, Rule
from tortie.intent.ranges import merged_networks, merged_ports

PORT_SLOTS = 15  # XT_MULTI_PORTS

ADDRESSES = "hash:net"
NAMED_PORTS = "hash:ip,port"
_PROTOCOL_NAME = {TCP: "tcp", UDP: "udp", SCTP: "sctp", UDPLITE: "udplite"}
_ICMP = {4: ICMP, 6: ICMPV6}


class Matches(NamedTuple):
    """Every way in which a packet may match, and the sets that the arguments name."""

    alternatives: tuple[str, ...]
    sets: Rows


class Words(NamedTuple):
    """How the arguments for one end of a packet are called."""

    address: str
    ports: str
    set: str


_SOURCE = Words("-s", "--sports", "src")
_DESTINATION = Words("-d", "--dports", "dst")


def matches(rule: Rule, family: Family) -> Matches:
    """No alternatives for a rule that no packet of the family can match."""
    if rule.family not in (None, family):
        return Matches((), {})
    compiler = _Compiler(family, rule)
    return Matches(tuple(compiler.alternatives()), compiler.sets)


class _Compiler:
    def __init__(self, family: Family, rule: Rule) -> None:
        self._family = family
        self._rule = rule
        self._protocol = _ICMP[family] if rule.icmp is not None and rule.protocol is None else rule.protocol
        self.sets: Rows = {}

    def alternatives(self) -> Iterator[str]:
        """What every packet must match first, then each choice of what may be one of several things."""
        rule = self._rule
        if self._protocol is not None and self._protocol == rule.not_protocol:
            return
        if rule.icmp is not None and self._protocol != _ICMP[self._family]:
            return
        head = list(self._head())
        choices: list[list[str]] = []
        for end, words in ((rule.source, _SOURCE), (rule.destination, _DESTINATION)):
            nets = self._nets(end.nets, words)
            never = self._not_nets(end.not_nets, words, beside=bool(nets))
            if nets is None or never is None:
                return
            head += [*nets, *never]
            head += [_in_set(set_name(each, self._family), words.set) for each in end.sets]
            head += [_in_set(set_name(each, self._family), words.set, inverted=True) for each in end.not_sets]
            head += self._not_ports(end, words)
            choices.append(self._ports(end, words))
        for chosen in product(*choices):
            yield " ".join(word for word in (*head, *chosen) if word)

    def _head(self) -> Iterator[str]:
        rule = self._rule
        if self._protocol is not None:
            yield f"-p {self._protocol}"
        elif rule.not_protocol is not None:
            yield f"! -p {rule.not_protocol}"
        if rule.icmp is not None:
            yield self._icmp(rule.icmp)
        if rule.not_icmp is not None and self._protocol == _ICMP[self._family]:
            yield self._icmp(rule.not_icmp, inverted=True)

    def _icmp(self, icmp: Icmp, *, inverted: bool = False) -> str:
        """Type and code are negated as one."""
        match, option = ("icmp", "--icmp-type") if self._family == 4 else ("icmp6", "--icmpv6-type")
        message = str(icmp.type) if icmp.code is None else f"{icmp.type}/{icmp.code}"
        return f"-m {match} {'! ' if inverted else ''}{option} {message}"

    # --- Addresses

    def _nets(self, nets: tuple[Network, ...], words: Words) -> list[str] | None:
        """None when no address of the family is in them."""
        if not nets:
            return []
        own = self._merged(nets)
        if not own:
            return None
        if own[0].prefixlen == 0:
            return []
        return [f"{words.address} {own[0]}" if len(own) == 1 else _in_set(self._own_set(own), words.set)]

    def _not_nets(self, nets: tuple[Network, ...], words: Words, *, beside: bool) -> list[str] | None:
        """None when every address of the family is in them. A rule has one address argument: with prefixes `beside`
        that it must be in, a set is needed for a single one too.
        """
        own = self._merged(nets)
        if not own:
            return []
        if own[0].prefixlen == 0:
            return None
        if len(own) == 1 and not beside:
            return [f"! {words.address} {own[0]}"]
        return [_in_set(self._own_set(own), words.set, inverted=True)]

    def _merged(self, nets: tuple[Network, ...]) -> tuple[Network, ...]:
        return merged_networks(net for net in nets if net.version == self._family)

    def _own_set(self, nets: tuple[Network, ...]) -> str:
        members = sorted(text for net in nets for text in members_of(net))
        name = f"{OWN_SET[self._family]}own-{digest(members)[:16]}"
        self.sets[RowKey(Kind.SET, name)] = SetSpec(ADDRESSES, self._family)
        for member in members:
            self.sets[RowKey(Kind.MEMBER, MemberKey(name, member))] = None
        return name

    # --- Ports

    def _ports(self, end: End, words: Words) -> list[str]:
        """An alternative each; none for a list that nothing can match."""
        if not end.ports and not end.port_sets:
            return [""]
        both = f"{words.set},{words.set}"
        found = [_in_set(set_name(each, self._family), both) for each in end.port_sets]
        if self._protocol in WITH_PORTS:
            found += [f"-m multiport {words.ports} {some}" for some in _filled(end.ports)]
        return found

    def _not_ports(self, end: End, words: Words) -> list[str]:
        both = f"{words.set},{words.set}"
        found = [_in_set(set_name(each, self._family), both, inverted=True) for each in end.not_port_sets]
        if self._protocol in WITH_PORTS:
            found += [f"-m multiport ! {words.ports} {some}" for some in _filled(end.not_ports)]
        return found


def _in_set(name: str, how: str, *, inverted: bool = False) -> str:
    return f"-m set {'! ' if inverted else ''}--match-set {name} {how}"


def _filled(ranges: Iterable[PortRange]) -> Iterator[str]:
    """Lists of ports as long as one `multiport` takes them."""
    some: list[str] = []
    slots = 0
    for first, last in merged_ports(ranges):
        cost = 1 if first == last else 2
        if slots + cost > PORT_SLOTS:
            yield ",".join(some)
            some, slots = [], 0
        some.append(str(first) if first == last else f"{first}:{last}")
        slots += cost
    if some:
        yield ",".join(some)


def members_of(member: Member) -> tuple[str, ...]:
    """As ipset writes it; it takes no prefix of length 0."""
    if isinstance(member, NamedPort):
        name = _PROTOCOL_NAME.get(member.protocol)
        return (f"{member.address},{name}:{member.port}",) if name else ()
    if isinstance(member, Address):
        return (str(member),)
    if member.prefixlen == 0:
        return tuple(str(half) for half in member.subnets())
    return (str(member.network_address) if member.prefixlen == member.max_prefixlen else str(member),)
