"""A rule's conditions as expressions of the kernel, for one family.

Where a rule means "one of several things", the kernel needs a set, or a rule for each. A set of a selector is a set of
single addresses, one of prefixes, and one for each length of which there are many (`lengths`): a rule that selects by
it is a rule for each. Every list of a rule's own that is longer than one becomes a set, named by its contents.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from itertools import chain, product
from typing import NamedTuple

from tortie.dataplane.naming import digest
from tortie.dataplane.nftables.rows import Kind, MemberKey, RowKey, Rows, SetSpec
from tortie.intent.packet import ICMP_FAMILY
from tortie.intent.policy import Address, End, Family, Icmp, Member, NamedPort, Network, PortRange, Rule, SetId
from tortie.intent.ranges import merged_networks, merged_ports
from tortie.kernel.netfilter.datatype import IPV4, IPV6, PROTOCOL, SERVICE, DataType, concatenate
from tortie.kernel.netfilter.expression import (
    Base,
    Bitwise,
    Cmp,
    Expression,
    Lookup,
    Meta,
    MetaKey,
    Op,
    Payload,
    Range,
)

ADDRESS: dict[int, DataType] = {4: IPV4, 6: IPV6}
_SOURCE_OFFSET = {4: 12, 6: 8}
_DESTINATION_OFFSET = {4: 16, 6: 24}
_ADDRESS_BYTES = {4: 4, 6: 16}


class Prefixes(NamedTuple):
    """Where the prefixes of a set stand, of one family."""

    intervals: bool = False
    lengths: tuple[int, ...] = ()  # that have a hash each


NO_PREFIXES = Prefixes()

PrefixesOf = Callable[[SetId], Prefixes]  # of the family at hand


class Side(NamedTuple):
    """Where the kernel finds one end of a packet."""

    address: Payload
    port: Payload


def side(family: Family, *, source: bool) -> Side:
    offset = (_SOURCE_OFFSET if source else _DESTINATION_OFFSET)[family]
    return Side(
        Payload(Base.NETWORK, offset, _ADDRESS_BYTES[family]),
        Payload(Base.TRANSPORT, 0 if source else 2, 2),
    )


class Matches(NamedTuple):
    """Every way in which a packet may match, and the sets that the expressions name."""

    alternatives: tuple[tuple[Expression, ...], ...]
    sets: Rows


def matches(rule: Rule, family: Family, prefixes_of: PrefixesOf) -> Matches:
    """Cheap comparisons first; no alternatives for a rule that no packet of the family can match."""
    if rule.family not in (None, family):
        return Matches((), {})
    compiler = _Compiler(family, prefixes_of)
    head = tuple(compiler.head(rule))
    sides = (
        compiler.end(rule.source, side(family, source=True)),
        compiler.end(rule.destination, side(family, source=False)),
    )
    alternatives = tuple((*head, *one, *other) for one, other in product(*sides))
    return Matches(alternatives, compiler.sets)


Alternatives = list[tuple[Expression, ...]]


class _Compiler:
    def __init__(self, family: Family, prefixes_of: PrefixesOf) -> None:
        self._family = family
        self._prefixes_of = prefixes_of
        self.sets: Rows = {}

    def head(self, rule: Rule) -> Iterator[Expression]:
        protocol = Meta(MetaKey.L4PROTO)
        if rule.protocol is not None:
            yield from (protocol, Cmp(bytes([rule.protocol])))
        elif rule.icmp is not None:
            yield from (protocol, Cmp(bytes([_icmp_of(self._family)])))
        if rule.not_protocol is not None:
            yield from (protocol, Cmp(bytes([rule.not_protocol]), Op.NEQ))
        if rule.icmp is not None:
            yield from _icmp(rule.icmp)
        if rule.not_icmp is not None:
            yield from self._not_icmp(rule.not_icmp)

    def end(self, end: End, where: Side) -> Alternatives:
        """Negations hold in every alternative; of what may be one of several things there is an alternative each."""
        choices = [self._nets(end.nets, where.address), self._ports(end, where)]
        choices += [self._set(each, where.address) for each in end.sets]
        never = (*self._not_nets(end.not_nets, where.address), *self._not_ports(end, where))
        for each in end.not_sets:
            never += self._not_set(each, where.address)
        return [(*(part for choice in chosen for part in choice), *never) for chosen in product(*choices)]

    # --- Addresses

    def _nets(self, nets: tuple[Network, ...], address: Payload) -> Alternatives:
        if not nets:
            return [()]
        own = [net for net in nets if net.version == self._family]
        if len(own) == 1:
            return [tuple(_in_network(own[0], address))]
        hosts = [net for net in own if net.prefixlen == net.max_prefixlen]
        prefixes = merged_networks(net for net in own if net.prefixlen < net.max_prefixlen)
        found: Alternatives = []
        if hosts:
            found.append((address, Lookup(self._own_set((ADDRESS[self._family],), map(interval_of, hosts)))))
        if prefixes:
            name = self._own_set((ADDRESS[self._family],), map(interval_of, prefixes), interval=True)
            found.append((address, Lookup(name)))
        return found

    def _not_nets(self, nets: tuple[Network, ...], address: Payload) -> tuple[Expression, ...]:
        own = merged_networks(net for net in nets if net.version == self._family)
        if not own:
            return ()
        if len(own) == 1:
            return tuple(_in_network(own[0], address, inverted=True))
        name = self._own_set((ADDRESS[self._family],), map(interval_of, own), interval=True)
        return (address, Lookup(name, inverted=True))

    def _set(self, set_id: SetId, address: Payload, *, inverted: bool = False) -> Alternatives:
        prefixes = self._prefixes_of(set_id)
        found: Alternatives = [(address, Lookup(hash_name(set_id, self._family), inverted))]
        if prefixes.intervals:
            found.append((address, Lookup(interval_name(set_id, self._family), inverted)))
        for length in prefixes.lengths:
            name = length_name(set_id, self._family, length)
            found.append((address, _mask(length, self._family), Lookup(name, inverted)))
        return found

    def _not_set(self, set_id: SetId, address: Payload) -> tuple[Expression, ...]:
        return tuple(chain.from_iterable(self._set(set_id, address, inverted=True)))

    # --- Ports

    def _ports(self, end: End, where: Side) -> Alternatives:
        if not end.ports and not end.port_sets:
            return [()]
        found: Alternatives = []
        if end.ports:
            found.append(self._in_ports(end.ports, where.port))
        found += [self._named(each, where, inverted=False) for each in end.port_sets]
        return found

    def _not_ports(self, end: End, where: Side) -> tuple[Expression, ...]:
        found: tuple[Expression, ...] = ()
        if end.not_ports:
            found += self._in_ports(end.not_ports, where.port, inverted=True)
        for each in end.not_port_sets:
            found += self._named(each, where, inverted=True)
        return found

    def _in_ports(
        self, ranges: tuple[PortRange, ...], port: Payload, *, inverted: bool = False
    ) -> tuple[Expression, ...]:
        merged = merged_ports(ranges)
        if len(merged) == 1:
            first, last = merged[0]
            if first == last:
                return (port, Cmp(_port(first), Op.NEQ if inverted else Op.EQ))
            return (port, Range(_port(first), _port(last), inverted))
        single = all(first == last for first, last in merged)
        keys = ((_port(first), None if single else _port(last)) for first, last in merged)
        return (port, Lookup(self._own_set((SERVICE,), keys, interval=not single), inverted))

    def _named(self, set_id: SetId, where: Side, *, inverted: bool) -> tuple[Expression, ...]:
        words = _ADDRESS_BYTES[self._family] // 4
        return (
            Meta(MetaKey.L4PROTO, 0),
            where.address._replace(register=1),
            where.port._replace(register=1 + words),
            Lookup(port_set_name(set_id, self._family), inverted),
        )

    def _not_icmp(self, icmp: Icmp) -> Iterator[Expression]:
        """Type and code are compared as one number; of another protocol no message is meant."""
        code = b"" if icmp.code is None else bytes([icmp.code])
        value = bytes([icmp.type]) + code
        yield Payload(Base.TRANSPORT, 0, len(value))
        yield Cmp(value, Op.NEQ)

    def _own_set(
        self,
        key: tuple[DataType, ...],
        members: Iterable[tuple[bytes, bytes | None]],
        *,
        interval: bool = False,
    ) -> str:
        """A set of the rule's own, named by what is in it."""
        found = sorted(((first, last if interval else None) for first, last in members), key=lambda pair: pair[0])
        spec = SetSpec(key, interval=interval)
        name = f"own-{digest(spec, found)}"
        self.sets[RowKey(Kind.SET, name)] = spec
        for first, last in found:
            self.sets[RowKey(Kind.MEMBER, MemberKey(name, first, last))] = None
        return name


def hash_name(set_id: SetId, family: int) -> str:
    return f"{set_id}-{family}"


def interval_name(set_id: SetId, family: int) -> str:
    return f"{set_id}-{family}n"


def length_name(set_id: SetId, family: int, length: int) -> str:
    return f"{interval_name(set_id, family)}{length}"


port_set_name = hash_name


def member_of(set_id: SetId, member: Member, lengths: Container[int] = ()) -> MemberKey:
    """Where a member of a set stands in the kernel; `lengths` as in `Prefixes`."""
    if isinstance(member, NamedPort):
        key = concatenate(bytes([member.protocol]), member.address.packed, _port(member.port))
        return MemberKey(port_set_name(set_id, member.address.version), key)
    if isinstance(member, Address):
        return MemberKey(hash_name(set_id, member.version), member.packed)
    if member.prefixlen in lengths:
        return MemberKey(length_name(set_id, member.version, member.prefixlen), member.network_address.packed)
    first, last = interval_of(member)
    return MemberKey(interval_name(set_id, member.version), first, last)


def address_sets(set_id: SetId, family: Family, lengths: Iterable[int] = ()) -> Rows:
    """The sets of a selector; `lengths` as in `Prefixes`."""
    key = (ADDRESS[family],)
    hashes = [hash_name(set_id, family), *(length_name(set_id, family, length) for length in lengths)]
    return {
        **{RowKey(Kind.SET, name): SetSpec(key) for name in hashes},
        RowKey(Kind.SET, interval_name(set_id, family)): SetSpec(key, interval=True),
    }


def port_sets(set_id: SetId, family: Family) -> Rows:
    """The set of a named port."""
    key = (PROTOCOL, ADDRESS[family], SERVICE)
    return {RowKey(Kind.SET, port_set_name(set_id, family)): SetSpec(key)}


def interval_of(net: Network) -> tuple[bytes, bytes]:
    # Not `broadcast_address`, which takes twice as long and stays with the network: 330 bytes each.
    first, bits = net.network_address.packed, net.max_prefixlen
    last = int.from_bytes(first, "big") | (1 << bits - net.prefixlen) - 1
    return first, last.to_bytes(bits // 8, "big")


def _in_network(net: Network, address: Payload, *, inverted: bool = False) -> Iterator[Expression]:
    """A prefix of whole bytes needs no mask: that many bytes of the address are loaded."""
    operator = Op.NEQ if inverted else Op.EQ
    if net.prefixlen == 0:
        # What is everything: true of any packet, or of none.
        if inverted:
            yield from (Meta(MetaKey.L4PROTO), Cmp(b"\xff", Op.GT))
        return
    if net.prefixlen % 8 == 0:
        length = net.prefixlen // 8
        yield from (address._replace(length=length), Cmp(net.network_address.packed[:length], operator))
        return
    yield from (address, Range(*interval_of(net), inverted))


def _mask(length: int, family: Family) -> Bitwise:
    size = _ADDRESS_BYTES[family]
    ones = (1 << length) - 1 << 8 * size - length
    return Bitwise(ones.to_bytes(size, "big"), bytes(size))


def _icmp(icmp: Icmp) -> Iterator[Expression]:
    value = bytes([icmp.type]) if icmp.code is None else bytes([icmp.type, icmp.code])
    yield from (Payload(Base.TRANSPORT, 0, len(value)), Cmp(value))


def _icmp_of(family: int) -> int:
    return next(protocol for protocol, version in ICMP_FAMILY.items() if version == family)


def _port(number: int) -> bytes:
    return number.to_bytes(2, "big")
