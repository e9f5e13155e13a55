"""iptables by its programs: rules in and out as text, in either of its two variants.

    legacy   tables of ip_tables, replaced whole at each change, by one writer at a time (a lock file)
    nft      the same rules as objects of nf_tables

The programs are the one interface that both have. A call takes 2 to 20 ms, grows with the rules of the table, and
waits for the lock: it belongs in a thread. The programs run in the network namespace of the calling thread.
"""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Literal, NamedTuple

from tortie.errors import Busy, Gone, KernelError, Refused, Unsupported
from tortie.kernel import libc
from tortie.kernel.failure import mapped
from tortie.kernel.netfilter import rule
from tortie.kernel.netfilter.change import TABLE
from tortie.kernel.netfilter.message import NETLINK_NETFILTER, NF_TABLES, open_message
from tortie.kernel.netfilter.message import Family as NfFamily
from tortie.kernel.netfilter.monitor import GROUPS, parse_changed
from tortie.kernel.netfilter.rule import Figures, figures
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netlink.events import EventSocket
from tortie.kernel.netlink.message import Message
from tortie.kernel.run import CommandFailed, run_blocking

Family = Literal[4, 6]

LOCK_FILE = "/run/xtables.lock"
# For the lock; then the change is tried again later, and what came meanwhile goes with it.
LOCK_WAIT_S = 5
# 50,000 rules take the slower variant 2.6 s.
TIMEOUT_S = 60.0
OUTPUT_BYTES = 256 * 1024 * 1024

_PROGRAM = {4: "iptables", 6: "ip6tables"}
# Of both families. To look at a legacy table brings it into being, so others are looked at only once they are used.
_ALWAYS = ("filter", "raw")

# struct ipt_getinfo and ip6t_getinfo: a name, 12 words; include/uapi/linux/netfilter_ipv4/ip_tables.h
_GET_INFO = 64
_INFO_BYTES = 84
_NAME_BYTES = 32
_LEVEL: dict[Family, int] = {4: socket.SOL_IP, 6: socket.IPPROTO_IPV6}
_ADDRESS_FAMILY: dict[Family, int] = {4: socket.AF_INET, 6: socket.AF_INET6}
# Of events; when more is waiting than this, something changed that is worth a look.
_EVENTS_APIECE = 100
_EVENT_BYTES = 1024 * 1024
_FAMILY: dict[int, Family] = {NfFamily.IP: 4, NfFamily.IP6: 6}
_PROC_NAME = {4: "ip", 6: "ip6"}
_NF_FAMILY = {4: NfFamily.IP, 6: NfFamily.IP6}


class Variant(StrEnum):
    LEGACY = "legacy"
    NFT = "nft"


def may_hold_rules(variant: Variant) -> bool:
    """Whether there is anything to look at, in the network namespace of the calling thread, without bringing it there.

    Programs of the nft variant make nothing by looking, so of that it is said wherever they are installed.
    """
    if shutil.which(f"iptables-{variant}-save") is None:
        return False
    if variant is Variant.NFT:
        return True
    lists = (Path(f"/proc/thread-self/net/{name}_tables_names") for name in _PROC_NAME.values())
    return any(each.exists() and each.read_text() for each in lists)


def used_tables(variant: Variant, family: Family, tables: Collection[str]) -> list[str]:
    """Those of the tables, in the network namespace of the calling thread, that are there: by looking at a table of
    legacy it would come into being.
    """
    if variant is Variant.NFT:
        return list(tables)
    names = Path(f"/proc/thread-self/net/{_PROC_NAME[family]}_tables_names")
    there = set(names.read_text().split()) if names.exists() else set()
    return [each for each in tables if each in there]


class Counted(NamedTuple):
    """A rule by its chain and its comment, and what it has counted."""

    chain: str
    comment: str
    figures: Figures


def counted(variant: Variant, family: Family, table: str, chains: Collection[str]) -> list[Counted]:
    """The rules of these chains, in their order, in the network namespace of the calling thread; no lock is waited for.

    Of legacy tables there is no part to be had: with 12,000 rules it takes 50 ms, whatever is asked. The other variant
    is asked by netlink, chain by chain, as its programs would take 5 ms for each.
    """
    found = _listed_by_netlink(family, table, chains) if variant is Variant.NFT else _listed(family, table, set(chains))
    return list(found)


def _listed(family: Family, table: str, chains: set[str]) -> Iterator[Counted]:
    command = [f"{_PROGRAM[family]}-{Variant.LEGACY}-save", "-c", "-t", table]
    for line in _output(command).splitlines():
        # Most lines are of others.
        if (found := _COUNTED_LINE.match(line)) and found[3] in chains:
            quoted = _COMMENT_IN_LINE.search(line)
            comment = "" if quoted is None else quoted[1] or quoted[2]
            yield Counted(found[3], comment, Figures(int(found[1]), int(found[2])))


def _listed_by_netlink(family: Family, table: str, chains: Collection[str]) -> Iterator[Counted]:
    with NetfilterSocket() as sock:
        for chain in chains:
            with suppress(Gone):
                for one in rule.dump(sock, _NF_FAMILY[family], table, chain):
                    said = _COMMENT_IN_BYTES.search(one.expressions)
                    comment = one.comment if said is None else said[1].rstrip(b"\0").decode(errors="replace")
                    counts = figures(one.expressions)
                    yield Counted(chain, comment, counts[0] if counts else Figures(0, 0))


_COUNTED_LINE = re.compile(r"\[(\d+):(\d+)\] -A (\S+)")
_COMMENT_IN_LINE = re.compile(r'--comment (?:"((?:[^"\\]|\\.)*)"|(\S+))')
# The match "comment" in nf_tables: its name, its revision, and 256 bytes (include/uapi/linux/netfilter/xt_comment.h).
_COMMENT_IN_BYTES = re.compile(rb"\x0c\0\x01\0comment\0\x08\0\x02\0.{4}\x04\x01\x03\0(.{256})", re.DOTALL)


class Xtables:
    """The rules of both families, in the network namespace of the thread that makes it and calls it."""

    def __init__(self, variant: Variant, lock_file: str = LOCK_FILE) -> None:
        self._variant = variant
        self._environment = {"XTABLES_LOCKFILE": lock_file}
        self._watch: _LegacySizes | _NftEvents = _LegacySizes() if variant is Variant.LEGACY else _NftEvents()
        self._watch.note()

    def close(self) -> None:
        self._watch.close()

    def restore(self, family: Family, text: str) -> None:
        """Makes the changes of the text, a table at a time, and leaves all else; `Busy` while others hold the lock.

        A rule may begin with what it has counted already, `[PACKETS:OCTETS]`; ip6tables-nft 1.8.9 passes over that.
        """
        self._run(family, "restore", "--noflush", "--counters", "-w", str(LOCK_WAIT_S), stdin=text)

    def save(self, family: Family) -> str:
        """Everything, also other people's."""
        return self._run(family, "save")

    def counted(self, family: Family, table: str, chains: Collection[str]) -> list[Counted]:
        """What the rules of these chains have counted: see `counted`."""
        return counted(self._variant, family, table, chains)

    def watch(self, family: Family, tables: Collection[str]) -> None:
        """Changes of these are to be seen too; all that was before the next `note` counts as one."""
        self._watch.tables |= {(family, table) for table in tables}

    def note(self) -> None:
        """What happened up to now is known; called in the thread that made this."""
        self._watch.note()

    def changed(self) -> frozenset[Family]:
        """Of which families somebody changed the tables since `note`; microseconds. A change that leaves a legacy table
        with as many rules of the same sizes is not seen.
        """
        return self._watch.changed()

    @property
    def author(self) -> str:
        """Who made the last change that was seen, in words; empty where the kernel does not tell: legacy tables."""
        return self._watch.author

    def _run(self, family: Family, action: str, *arguments: str, stdin: str = "") -> str:
        command = [f"{_PROGRAM[family]}-{self._variant}-{action}", *arguments]
        return _output(command, stdin, self._environment)


def _output(command: list[str], stdin: str = "", environment: Mapping[str, str] | None = None) -> str:
    try:
        return run_blocking(command, TIMEOUT_S, stdin, output_bytes=OUTPUT_BYTES, environment=environment)
    except CommandFailed as error:
        raise _kernel_error(error) from error


def _tables_at_first() -> set[tuple[Family, str]]:
    return {(family, table) for family in _FAMILY.values() for table in _ALWAYS}


def _kernel_error(error: CommandFailed) -> KernelError:
    if "xtables lock" in error.output or "Resource temporarily unavailable" in error.output:
        return Busy(f"another program holds the lock of iptables for more than {LOCK_WAIT_S} s")
    if error.status is None:
        return Busy(str(error))
    first = next(iter(error.output.strip().splitlines()), "")
    if "Table does not exist" in first:
        return Unsupported(f"{error.command}: {first}")
    return Refused(f"{error.command}: {first or f'exit status {error.status}'}")


class _LegacySizes:
    """How many rules each table has, and how large they are, as the kernel knows without listing them."""

    author = ""

    def __init__(self) -> None:
        self.tables = _tables_at_first()
        self._sockets: dict[Family, socket.socket] = {}
        self._noted: dict[tuple[Family, str], bytes] = {}
        with mapped("open a raw socket"):
            for family, address_family in _ADDRESS_FAMILY.items():
                self._sockets[family] = socket.socket(address_family, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def close(self) -> None:
        for each in self._sockets.values():
            each.close()

    def note(self) -> None:
        self._noted = self._sizes()

    def changed(self) -> frozenset[Family]:
        now = self._sizes()
        return frozenset(each[0] for each in now if now[each] != self._noted.get(each))

    def _sizes(self) -> dict[tuple[Family, str], bytes]:
        return {each: self._info(*each) for each in self.tables}

    def _info(self, family: Family, table: str) -> bytes:
        value = bytearray(table.encode().ljust(_INFO_BYTES, b"\0"))
        with mapped(f"look at table {table} of {_PROGRAM[family]}"):
            libc.getsockopt(self._sockets[family].fileno(), _LEVEL[family], _GET_INFO, value)
        return bytes(value[_NAME_BYTES:])


class _NftEvents:
    """Whether a transaction touched the tables. Our own are thrown away unread: large ones have an event a rule."""

    def __init__(self) -> None:
        self.tables = _tables_at_first()
        self.author = ""
        self._events = self._open()

    def close(self) -> None:
        self._events.close()

    def note(self) -> None:
        self._events.close()
        self._events = self._open()

    def changed(self) -> frozenset[Family]:
        found: set[Family] = set()  # by whole transactions, which end with who made them
        touched: set[Family] = set()
        self.author = ""
        while len(found) < len(_FAMILY):
            messages, lost = self._events.receive(_EVENTS_APIECE)
            if lost or self._events.losing:
                return frozenset(_FAMILY.values())
            if not messages:
                break
            for each in messages:
                if (changed := parse_changed(each)) is not None:
                    self.author = changed.author if touched else self.author
                    found |= touched
                    touched = set()
                elif (family := self._of_ours(each)) is not None:
                    touched.add(family)
        return frozenset(found | touched)

    @staticmethod
    def _open() -> EventSocket:
        return EventSocket(NETLINK_NETFILTER, GROUPS, _EVENT_BYTES)

    def _of_ours(self, message: Message) -> Family | None:
        """The family of the table of ours that the message is about."""
        if message.type >> 8 != NF_TABLES:
            return None
        number, attributes = open_message(message)
        family = _FAMILY.get(number)
        return family if family is not None and (family, attributes.text(TABLE)) in self.tables else None
