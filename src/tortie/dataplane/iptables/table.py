"""The kernel's side of each kind of rows: IP sets, what is in them, our chains, and the jumps to these.

Invariants:
* What is not named as ours is never changed: our chains are written one by one, others' rules only moved down by our
  jumps.
* What the kernel refuses is set aside by name, and the rest goes in.
* A chain that is refused closes: it is written as a denial, so nobody passes by rules that were to be replaced. In the
  nat table, where nothing can be denied, it is empty.
* A chain of policy that is written anew goes on counting where the same rule comes again. What passes in the
  milliseconds between the look and the writing is not counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv6Address
from typing import NamedTuple, TypeVar

from tortie.dataplane.iptables.rows import (
    ARGUMENTS_CHARACTERS,
    NAT,
    OWN_CHAIN,
    OWN_SET,
    TABLES,
    ChainKey,
    ChainSpec,
    MemberKey,
    Rule,
    SetSpec,
    chain_of,
)
from tortie.errors import Busy, KernelError, TortieError
from tortie.intent.policy import FAMILIES, Family
from tortie.kernel.netfilter import ipset
from tortie.kernel.netfilter.rule import Figures
from tortie.kernel.netfilter.xtables import Xtables

K = TypeVar("K")
V = TypeVar("V")

_EMPTY = ChainSpec(())
_CLOSED = chain_of([Rule("-j DROP", "refused by the kernel: closed")])

# Of one set; a set with more that is wrong has something wrong itself, such as being full.
FAILURES_PER_SET = 10
MAX_MEMBERS = 1 << 24

_FAMILY_WORD: dict[int, str] = {4: "inet", 6: "inet6"}


# --- Sets


class SetTable:
    """Sets, without what is in them."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.kept: set[str] = set()  # that should go and do not: somebody else's rules use them
        self.members: dict[str, list[str]] = {}  # as last read, for the table of members

    def read(self, wanted: Collection[str]) -> Mapping[str, SetSpec]:
        found: dict[str, SetSpec] = {}
        self.members = {}
        for saved in ipset.save():
            if saved.name.startswith(tuple(OWN_SET.values())):
                found[saved.name] = SetSpec(saved.type, 4 if saved.family == "inet" else 6)
                self.members[saved.name] = saved.members
        self.known = set(found)
        return found

    def put(self, rows: Mapping[str, SetSpec]) -> Mapping[str, TortieError]:
        lines = {
            name: f"create {name} {spec.type} family {_FAMILY_WORD[spec.family]} maxelem {MAX_MEMBERS}"
            for name, spec in rows.items()
        }
        failed = _each_line(lines, lambda name: name)
        self.known |= rows.keys() - failed.keys()
        self.kept -= rows.keys()
        return failed

    def delete(self, keys: Collection[str]) -> Mapping[str, TortieError]:
        failed = _each_line({name: f"destroy {name}" for name in keys if name in self.known}, lambda name: name)
        self.known -= set(keys) - failed.keys()
        self.kept = self.kept - set(keys) | failed.keys()
        return failed


class MemberTable:
    """What is in the sets. Members come before others go, so an address that stays is never missing."""

    def __init__(self, sets: SetTable) -> None:
        self._sets = sets

    def read(self, wanted: Collection[MemberKey]) -> Mapping[MemberKey, None]:
        found = {
            MemberKey(name, _canonical(member)): None
            for name, members in self._sets.members.items()
            for member in members
        }
        self._sets.members = {}
        return found

    def put(self, rows: Mapping[MemberKey, None]) -> Mapping[MemberKey, TortieError]:
        failed: dict[MemberKey, TortieError] = {
            key: KernelError(f"there is no set {key.set}") for key in rows if key.set not in self._sets.known
        }
        return failed | _each_line({key: f"add {key.set} {key.member}" for key in rows if key not in failed}, _set_of)

    def delete(self, keys: Collection[MemberKey]) -> Mapping[MemberKey, TortieError]:
        """With a set went what was in it; a set that could not go keeps it."""
        failed: dict[MemberKey, TortieError] = {
            key: Busy(f"set {key.set} is in use") for key in keys if key.set in self._sets.kept
        }
        gone = [key for key in keys if key not in failed and key.set in self._sets.known]
        return failed | _each_line({key: f"del {key.set} {key.member}" for key in gone}, _set_of)


def _set_of(key: MemberKey) -> str:
    return key.set


def _canonical(member: str) -> str:
    """As we write it: the C library ends some IPv6 addresses in the form of IPv4."""
    address, separator, rest = member.partition("/" if "/" in member else ",")
    return f"{IPv6Address(address)}{separator}{rest}" if ":" in address and "." in address else member


def _each_line(lines: Mapping[K, str], set_of: Callable[[K], str]) -> dict[K, TortieError]:
    """Runs all lines but those that fail."""
    failed: dict[K, TortieError] = {}
    failures: dict[str, int] = {}
    left = list(lines)
    while left:
        try:
            ipset.restore([lines[key] for key in left])
        except ipset.LineFailed as error:
            key = left[error.index]
            failed[key] = error.error
            left = left[error.index + 1 :]
            name = set_of(key)
            failures[name] = failures.get(name, 0) + 1
            if failures[name] >= FAILURES_PER_SET:
                failed |= {other: error.error for other in left if set_of(other) == name}
                left = [other for other in left if set_of(other) != name]
        except KernelError as error:
            return failed | dict.fromkeys(left, error)
        else:
            break
    return failed


# --- Chains


class Listed(NamedTuple):
    """What `iptables-save` lists of ours."""

    chains: dict[ChainKey, ChainSpec]
    jumps: dict[ChainKey, list[tuple[bool, str]]]  # to our chains, from the kernel's own: is it the first rule; itself


_RULE = re.compile(r"-A (\S+) (.*)")
_DIGEST = re.compile(r'--comment "?([0-9a-f]{16})\b')
_TO_OURS = re.compile(rf"-[jg] {OWN_CHAIN}")


def parse(family: Family, text: str) -> Listed:
    listed = Listed({}, {})
    digests: dict[ChainKey, list[str]] = {}
    table, begun = "", set[str]()
    for line in text.splitlines():
        if line.startswith("*"):
            table, begun = line[1:], set()
        elif table not in TABLES:
            continue
        elif line.startswith(f":{OWN_CHAIN}"):
            digests[ChainKey(family, table, line[1:].split(" ", 1)[0])] = []
        elif found := _RULE.match(line):
            name, rule = found.groups()
            key = ChainKey(family, table, name)
            if name.startswith(OWN_CHAIN):
                known = _DIGEST.search(rule)
                digests[key].append(known[1] if known else "")
            elif _TO_OURS.search(rule):
                listed.jumps.setdefault(key, []).append((name not in begun, rule))
            begun.add(name)
    listed.chains.update((key, ChainSpec(tuple(some))) for key, some in digests.items())
    return listed


class ChainTable:
    """Our chains with all of their rules. A family in doubt is listed; of the other it is known what is there."""

    def __init__(self, xtables: Xtables) -> None:
        self._xtables = xtables
        self._doubtful: set[Family] = set(FAMILIES)
        self._known: dict[ChainKey, ChainSpec] = {}
        self.jumps: dict[ChainKey, list[tuple[bool, str]]] = {}  # as last read, for the table of jumps

    def doubt(self, families: Iterable[Family]) -> None:
        """Others changed something of these families."""
        self._doubtful.update(families)

    def read(self, wanted: Collection[ChainKey]) -> Mapping[ChainKey, ChainSpec]:
        for family in sorted(self._doubtful):
            listed = parse(family, self._xtables.save(family))
            self._known = _of_others(family, self._known) | listed.chains
            self.jumps = _of_others(family, self.jumps) | listed.jumps
            self._xtables.watch(family, {key.table for key in listed.chains})
            self._doubtful.discard(family)
        return self._known

    def put(self, rows: Mapping[ChainKey, ChainSpec]) -> Mapping[ChainKey, TortieError]:
        failed: dict[ChainKey, TortieError] = {}
        for family in FAMILIES:
            failed |= self._put(family, {key: spec for key, spec in rows.items() if key.family == family})
        return failed

    def _put(self, family: Family, rows: Mapping[ChainKey, ChainSpec]) -> dict[ChainKey, TortieError]:
        """All at once; if that is refused, each table by itself."""
        if not rows:
            return {}
        try:
            self._write(family, rows)
        except Busy as error:
            return dict.fromkeys(rows, error)
        except KernelError:
            pass
        else:
            return {}
        failed: dict[ChainKey, TortieError] = {}
        for table in TABLES:
            failed |= self._put_table(family, {key: spec for key, spec in rows.items() if key.table == table})
        return failed

    def _put_table(self, family: Family, rows: Mapping[ChainKey, ChainSpec]) -> dict[ChainKey, TortieError]:
        """The new ones closed and then by halves, since rules lead to chains."""
        try:
            self._write(family, {key: _closed(key) for key in rows if key not in self._known})
        except KernelError as error:
            return dict.fromkeys(rows, error)
        return self._halves(family, list(rows.items()))

    def _halves(self, family: Family, rows: list[tuple[ChainKey, ChainSpec]]) -> dict[ChainKey, TortieError]:
        if not rows:
            return {}
        try:
            self._write(family, dict(rows))
        except Busy as error:
            return {key: error for key, _ in rows}
        except KernelError as error:
            if len(rows) == 1:
                with suppress(KernelError):
                    self._write(family, {rows[0][0]: _closed(rows[0][0])})
                return {rows[0][0]: error}
            middle = len(rows) // 2
            return self._halves(family, rows[:middle]) | self._halves(family, rows[middle:])
        return {}

    def _write(self, family: Family, rows: Mapping[ChainKey, ChainSpec]) -> None:
        """In each table all of it or nothing. To declare a chain makes it, or empties it."""
        by_table: dict[str, list[str]] = {}
        for key in rows:
            by_table.setdefault(key.table, []).append(f":{key.name} - [0:0]")
        counted = self._counted(family, rows)
        for key, spec in rows.items():
            for rule in spec.rules:
                before = counted.pop((key, rule.digest[:ARGUMENTS_CHARACTERS]), None) if rule.counts else None
                going_on = f"[{before.packets}:{before.octets}] " if before else ""
                by_table[key.table].append(going_on + rule.line(key.name))
        self._restore(family, by_table)
        self._known |= rows

    def _counted(self, family: Family, rows: Mapping[ChainKey, ChainSpec]) -> dict[tuple[ChainKey, str], Figures]:
        """What the rules of these chains have counted, by the digest of their arguments, if any of them comes again."""
        chains: dict[str, list[str]] = {}
        for key, spec in rows.items():
            there = {digest[:ARGUMENTS_CHARACTERS] for digest in self._known.get(key, _EMPTY).digests}
            if not there.isdisjoint(rule.digest[:ARGUMENTS_CHARACTERS] for rule in spec.rules if rule.counts):
                chains.setdefault(key.table, []).append(key.name)
        found: dict[tuple[ChainKey, str], Figures] = {}
        for table, names in chains.items():
            for each in self._xtables.counted(family, table, names):
                # Of two that are alike only the first ever decides anything.
                key = ChainKey(family, table, each.chain)
                found.setdefault((key, each.comment[:ARGUMENTS_CHARACTERS]), each.figures)
        return found

    def delete(self, keys: Collection[ChainKey]) -> Mapping[ChainKey, TortieError]:
        """Empties all of them first, since they lead to one another."""
        failed: dict[ChainKey, TortieError] = {}
        for family in FAMILIES:
            some = [key for key in keys if key.family == family and key in self._known]
            if not some:
                continue
            try:
                self._write(family, dict.fromkeys(some, _EMPTY))
            except KernelError as error:
                failed |= dict.fromkeys(some, error)
            else:
                failed |= self._remove(family, some)
        return failed

    def _remove(self, family: Family, keys: list[ChainKey]) -> dict[ChainKey, TortieError]:
        by_table: dict[str, list[str]] = {}
        for key in keys:
            by_table.setdefault(key.table, []).append(f"-X {key.name}")
        try:
            self._restore(family, by_table)
        except KernelError as error:
            if len(keys) == 1 or isinstance(error, Busy):
                return dict.fromkeys(keys, error)
            middle = len(keys) // 2
            return self._remove(family, keys[:middle]) | self._remove(family, keys[middle:])
        for key in keys:
            self._known.pop(key, None)
        return {}

    def _restore(self, family: Family, by_table: Mapping[str, list[str]]) -> None:
        if not by_table:
            return
        try:
            self._xtables.restore(family, restored(by_table))
        except KernelError:
            self.doubt([family])  # of several tables some may be written
            raise
        self._xtables.watch(family, by_table.keys())


def _of_others(family: Family, rows: Mapping[ChainKey, V]) -> dict[ChainKey, V]:
    return {key: value for key, value in rows.items() if key.family != family}


def _closed(key: ChainKey) -> ChainSpec:
    return _EMPTY if key.table == NAT else _CLOSED


class JumpTable:
    """The rules that lead from the kernel's own chains to ours; a right one is the first of its chain, and alone."""

    def __init__(self, xtables: Xtables, chains: ChainTable) -> None:
        self._xtables = xtables
        self._chains = chains

    def read(self, wanted: Collection[ChainKey]) -> Mapping[ChainKey, ChainSpec]:
        return {key: ChainSpec(tuple(map(_known_by, found))) for key, found in self._chains.jumps.items()}

    def put(self, rows: Mapping[ChainKey, ChainSpec]) -> Mapping[ChainKey, TortieError]:
        lines = {key: [*self._removal(key), spec.rules[0].line(key.name, "-I")] for key, spec in rows.items()}
        failed = self._each(lines)
        for key, spec in rows.items():
            if key not in failed:
                self._chains.jumps[key] = [(True, spec.rules[0].line("").removeprefix("-A  "))]
        return failed

    def delete(self, keys: Collection[ChainKey]) -> Mapping[ChainKey, TortieError]:
        failed = self._each({key: list(self._removal(key)) for key in keys})
        for key in keys:
            if key not in failed:
                self._chains.jumps.pop(key, None)
        return failed

    def _removal(self, key: ChainKey) -> Iterator[str]:
        return (f"-D {key.name} {rule}" for _, rule in self._chains.jumps.get(key, ()))

    def _each(self, lines: Mapping[ChainKey, list[str]]) -> dict[ChainKey, TortieError]:
        failed: dict[ChainKey, TortieError] = {}
        for family in FAMILIES:
            by_table: dict[str, list[str]] = {}
            some = [key for key in lines if key.family == family and lines[key]]
            for key in some:
                by_table.setdefault(key.table, []).extend(lines[key])
            try:
                if by_table:
                    self._xtables.restore(family, restored(by_table))
            except KernelError as error:
                self._chains.doubt([family])
                failed |= dict.fromkeys(some, error)
        return failed


def _known_by(jump: tuple[bool, str]) -> str:
    is_first, rule = jump
    known = _DIGEST.search(rule)
    return known[1] if known and is_first else "not the first"


def restored(by_table: Mapping[str, Iterable[str]]) -> str:
    """The text for `iptables-restore`."""
    parts: list[str] = []
    for table in TABLES:
        if table in by_table:
            parts += [f"*{table}", *by_table[table], "COMMIT"]
    return "\n".join(parts) + "\n"
