"""Tables, and who owns them.

A table with an owner can be changed by the owning socket alone, and `nft flush ruleset` of others leaves it; but the
owner's end is its end, unless it is persistent, which Linux knows from 6.9 on. So it is both or neither: `OWNED`
where `can_persist()`, else no flags. An orphaned persistent table is adopted by `put` with the same flags, and until
then everybody may change it.
"""

from __future__ import annotations

import enum
import errno
from typing import NamedTuple

from tortie.errors import Refused, Unsupported
from tortie.kernel.netfilter.change import CREATE, TABLE, Change, Operation, change, wire_type
from tortie.kernel.netfilter.message import GENERIC, Family, be32, number, open_message
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netfilter.transaction import TransactionFailed, commit
from tortie.kernel.netlink.message import Message
from tortie.kernel.netns import run_in_new

_FLAGS = 2
_OWNER = 7


class TableFlag(enum.IntFlag):
    DORMANT = 1
    OWNER = 2
    PERSIST = 4


OWNED = TableFlag.OWNER | TableFlag.PERSIST


class Table(NamedTuple):
    family: Family
    name: str
    flags: TableFlag = TableFlag(0)
    owner: int = 0  # the port of the owning socket, as read back


def put(table: Table) -> Change:
    """Makes the table, or adopts an orphaned one with its contents."""
    return change(Operation.NEW_TABLE, CREATE, table.family, table.name, be32(_FLAGS, table.flags))


def delete(family: Family, name: str) -> Change:
    """With all that is in it."""
    return change(Operation.DELETE_TABLE, 0, family, name)


def dump(sock: NetfilterSocket, family: Family = Family.UNSPECIFIED) -> list[Table]:
    """`Unsupported` where the kernel has no nf_tables."""
    try:
        return sock.dump(wire_type(Operation.GET_TABLE), GENERIC.pack(family, 0, 0), parse, "list tables")
    except Refused as error:
        # What nfnetlink says of a subsystem that nobody registered (net/netfilter/nfnetlink.c, nfnetlink_rcv_msg).
        if error.errno == errno.EINVAL:
            raise Unsupported("list tables: the kernel has no nf_tables", errno.EOPNOTSUPP) from error
        raise


def parse(message: Message) -> Table:
    family, attributes = open_message(message)
    flags = TableFlag(number(attributes, _FLAGS))
    return Table(family, attributes.text(TABLE), flags, number(attributes, _OWNER))


def can_persist() -> bool:
    """Whether this kernel knows the flag, found by trying it in a network namespace made for that."""

    def probe() -> bool:
        with NetfilterSocket() as sock:
            try:
                commit(sock, [put(Table(Family.INET, "probe", OWNED))])
            except TransactionFailed as error:
                if isinstance(error.failures[0].error, Unsupported):
                    return False
                raise
        return True

    return run_in_new(probe)
