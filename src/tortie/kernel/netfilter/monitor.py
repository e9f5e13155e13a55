"""Who changed the ruleset: one event per transaction of anybody in the network namespace.

It costs the kernel a message for each object that is changed, also by ourselves. The
invariants of `netlink/events.py` hold; after `Overflow` read the ruleset again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from tortie.kernel.netfilter.change import TABLE, Operation
from tortie.kernel.netfilter.message import GENERIC, NETLINK_NETFILTER, NF_TABLES, Family, number, open_message
from tortie.kernel.netlink.events import EventSocket
from tortie.kernel.netlink.message import Message, parse_attributes
from tortie.kernel.netlink.monitor import Overflow

GROUPS = 1 << 6  # NFNLGRP_NFTABLES is 7
BUFFER_BYTES = 16 * 1024 * 1024

_GENERATION = 1
_PROCESS = 2
_PROGRAM = 3


class Changed(NamedTuple):
    """A transaction took effect. `port` is the socket that sent it: one's own `NetfilterSocket.port`, or a stranger."""

    generation: int
    port: int
    process: int  # of the thread that sent it, in the first process namespace
    program: str
    tables: frozenset[tuple[Family, str]]  # in which something changed

    @property
    def author(self) -> str:
        """In words, for people."""
        printable = "".join(each if each.isprintable() else "?" for each in self.program)
        return f"process {self.process} ({printable})"


RulesetEvent: TypeAlias = Changed | Overflow


def parse_changed(message: Message, tables: Iterable[tuple[Family, str]] = ()) -> Changed | None:
    """What ends the messages of a transaction; None for those before. These tell of the tables."""
    if message.type != NF_TABLES << 8 | Operation.NEW_GENERATION:
        return None
    attributes = parse_attributes(message.payload, GENERIC.size)
    return Changed(
        generation=number(attributes, _GENERATION),
        port=message.port,
        process=number(attributes, _PROCESS),
        program=attributes.text(_PROGRAM),
        tables=frozenset(tables),
    )


class RulesetMonitor(EventSocket):
    """Of the caller's network namespace from now on; `run_in(path, RulesetMonitor)` is for another."""

    def __init__(self, buffer_bytes: int = BUFFER_BYTES) -> None:
        super().__init__(NETLINK_NETFILTER, GROUPS, buffer_bytes)
        self._tables: set[tuple[Family, str]] = set()

    def read(self, limit: int) -> list[RulesetEvent]:
        """The next events, at once; empty when there are none. `Overflow` is always the last of a list."""
        messages, lost = self.receive(limit)
        events: list[RulesetEvent] = []
        for message in messages:
            if message.type >> 8 != NF_TABLES:
                continue
            if (changed := parse_changed(message, self._tables)) is not None:
                self._tables.clear()
                events.append(changed)
            else:
                family, attributes = open_message(message)
                self._tables.add((family, attributes.text(TABLE)))
        if lost:
            self._tables.clear()
            events.append(Overflow())
        return events
