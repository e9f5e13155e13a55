"""The table by which `tortie-closed.service` keeps the interfaces of workloads closed from boot on."""

from __future__ import annotations

from tortie.errors import Unsupported
from tortie.kernel.netfilter import table
from tortie.kernel.netfilter.message import Family
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netfilter.transaction import commit

TABLE = "tortie-closed"


def is_closed() -> bool:
    """Whether it is there. It blocks; raises KernelError."""
    with NetfilterSocket() as sock:
        return _stands(sock)


def open_up() -> None:
    """Takes it away, if it is there: policy is in force. It blocks; raises KernelError."""
    with NetfilterSocket() as sock:
        if _stands(sock):
            commit(sock, [table.delete(Family.INET, TABLE)])


def _stands(sock: NetfilterSocket) -> bool:
    try:
        return any(each.name == TABLE for each in table.dump(sock, Family.INET))
    except Unsupported:  # a kernel without nf_tables has no such table
        return False
