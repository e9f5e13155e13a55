"""The kernel's side of each kind of rows, in the table `inet tortie`.

Invariants:
* What the kernel refuses is set aside by name, and the rest goes in: a transaction is tried again without it.
* A chain that is refused closes: it is written as a denial, so nobody passes by rules that were to be replaced.
* The table is owned where the kernel can keep an owned table without its owner (6.9): nobody else changes it then.
* What is written anew goes on counting where the same rule, or the same entry of the map before it, has come to. What
  passes in the milliseconds between the look at those and their end is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Generic, NamedTuple, TypeVar

from tortie.dataplane.nftables.ordered import Ordered
from tortie.dataplane.nftables.rows import (
    TABLE,
    ChainSpec,
    KernelRule,
    MemberKey,
    SetSpec,
    is_successor,
)
from tortie.errors import Gone, KernelError, TortieError, Unsupported
from tortie.kernel.netfilter import chain, elements, rule, sets, table
from tortie.kernel.netfilter.change import Change
from tortie.kernel.netfilter.elements import Element
from tortie.kernel.netfilter.message import Family
from tortie.kernel.netfilter.removal import remove
from tortie.kernel.netfilter.rule import Figures, figures, resumed, zeroed
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netfilter.statement import Decide
from tortie.kernel.netfilter.table import OWNED, Table, TableFlag
from tortie.kernel.netfilter.transaction import TransactionFailed, commit
from tortie.kernel.netfilter.verdict import DROP, Verdict

K = TypeVar("K")

_NOTHING = Figures(0, 0)

CLOSED = ChainSpec((KernelRule(rule.body([Decide(DROP)]), "refused by the kernel: closed"),))


def open_table(sock: NetfilterSocket) -> TableFlag:
    """Makes the table, or adopts it with all that is in it; what keeps others from it. Idempotent for one socket."""
    flags = OWNED if table.can_persist() else TableFlag(0)
    put_table(sock, flags)
    return flags


def put_table(sock: NetfilterSocket, flags: TableFlag) -> None:
    """The same where it is known what the kernel can do; the table may be gone, if nothing keeps others from it."""
    commit(sock, [table.put(Table(Family.INET, TABLE, flags))])


def traces(sock: NetfilterSocket) -> list[str]:
    """What of ours stands in the kernel. The table is one object: it goes as a whole."""
    if not _stands(sock):
        return []
    chains, held = ChainTable(sock).read(()), SetTable(sock).read(())
    return [f"table inet {TABLE}, with {len(chains)} chains and {len(held)} sets and maps"]


def remove_table(sock: NetfilterSocket) -> None:
    """Takes the table away with all that is in it. Idempotent; an orphan has to be adopted first."""
    if _stands(sock):
        open_table(sock)
        remove(sock, Family.INET, TABLE)


def _stands(sock: NetfilterSocket) -> bool:
    try:
        return any(each.name == TABLE for each in table.dump(sock, Family.INET))
    except Unsupported:  # a kernel without nf_tables has no such table
        return False


class _Transactions(Generic[K]):
    """Changes by the row that they are for, all at once, without those that the kernel refuses."""

    def __init__(self, sock: NetfilterSocket) -> None:
        self._sock = sock

    def commit(self, changes: Mapping[K, list[Change]]) -> dict[K, TortieError]:
        failed: dict[K, TortieError] = {}
        left = dict(changes)
        while left:
            owners = [key for key, some in left.items() for _ in some]
            try:
                commit(self._sock, [each for some in left.values() for each in some])
            except TransactionFailed as error:
                for failure in error.failures:
                    failed.setdefault(owners[failure.change], failure.error)
                left = {key: some for key, some in left.items() if key not in failed}
            else:
                break
        return failed


_EMPTY = ChainSpec(())


class SetTable:
    """Sets and maps, without what is in them."""

    def __init__(self, sock: NetfilterSocket) -> None:
        self._sock = sock
        self._transactions: _Transactions[str] = _Transactions(sock)
        self.known: dict[str, SetSpec] = {}  # in the kernel, as far as was seen: members need to know their set
        # Of maps that are to take the place of others: what those have counted.
        self.counted: dict[str, dict[tuple[bytes, bytes | None, Verdict], Figures]] = {}

    def read(self, wanted: Collection[str]) -> Mapping[str, SetSpec]:
        found = sets.dump(self._sock, Family.INET, TABLE)
        self.known = {each.name: SetSpec(each.key, each.data, each.interval, each.size) for each in found}
        return self.known

    def put(self, rows: Mapping[str, SetSpec]) -> Mapping[str, TortieError]:
        changes = {name: [*self._replaced(name), sets.add(kernel_set(name, spec))] for name, spec in rows.items()}
        self._look_at_counts(rows)
        failed = self._transactions.commit(changes)
        self.known |= {name: spec for name, spec in rows.items() if name not in failed}
        return failed

    def delete(self, keys: Collection[str]) -> Mapping[str, TortieError]:
        # What goes, goes after what comes: the new maps are in use.
        self.counted = {}
        failed = self._transactions.commit({name: [sets.delete(kernel_set(name, self.known[name]))] for name in keys})
        for name in keys:
            if name not in failed:
                del self.known[name]
        return failed

    def _replaced(self, name: str) -> list[Change]:
        """A set of another type under this name; it may be in use, and then stays until it is not."""
        return [sets.delete(kernel_set(name, self.known[name]))] if name in self.known else []

    def _look_at_counts(self, new: Mapping[str, SetSpec]) -> None:
        for name, spec in new.items():
            for before in [each for each in self.known if is_successor(name, each) and self.known[each] == spec]:
                for one in elements.dump(self._sock, kernel_set(before, spec)):
                    if one.counted is not None and isinstance(one.data, Verdict):
                        key = (one.key, one.last if spec.interval else None, one.data)
                        self.counted.setdefault(name, {})[key] = one.counted


def kernel_set(name: str, spec: SetSpec) -> sets.Set:
    return sets.Set(Family.INET, TABLE, name, spec.key, spec.data, spec.interval, spec.size)


class _Move(NamedTuple):
    """Elements of a set that go and come in one transaction."""

    goes: list[Element]
    comes: list[Element]


class MemberTable:
    """What is in some of the sets and maps.

    Intervals of a set never overlap. Where one takes the place of others, or others of one, all of it happens in one
    transaction, so that no address is missing in between.
    """

    def __init__(
        self,
        sock: NetfilterSocket,
        known: SetTable,
        chains: ChainTable,
        is_mine: Callable[[str], bool],
        *,
        counts: bool = False,
    ) -> None:
        self._sock = sock
        self._sets = known
        self._chains = chains
        self._is_mine = is_mine
        self._counts = counts  # each element that holds a verdict
        self._transactions: _Transactions[MemberKey] = _Transactions(sock)
        self._verdicts: dict[MemberKey, Verdict] = {}  # of maps
        self._intervals: dict[str, Intervals] = {}  # of sets of prefixes

    def read(self, wanted: Collection[MemberKey]) -> Mapping[MemberKey, Verdict | None]:
        return {key: data for part in self.parts() for key, data in part.items()}

    def parts(self) -> Iterator[Mapping[MemberKey, Verdict | None]]:
        """The same in small parts; nothing else may be done with the table meanwhile."""
        self._verdicts, self._intervals = {}, {}
        for name, spec in self._sets.known.items():
            if self._is_mine(name):
                for some in elements.walk(self._sock, kernel_set(name, spec)):
                    yield dict(self._found(name, spec, some))

    def _found(self, name: str, spec: SetSpec, some: Iterable[Element]) -> Iterator[tuple[MemberKey, Verdict | None]]:
        for each in some:
            key = MemberKey(name, each.key, each.last if spec.interval else None)
            data = each.data if isinstance(each.data, Verdict) else None
            if data is not None:
                self._verdicts[key] = data
            self._note(key)
            yield key, data

    def put(self, rows: Mapping[MemberKey, Verdict | None]) -> Mapping[MemberKey, TortieError]:
        self._chains.make({value.chain for value in rows.values() if value is not None and value.chain})
        failed: dict[MemberKey, TortieError] = {}
        moves: dict[MemberKey, _Move] = {}
        replaced: set[MemberKey] = set()
        for key, value in rows.items():
            if key.set not in self._sets.known:
                failed[key] = KernelError(f"there is no set {key.set}")
                continue
            out = [each for each in self._in_the_way(key, value) if each not in replaced]
            replaced.update(out)
            comes = Element(key.key, key.last, value, self._begin(key, value))
            moves[key] = _Move([Element(each.key, each.last) for each in out], [comes])
        failed |= self._move(moves)
        for key in replaced:
            self._forget(key)
        for key, value in rows.items():
            if key not in failed:
                self._note(key)
                if value is not None:
                    self._verdicts[key] = value
        return failed

    def delete(self, keys: Collection[MemberKey]) -> Mapping[MemberKey, TortieError]:
        moves = {
            key: _Move([Element(key.key, key.last)], [])
            for key in keys
            if key.set in self._sets.known and self._may_be_there(key)
        }
        failed = {key: error for key, error in self._move(moves).items() if not isinstance(error, Gone)}
        for key in keys:
            if key not in failed:
                self._forget(key)
        return failed

    def _move(self, moves: Mapping[MemberKey, _Move]) -> dict[MemberKey, TortieError]:
        """All of a set in few changes; if that is refused, each member in a change of its own, which is ten times the
        work."""
        if not moves:
            return {}
        by_set: dict[str, _Move] = {}
        for key, (goes, comes) in moves.items():
            whole = by_set.setdefault(key.set, _Move([], []))
            whole.goes.extend(goes)
            whole.comes.extend(comes)
        changes = {name: self._changes(name, whole) for name, whole in by_set.items()}
        try:
            commit(self._sock, [each for some in changes.values() for each in some])
        except TransactionFailed:
            return self._transactions.commit({key: self._changes(key.set, one) for key, one in moves.items()})
        return {}

    def _changes(self, name: str, move: _Move) -> list[Change]:
        wanted = kernel_set(name, self._sets.known[name])
        return [*elements.delete(wanted, move.goes), *elements.add(wanted, move.comes)]

    def _begin(self, key: MemberKey, value: Verdict | None) -> Figures | None:
        if not self._counts or value is None:
            return None
        return self._sets.counted.get(key.set, {}).get((key.key, key.last, value), _NOTHING)

    def _in_the_way(self, key: MemberKey, value: Verdict | None) -> list[MemberKey]:
        """What of the kernel's must go in the moment in which this comes."""
        if value is not None:
            return [key] if self._verdicts.get(key, value) != value else []
        if key.last is None or key.set not in self._intervals:
            return []
        found = self._intervals[key.set].overlapping(key.key, key.last)
        return [MemberKey(key.set, first, last) for first, last in found if (first, last) != (key.key, key.last)]

    def _may_be_there(self, key: MemberKey) -> bool:
        """False for an interval that went when another took its place."""
        return key.last is None or key.set not in self._intervals or (key.key, key.last) in self._intervals[key.set]

    def _note(self, key: MemberKey) -> None:
        spec = self._sets.known[key.set]
        if key.last is not None and len(spec.key) == 1:
            self._intervals.setdefault(key.set, Intervals()).add(key.key, key.last)

    def _forget(self, key: MemberKey) -> None:
        self._verdicts.pop(key, None)
        # Another interval with the same begin may have come in its place.
        if key.last is not None and (key.key, key.last) in self._intervals.get(key.set, ()):
            self._intervals[key.set].discard(key.key)


class Intervals:
    """Intervals that do not overlap, in their order."""

    def __init__(self) -> None:
        self._firsts = Ordered[bytes]()
        self._last: dict[bytes, bytes] = {}

    def __contains__(self, interval: tuple[bytes, bytes]) -> bool:
        return self._last.get(interval[0]) == interval[1]

    def add(self, first: bytes, last: bytes) -> None:
        if first not in self._last:
            self._firsts.add(first)
        self._last[first] = last

    def discard(self, first: bytes) -> None:
        if self._last.pop(first, None) is not None:
            self._firsts.remove(first)

    def overlapping(self, first: bytes, last: bytes) -> Iterator[tuple[bytes, bytes]]:
        found = self._firsts.before(first) or self._firsts.at_or_after(first)
        while found is not None and found <= last:
            if self._last[found] >= first:
                yield found, self._last[found]
            found = self._firsts.at_or_after(found + b"\0")


class ChainTable:
    """Chains with all of their rules; reads those alone that are led to."""

    def __init__(self, sock: NetfilterSocket) -> None:
        self._sock = sock
        self._transactions: _Transactions[str] = _Transactions(sock)
        self._known: dict[str, ChainSpec] = {}
        self._emptied: set[str] = set()  # to be removed when nothing leads to them any more

    def close(self) -> None:
        self._sock.close()

    def read(self, wanted: Collection[str]) -> Mapping[str, ChainSpec]:
        rules: dict[str, list[KernelRule]] = {}
        for each in rule.dump(self._sock, Family.INET, TABLE):
            rules.setdefault(each.chain, []).append(KernelRule(zeroed(each.expressions), each.comment))
        found = chain.dump(self._sock, Family.INET, TABLE)
        self._known = {each.name: ChainSpec(tuple(rules.get(each.name, ())), each.hook) for each in found}
        self._emptied &= self._known.keys()
        return {name: spec for name, spec in self._known.items() if spec.hook is None}

    def base_chains(self) -> Mapping[str, ChainSpec]:
        """The others, as they were last read or written."""
        return {name: spec for name, spec in self._known.items() if spec.hook is not None}

    def make(self, names: Collection[str]) -> None:
        """Those that are not there yet, without rules: what leads to a chain needs it. What fails shows with `put`."""
        self._emptied -= set(names)
        new = [name for name in names if name not in self._known]
        failed = self._transactions.commit({name: [chain.put(_chain(name, _EMPTY))] for name in new})
        self._known |= {name: _EMPTY for name in new if name not in failed}

    def put(self, rows: Mapping[str, ChainSpec]) -> Mapping[str, TortieError]:
        """All chains are made before the first rule, since rules lead to chains."""
        new = {name: spec for name, spec in rows.items() if name not in self._known}
        failed = self._transactions.commit({name: [chain.put(_chain(name, spec))] for name, spec in new.items()})
        filled = {name: spec for name, spec in rows.items() if name not in failed}
        refused = self._transactions.commit(
            {name: _fill(name, self._going_on(name, spec)) for name, spec in filled.items()}
        )
        if refused:
            self._transactions.commit({name: _fill(name, CLOSED) for name in refused})
        self._emptied -= filled.keys()
        self._known |= {name: spec for name, spec in filled.items() if name not in refused}
        self._known |= dict.fromkeys(refused, CLOSED)
        return failed | refused

    def _going_on(self, name: str, spec: ChainSpec) -> ChainSpec:
        """The chain with what its rules have counted, as far as they stand there already, wherever in it."""
        counting = {each.expressions for each in spec.rules if figures(each.expressions)}
        if counting.isdisjoint(each.expressions for each in self._known.get(name, _EMPTY).rules):
            return spec
        counted: dict[bytes, list[list[Figures]]] = {}
        for each in rule.dump(self._sock, Family.INET, TABLE, name):
            if found := figures(each.expressions):
                counted.setdefault(zeroed(each.expressions), []).append(found)
        rules: list[KernelRule] = []
        for one in spec.rules:
            before = counted.get(one.expressions)
            rules.append(one._replace(expressions=resumed(one.expressions, before.pop(0))) if before else one)
        return ChainSpec(tuple(rules), spec.hook)

    def delete(self, keys: Collection[str]) -> Mapping[str, TortieError]:
        """Empties the chains, and removes those that nothing leads to: elements of maps may, until they go too."""
        failed = self._transactions.commit({name: [chain.flush(_chain(name, _EMPTY))] for name in keys})
        self._emptied |= {name for name in keys if name not in failed}
        self.remove_emptied()
        return failed

    def remove_emptied(self) -> None:
        """Removes the emptied chains that nothing leads to any more."""
        if not self._emptied:
            return
        failed = self._transactions.commit({name: [chain.delete(_chain(name, _EMPTY))] for name in self._emptied})
        for name in self._emptied - failed.keys():
            self._known.pop(name, None)
        self._emptied &= failed.keys()


class BaseChainTable:
    """The chains that packets come to by themselves; read with the others, before."""

    def __init__(self, chains: ChainTable) -> None:
        self._chains = chains
        self.put, self.delete = chains.put, chains.delete

    def read(self, wanted: Collection[str]) -> Mapping[str, ChainSpec]:
        return self._chains.base_chains()


def _chain(name: str, spec: ChainSpec) -> chain.Chain:
    return chain.Chain(Family.INET, TABLE, name, spec.hook)


def _fill(name: str, spec: ChainSpec) -> list[Change]:
    """The chain's rules in the place of what was there, in one moment."""
    return [
        chain.flush(_chain(name, spec)),
        *(rule.append(rule.Rule(Family.INET, TABLE, name, each.expressions, each.comment)) for each in spec.rules),
    ]
