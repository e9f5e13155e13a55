"""Where packets are met: one jump at the head of each of the kernel's own chains, and whom ours asks there, in order.

    raw PREROUTING       -i -> is the sender who it says it is? Then host endpoints, before tracking
    raw OUTPUT           host endpoints, before tracking
    mangle PREROUTING    host endpoints, before translation
    filter FORWARD       -i -> host endpoint or what a workload may send; -o -> what a workload may receive or host
                         endpoint; accepted if the last one that was asked allowed it
    filter INPUT         a workload's packets to this host; those of host endpoints
    filter OUTPUT        nothing leaves by an interface that only looks like a workload's; then host endpoints
    mangle POSTROUTING   the last two again, for what the host sent and somebody translated

Packets that nobody has anything to say of go through all of them and out at the end, to whatever rules stand below.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from tortie.dataplane.iptables.chains import ESTABLISHED, Marks, clear_mark, is_set, set_exactly
from tortie.dataplane.iptables.dispatch import Ours, by
from tortie.dataplane.iptables.hosts import (
    BEFORE,
    HOST_IN,
    HOST_OUT,
    LEAVING,
    THROUGH_IN,
    THROUGH_OUT,
    UNTRACKED_IN,
    UNTRACKED_OUT,
    Place,
    admitted,
    not_waiting,
    trusted,
)
from tortie.dataplane.iptables.rows import FILTER, MANGLE, RAW, Rows, Rule, chain, chain_name, jump
from tortie.dataplane.iptables.skeleton import AT, FROM, KNOWN, TO, TO_HOST
from tortie.intent.policy import FAMILIES

_FORWARD_TRUSTED = chain_name("forward-trusted")
_FORWARD_ADMITTED = chain_name("forward-admitted")
_INPUT_HOST = chain_name("input-host")
_WAIT = chain_name("wait")
_TRANSLATED = "-m conntrack --ctstate NEW -m conntrack --ctstate DNAT"

Places = Collection[Place]


def hooks(places: Places, marks: Marks, ours: Ours) -> Rows:
    """The chains and the jumps to them. `places` are those where host endpoints have something to say."""
    met = (
        (RAW, "PREROUTING", "arrive", _arrive(places, marks)),
        (RAW, "OUTPUT", "send", _send(places, marks)),
        (MANGLE, "PREROUTING", "before", _before(places, marks)),
        (FILTER, "FORWARD", "forward", _forward(places, marks)),
        (FILTER, "INPUT", "input", _input(places, marks, ours)),
        (FILTER, "OUTPUT", "output", _output(places, marks)),
        (MANGLE, "POSTROUTING", "leave", _leave(places, marks)),
    )
    rows: Rows = {}
    for table, kernels, word, rules in met:
        if found := tuple(rules):
            name = chain_name(word)
            for family in FAMILIES:
                rows |= chain(family, table, name, found) | jump(family, table, kernels, name)
    for name, branch in _branches(places, marks, ours).items():
        for family in FAMILIES:
            rows |= chain(family, FILTER, name, branch)
    return rows


def _arrive(places: Places, marks: Marks) -> Iterator[Rule]:
    if UNTRACKED_IN in places:
        yield clear_mark(marks.both)
    yield Rule(f"-j {by(AT)}")
    if UNTRACKED_IN in places:
        yield Rule(f"-g {UNTRACKED_IN.dispatch}")


def _send(places: Places, marks: Marks) -> Iterator[Rule]:
    if UNTRACKED_OUT in places:
        yield clear_mark(marks.both)
        yield Rule(f"-g {UNTRACKED_OUT.dispatch}")


def _before(places: Places, marks: Marks) -> Iterator[Rule]:
    if BEFORE not in places:
        return
    if UNTRACKED_IN in places:
        yield Rule(f"{trusted(marks)} -j RETURN")
    yield clear_mark(marks.both)
    yield Rule(f"{ESTABLISHED} -j RETURN")
    yield Rule(f"-g {BEFORE.dispatch}")


def _forward(places: Places, marks: Marks) -> Iterator[Rule]:
    if UNTRACKED_IN in places:
        yield Rule(f"{trusted(marks)} -g {_FORWARD_TRUSTED}")
    if BEFORE in places:
        yield Rule(f"{admitted(marks)} -g {_FORWARD_ADMITTED}")
    yield clear_mark(marks.both)
    yield from _through(places, marks)


def _branches(places: Places, marks: Marks, ours: Ours) -> dict[str, list[Rule]]:
    """Ways on which not everybody is asked."""
    found: dict[str, list[Rule]] = {}
    if UNTRACKED_IN in places:
        allowed = set_exactly(marks.allowed, marks.both)
        found[_FORWARD_TRUSTED] = [allowed, *_through(set(places) - {THROUGH_IN, THROUGH_OUT}, marks)]
    if BEFORE in places:
        found[_FORWARD_ADMITTED] = [*_through(set(places) - {THROUGH_IN}, marks)]
    if HOST_IN in places and ours.exempt:
        found[_INPUT_HOST] = [*_to_host_endpoint(places, marks)]
    if HOST_OUT in places:
        found[_WAIT] = [set_exactly(marks.passed, marks.both)]
    return found


def _through(places: Places, marks: Marks) -> Iterator[Rule]:
    if THROUGH_IN in places:
        yield Rule(f"-j {THROUGH_IN.dispatch}")
    yield Rule(f"-j {by(FROM)}")
    yield Rule(f"-j {by(TO)}")
    if THROUGH_OUT in places:
        yield Rule(f"-j {THROUGH_OUT.dispatch}")
    yield Rule(f"{is_set(marks.allowed)} -j ACCEPT")


def _input(places: Places, marks: Marks, ours: Ours) -> Iterator[Rule]:
    for interface in ours.exempt:
        yield Rule(f"-i {interface} -g {_INPUT_HOST}" if HOST_IN in places else f"-i {interface} -j RETURN")
    for interface in (*ours.outsiders, *(f"{prefix}+" for prefix in ours.prefixes)):
        yield Rule(f"-i {interface} -g {TO_HOST}")
    if HOST_IN in places:
        yield from _to_host_endpoint(places, marks)


def _to_host_endpoint(places: Places, marks: Marks) -> Iterator[Rule]:
    if UNTRACKED_IN in places:
        yield Rule(f"{trusted(marks)} -j ACCEPT")
    if BEFORE in places:
        yield Rule(f"{admitted(marks)} -j ACCEPT")
    yield clear_mark(marks.both)
    yield Rule(f"-j {HOST_IN.dispatch}")
    yield Rule(f"{is_set(marks.allowed)} -j ACCEPT")


def _output(places: Places, marks: Marks) -> Iterator[Rule]:
    """The kernel calls a translated packet's interface by its old name until it is out of here."""
    yield Rule(f"-j {by(KNOWN)}")
    if HOST_OUT not in places:
        return
    if UNTRACKED_OUT in places:
        yield Rule(f"{trusted(marks)} -j ACCEPT")
    yield Rule(f"{_TRANSLATED} -g {_WAIT}")
    yield clear_mark(marks.both)
    yield Rule(f"-j {HOST_OUT.dispatch}")
    yield Rule(f"{is_set(marks.allowed)} -j ACCEPT")


def _leave(places: Places, marks: Marks) -> Iterator[Rule]:
    """Only here the kernel calls a translated packet's interface by its new name, by whosever rules it has it."""
    yield Rule(f"-m conntrack --ctstate DNAT -j {by(KNOWN)}")
    if LEAVING in places:
        yield Rule(f"{not_waiting(marks)} -j RETURN")
        yield clear_mark(marks.both)
        yield Rule(f"-g {LEAVING.dispatch}")
