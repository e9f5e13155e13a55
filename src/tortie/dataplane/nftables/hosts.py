"""Host endpoints: what may come to this host, leave it and pass through it, besides what workloads may.

    prerouting, raw      doNotTrack policies; what they allow is not tracked, and no later place of this module asks
    output, raw          the same for what the host sends
    prerouting, mangle   preDNAT policies; what they allow carries a mark, by which the later places know it
    forward              applyOnForward policies, by the interface it came by before, by the one it leaves by after the
                         workloads' own
    input, output        all others; failsafe ports first
    postrouting          the same for what the host sent and somebody translated: only here the kernel calls the
                         interface by its new name. Nobody can be answered any more, so a refused packet is dropped

Nothing of this exists where no host endpoint asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tortie.dataplane.hosts import Hosts
from tortie.dataplane.nftables.arrival import WORKLOADS
from tortie.dataplane.nftables.chains import Place
from tortie.dataplane.nftables.conditions import NFPROTO, in_state, rule
from tortie.dataplane.nftables.drops import drop, silent_drops
from tortie.dataplane.nftables.endpoints import AskPolicy, endpoint_chain
from tortie.dataplane.nftables.match import side
from tortie.dataplane.nftables.rows import ChainSpec, KernelRule, Kind, MemberKey, RowKey, Rows, SetSpec, chain_row
from tortie.intent.policy import (
    FAMILIES,
    BothWays,
    Chain,
    Direction,
    FailsafePort,
    Family,
    HostEndpointPolicy,
    PolicySettings,
)
from tortie.intent.verdict import Reason
from tortie.kernel.netfilter.chain import Hook, InetHook, Priority
from tortie.kernel.netfilter.datatype import IFNAME, VERDICT, ifname
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
from tortie.kernel.netfilter.statement import Decide, Notrack, SetMeta
from tortie.kernel.netfilter.verdict import ACCEPT, Verdict, goto

# Bits of IptablesMarkMask, each set by one place and asked for by later ones.
ADMITTED = 0x00010000  # allowed before its destination was translated
TRUSTED = 0x00020000  # allowed without tracking
WAITING = 0x00040000  # sent by this host and translated, to be judged where it leaves
_ADMIT = "allow-admitted"
_NO_TRACK = "allow-untracked"
_WAIT = "wait-to-leave"

_DST_NAT = 1 << 5


class _Where(NamedTuple):
    """One of the places above."""

    name: str
    hook: InetHook
    priority: int
    direction: Direction
    chain: Callable[[HostEndpointPolicy], Chain]
    ends_open: bool = True
    allow: Verdict = ACCEPT
    has_rest: bool = True
    untracked: bool = False
    translated: bool = False  # just for what waits


def _way(way: Callable[[HostEndpointPolicy], BothWays], direction: Direction) -> Callable[[HostEndpointPolicy], Chain]:
    return lambda endpoint: way(endpoint).chain(direction)


_IN, _OUT = Direction.INGRESS, Direction.EGRESS
_PLACES = (
    _Where(
        "host-untracked-in",
        InetHook.PREROUTING,
        Priority.RAW + 1,
        _IN,
        _way(lambda each: each.untracked, _IN),
        allow=goto(_NO_TRACK),
        has_rest=False,
        untracked=True,
    ),
    _Where(
        "host-untracked-out",
        InetHook.OUTPUT,
        Priority.RAW + 1,
        _OUT,
        _way(lambda each: each.untracked, _OUT),
        allow=goto(_NO_TRACK),
        has_rest=False,
        untracked=True,
    ),
    _Where(
        "host-before-translation",
        InetHook.PREROUTING,
        Priority.MANGLE,
        _IN,
        lambda each: each.pre_dnat,
        allow=goto(_ADMIT),
    ),
    _Where("host-forward-in", InetHook.FORWARD, Priority.FILTER - 3, _IN, _way(lambda each: each.forward, _IN)),
    _Where("host-forward-out", InetHook.FORWARD, Priority.FILTER, _OUT, _way(lambda each: each.forward, _OUT)),
    _Where("host-input", InetHook.INPUT, Priority.FILTER, _IN, _way(lambda each: each.normal, _IN), ends_open=False),
    _Where(
        "host-output", InetHook.OUTPUT, Priority.FILTER, _OUT, _way(lambda each: each.normal, _OUT), ends_open=False
    ),
    _Where(
        "host-leaving",
        InetHook.POSTROUTING,
        Priority.FILTER,
        _OUT,
        _way(lambda each: each.normal, _OUT),
        ends_open=False,
        translated=True,
    ),
)


HOST_MAPS = frozenset(where.name for where in _PLACES)


def host_rows(hosts: Hosts, settings: PolicySettings, ask_policy: AskPolicy) -> Rows:
    """Everything that the host endpoints need in the kernel. What is named comes before who names it."""
    rows: Rows = {}
    compiler = _Compiler(hosts, settings, ask_policy, rows)
    for where in _PLACES:
        compiler.place(where)
    return _shared() | rows if rows else {}


def _shared() -> Rows:
    """The chains in which packets end at these places."""
    ends = {
        _NO_TRACK: (*_set_mark(TRUSTED), Notrack(), Decide(ACCEPT)),
        _ADMIT: (*_set_mark(ADMITTED), Decide(ACCEPT)),
        _WAIT: (*_set_mark(WAITING), Decide(ACCEPT)),
    }
    rows: Rows = {RowKey(Kind.CHAIN, name): ChainSpec((KernelRule(body(end)),)) for name, end in ends.items()}
    return rows | silent_drops()


class _Compiler:
    def __init__(self, hosts: Hosts, settings: PolicySettings, ask_policy: AskPolicy, rows: Rows) -> None:
        self._hosts = hosts
        self._settings = settings
        self._ask_policy = ask_policy
        self._rows = rows
        self._admits = any(each.pre_dnat.tiers for each in hosts.all)
        self._untracked = {
            direction
            for direction in Direction
            if any(each.untracked.chain(direction).tiers for each in hosts.by_interface.values())
        }

    def place(self, where: _Where) -> None:
        """The base chain of a place, if any endpoint has something to say there, and what it leads to."""

        def speaks(endpoint: HostEndpointPolicy) -> bool:
            return not where.ends_open or bool(where.chain(endpoint).tiers)

        found = {name: each for name, each in self._hosts.by_interface.items() if speaks(each)}
        rest = self._hosts.rest if where.has_rest else None
        rest = rest if rest is not None and speaks(rest) else None
        if not found and rest is None:
            return
        interface = MetaKey.IIFNAME if where.direction is Direction.INGRESS else MetaKey.OIFNAME
        self._rows[RowKey(Kind.SET, where.name)] = SetSpec((IFNAME,), (VERDICT,))
        for name, endpoint in found.items():
            entry = MemberKey(where.name, ifname(name))
            self._rows[RowKey(Kind.DISPATCH, entry)] = goto(self._endpoint(where, endpoint))
        if rest is not None:
            # Interfaces with an endpoint of their own are not the rest, even where theirs has nothing to say.
            for name in self._hosts.by_interface.keys() - found.keys():
                self._rows[RowKey(Kind.DISPATCH, MemberKey(where.name, ifname(name)))] = ACCEPT
        rules = [*self._before(where), *self._unasked(where)]
        rules.append(KernelRule(body((Meta(interface), Lookup(where.name, into=VERDICT_REGISTER)))))
        if rest is not None:
            rules.append(rule(Meta(interface), Cmp(ifname("lo"), Op.NEQ), to=goto(self._endpoint(where, rest))))
        base = ChainSpec(tuple(rules), Hook(where.hook, where.priority))
        self._rows[chain_row(f"{where.name}-base", base)] = base

    def _before(self, where: _Where) -> Iterator[KernelRule]:
        """A mark is ours to read only if nobody else could have set it."""
        if where.untracked:
            yield KernelRule(body(_clear_mark(TRUSTED)))
        elif where.allow == goto(_ADMIT):
            yield KernelRule(body(_clear_mark(ADMITTED)))
        elif where.translated:
            yield rule(*_has_mark(WAITING, absent=True), to=ACCEPT)
            yield KernelRule(body(_clear_mark(WAITING)))
        elif where.hook is InetHook.OUTPUT:
            yield KernelRule(body(_clear_mark(WAITING)))

    def _unasked(self, where: _Where) -> Iterator[KernelRule]:
        """What passes a place without being asked."""
        if where.hook is InetHook.OUTPUT and not where.untracked:
            yield rule(*in_state(CtState.NEW), *_was_translated(), to=goto(_WAIT))
        index = MetaKey.IIF if where.direction is _IN else MetaKey.OIF
        yield rule(Meta(index), Lookup(WORKLOADS), to=ACCEPT)
        if where.untracked:
            return
        yield rule(*in_state(CtState.ESTABLISHED | CtState.RELATED), to=ACCEPT)
        sent_here = where.hook in (InetHook.OUTPUT, InetHook.POSTROUTING)
        if (_OUT if sent_here else _IN) in self._untracked:
            yield rule(*_has_mark(TRUSTED), to=ACCEPT)
        if self._admits and where.direction is _IN and where.hook is not InetHook.PREROUTING:
            yield rule(*_has_mark(ADMITTED), to=ACCEPT)

    def _endpoint(self, where: _Where, endpoint: HostEndpointPolicy) -> str:
        """The chain of an endpoint at a place: failsafe ports, and then its policies, by family."""
        rules: list[KernelRule] = []
        if where.hook is not InetHook.FORWARD:
            rules += self._failsafe(where)
        if not where.untracked and where.hook is not InetHook.PREROUTING:
            rules.insert(0, rule(*in_state(CtState.INVALID), to=drop(Reason.INVALID)))
        for family in FAMILIES:
            # Also while nobody is to be answered: the kernel refuses a way from there to an answer, even for the moment
            # in which a change of that setting is half written.
            place = Place(where.direction, family, where.ends_open, where.allow, silent=where.translated)
            name, rows = endpoint_chain(where.chain(endpoint), place, self._ask_policy)
            self._rows.update(rows)
            rules.append(rule(Meta(MetaKey.NFPROTO), Cmp(NFPROTO[family]), to=goto(name)))
        chain = f"{where.name}-{endpoint.key.name}"[:100]
        self._rows[RowKey(Kind.CHAIN, chain)] = ChainSpec(tuple(rules))
        return chain

    def _failsafe(self, where: _Where) -> Iterator[KernelRule]:
        settings = self._settings
        into = where.direction is Direction.INGRESS
        ports = settings.failsafe_inbound if into else settings.failsafe_outbound
        for port in ports:
            yield rule(*_to_port(port, peer_is_source=into), to=ACCEPT)
        if where.untracked:
            for port in settings.failsafe_outbound if into else settings.failsafe_inbound:
                yield rule(*_from_port(port, peer_is_source=into), to=ACCEPT)


def _to_port(port: FailsafePort, *, peer_is_source: bool) -> Iterator[Expression]:
    yield from _port(port, 2, peer_is_source=peer_is_source)


def _from_port(port: FailsafePort, *, peer_is_source: bool) -> Iterator[Expression]:
    yield from _port(port, 0, peer_is_source=peer_is_source)


def _port(port: FailsafePort, offset: int, *, peer_is_source: bool) -> Iterator[Expression]:
    yield from (Meta(MetaKey.L4PROTO), Cmp(bytes([port.protocol])))
    yield from (Payload(Base.TRANSPORT, offset, 2), Cmp(port.port.to_bytes(2, "big")))
    if port.network is not None:
        family: Family = 4 if port.network.version == 4 else 6
        yield from (Meta(MetaKey.NFPROTO), Cmp(NFPROTO[family]))
        address = side(family, source=peer_is_source).address
        yield from (address, Range(port.network.network_address.packed, port.network.broadcast_address.packed))


def _has_mark(bit: int, *, absent: bool = False) -> Iterator[Expression]:
    yield from (Meta(MetaKey.MARK), Bitwise(_word(bit), bytes(4)), Cmp(bytes(4), Op.EQ if absent else Op.NEQ))


def _was_translated() -> Iterator[Expression]:
    """Its destination, by whomever: IPS_DST_NAT (include/uapi/linux/netfilter/nf_conntrack_common.h)."""
    yield from (Ct(CtKey.STATUS), Bitwise(_word(_DST_NAT), bytes(4)), Cmp(bytes(4), Op.NEQ))


def _set_mark(bit: int) -> Iterator[Expression]:
    yield from (Meta(MetaKey.MARK), Bitwise(_word(~bit & 0xFFFFFFFF), _word(bit)), SetMeta(MetaKey.MARK))


def _clear_mark(bit: int) -> Iterator[Expression]:
    yield from (Meta(MetaKey.MARK), Bitwise(_word(~bit & 0xFFFFFFFF), bytes(4)), SetMeta(MetaKey.MARK))


def _word(value: int) -> bytes:
    return value.to_bytes(4, "little")
