"""The kernel's side of what is asked of fragments: a table of nf_tables, one for each variant, so that one backend can
take another's place.

Invariants:
* Rows that are written by one call take effect at one moment: nothing is closed that the same call opens.
* What the kernel refuses is set aside by name, and the rest goes in.
* The table is owned where the kernel can keep an owned table without its owner (6.9): nobody else changes it then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress

from tortie.dataplane.iptables.fragments import REASONS, SENDERS, drop_chain
from tortie.dataplane.iptables.rows import FragmentChain
from tortie.errors import Gone, KernelError, TortieError, Unsupported
from tortie.intent.report import Count
from tortie.intent.verdict import Reason
from tortie.kernel.netfilter import chain, elements, rule, sets, table
from tortie.kernel.netfilter.change import Change
from tortie.kernel.netfilter.datatype import IFNAME, VERDICT, ifname
from tortie.kernel.netfilter.elements import Element
from tortie.kernel.netfilter.message import Family
from tortie.kernel.netfilter.removal import remove
from tortie.kernel.netfilter.rule import figures, zeroed
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netfilter.table import OWNED, Table, TableFlag
from tortie.kernel.netfilter.transaction import TransactionFailed, commit, generation
from tortie.kernel.netfilter.verdict import Verdict, goto
from tortie.kernel.netfilter.xtables import Variant
from tortie.kernel.netns import run_in_new


def table_name(variant: Variant) -> str:
    return f"tortie-fragments-{variant}"


class FragmentTable:
    """Its chains with their rules, and the interfaces that lead to them; `skeleton` is what always stands."""

    def __init__(self, sock: NetfilterSocket, variant: Variant, skeleton: Mapping[str, FragmentChain]) -> None:
        self._sock = sock
        self._name = table_name(variant)
        self._senders = sets.Set(Family.INET, self._name, SENDERS, (IFNAME,), (VERDICT,))
        self._skeleton = skeleton
        self._flags: TableFlag | None = None  # None: it is not known yet what the kernel can do
        self._known: dict[str, FragmentChain] = {}
        self._generation = 0

    def read(self, wanted: Collection[str]) -> Mapping[str, FragmentChain]:
        """Makes the table, or adopts it with all that is in it. `Unsupported` where the kernel cannot have it."""
        if self._flags is None:
            self._flags = self._try_out()
        self._make(self._flags)
        self._known = self._listed()
        return self._known

    def put(self, rows: Mapping[str, FragmentChain]) -> Mapping[str, TortieError]:
        failed = self._commit(self._changes(rows))
        self._known |= {name: spec for name, spec in rows.items() if name not in failed}
        return failed

    def delete(self, keys: Collection[str]) -> Mapping[str, TortieError]:
        there = [name for name in keys if name in self._known]
        nothing = FragmentChain(())
        changes = [(name, each) for name in there for each in self._fill(name, nothing)]
        # What leads to a chain may stand in any other.
        changes += [(name, chain.delete(self._chain(name, nothing))) for name in there]
        failed = self._commit(changes)
        for name in there:
            if name not in failed:
                del self._known[name]
        return failed

    def note(self) -> None:
        """What happened up to now is known."""
        if self._may_be_changed:
            self._generation = generation(self._sock)

    def changed(self) -> bool:
        """Whether others changed it since `note`; looked for only where they can."""
        if not self._may_be_changed or generation(self._sock) == self._generation:
            return False
        self.note()
        return self._listed() != self._known

    @property
    def _may_be_changed(self) -> bool:
        return self._flags is not None and not self._flags

    def _try_out(self) -> TableFlag:
        """What can keep others from the table. That the kernel knows all that is needed is tried in a network namespace
        made for that: there nothing else can be in the way.
        """
        flags = OWNED if table.can_persist() else TableFlag(0)

        def attempt() -> None:
            with NetfilterSocket() as sock:
                trial = FragmentTable(sock, Variant.NFT, {})
                try:
                    trial._make(flags)
                    commit(sock, [each for _, each in trial._changes(self._skeleton)])
                except TransactionFailed as error:
                    raise Unsupported(str(error)) from error

        run_in_new(attempt)
        return flags

    def _make(self, flags: TableFlag) -> None:
        commit(self._sock, [table.put(Table(Family.INET, self._name, flags))])
        if not sets.dump(self._sock, Family.INET, self._name):
            commit(self._sock, [sets.add(self._senders)])

    def _listed(self) -> dict[str, FragmentChain]:
        """Nothing where there is no table."""
        rules: dict[str, list[bytes]] = {}
        led: dict[str, list[str]] = {}
        with suppress(Gone):
            for each in rule.dump(self._sock, Family.INET, self._name):
                rules.setdefault(each.chain, []).append(zeroed(each.expressions))
            for one in elements.dump(self._sock, self._senders):
                if isinstance(one.data, Verdict):
                    led.setdefault(one.data.chain, []).append(_name_of(one.key))
        return {
            each.name: FragmentChain(tuple(rules.get(each.name, ())), each.hook, tuple(sorted(led.get(each.name, ()))))
            for each in chain.dump(self._sock, Family.INET, self._name)
        }

    def _changes(self, rows: Mapping[str, FragmentChain]) -> list[tuple[str, Change]]:
        """By the row that they are for. All chains are made before the first rule, since rules lead to chains."""
        made = [(name, chain.put(self._chain(name, spec))) for name, spec in rows.items() if name not in self._known]
        return made + [(name, each) for name, spec in rows.items() for each in self._fill(name, spec)]

    def _fill(self, name: str, spec: FragmentChain) -> list[Change]:
        """The chain's rules in the place of what was there, and who is led to it."""
        before = self._known.get(name, FragmentChain(())).interfaces
        gone = [Element(ifname(each)) for each in before if each not in spec.interfaces]
        new = [Element(ifname(each), data=goto(name)) for each in spec.interfaces if each not in before]
        return [
            *elements.delete(self._senders, gone),
            chain.flush(self._chain(name, spec)),
            *(rule.append(rule.Rule(Family.INET, self._name, name, each)) for each in spec.rules),
            *elements.add(self._senders, new),
        ]

    def _chain(self, name: str, spec: FragmentChain) -> chain.Chain:
        return chain.Chain(Family.INET, self._name, name, spec.hook)

    def _commit(self, changes: list[tuple[str, Change]]) -> dict[str, TortieError]:
        """All at once, without the rows that the kernel refuses."""
        failed: dict[str, TortieError] = {}
        while left := [(name, each) for name, each in changes if name not in failed]:
            try:
                commit(self._sock, [each for _, each in left])
            except TransactionFailed as error:
                for failure in error.failures:
                    failed.setdefault(left[failure.change][0], failure.error)
            except KernelError as error:
                return failed | dict.fromkeys((name for name, _ in left), error)
            else:
                break
        return failed


def _name_of(interface: bytes) -> str:
    return interface.rstrip(b"\0").decode("utf-8", "surrogateescape")


def fragment_traces(variant: Variant) -> list[str]:
    """What of it stands in the network namespace of the calling thread; brings nothing into being."""
    with NetfilterSocket() as sock:
        return [f"table inet {each.name}" for each in _standing(sock, variant)]


def remove_fragment_table(variant: Variant) -> None:
    """With all that is in it. Idempotent; an orphan has to be adopted first."""
    with NetfilterSocket() as sock:
        for each in _standing(sock, variant):
            commit(sock, [table.put(each)])
            remove(sock, Family.INET, each.name)


def count_fragment_drops(variant: Variant) -> Mapping[Reason, Count]:
    """Since the table was made, in the network namespace of the calling thread. Raises KernelError."""
    totals = dict.fromkeys(REASONS, Count(0, 0))
    with NetfilterSocket() as sock:
        for each in _standing(sock, variant):
            for reason in REASONS:
                with suppress(Gone):
                    for one in rule.dump(sock, Family.INET, each.name, drop_chain(reason)):
                        for figure in figures(one.expressions):
                            totals[reason] += Count(*figure)
    return totals


def _standing(sock: NetfilterSocket, variant: Variant) -> list[Table]:
    """None where the kernel has no nf_tables."""
    with suppress(Unsupported):
        return [each for each in table.dump(sock, Family.INET) if each.name == table_name(variant)]
    return []
