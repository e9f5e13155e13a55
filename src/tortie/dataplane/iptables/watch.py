"""Whether others changed our rows, by what is cheap to ask: flushes and the like send no event that says so.

What is not seen this way, such as a member that took another's place, is found when everything is read again.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from tortie.dataplane.iptables.fragment_table import FragmentTable
from tortie.dataplane.iptables.rows import OWN_SET, Kind
from tortie.dataplane.iptables.table import ChainTable
from tortie.intent.policy import FAMILIES
from tortie.kernel.netfilter import ipset
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netfilter.xtables import Xtables


class Watch(Protocol):
    """Belongs to the thread that writes."""

    def note(self) -> None:
        """What happened up to now is known."""

    def doubt(self) -> None:
        """Nothing that is known counts any more: the next reading is of everything."""

    def changed(self) -> list[Kind]:
        """Of which rows some may be others than at the last `note`."""

    @property
    def author(self) -> str:
        """Who made what `changed` found, in words, as far as the kernel tells."""


class KernelWatch:
    """Sizes of tables and sets, events of nf_tables."""

    def __init__(self, xtables: Xtables, chains: ChainTable, fragments: FragmentTable, sock: NetfilterSocket) -> None:
        self._xtables = xtables
        self._chains = chains
        self._fragments = fragments
        self._sock = sock
        self._sizes: Hashable = None

    def note(self) -> None:
        self._xtables.note()
        self._fragments.note()
        self._sizes = self._read_sizes()

    def doubt(self) -> None:
        self._chains.doubt(FAMILIES)

    def changed(self) -> list[Kind]:
        found: list[Kind] = []
        if self._read_sizes() != self._sizes:
            found += [Kind.SET, Kind.MEMBER]
        if families := self._xtables.changed():
            self._chains.doubt(families)
            found += [Kind.CHAIN, Kind.JUMP]
        if self._fragments.changed():
            found.append(Kind.FRAGMENT)
        return found

    @property
    def author(self) -> str:
        return self._xtables.author

    def _read_sizes(self) -> Hashable:
        return tuple(ipset.sizes(self._sock, prefix) for prefix in OWN_SET.values())
