"""The table by which `tortie-closed.service` keeps the interfaces of workloads closed from boot on."""

from __future__ import annotations

from tortie.errors import Unsupported
from tortie.kernel.netfilter import table
from tortie.kernel.netfilter.message import Family
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netfilter.transaction import commit

TABLE = "tortie-closed"


def open_up() -> None:
    """Takes it away, if it is there: policy is in force. It blocks; raises KernelError."""
    with NetfilterSocket() as sock:
        try:
            found = table.dump(sock, Family.INET)
        except Unsupported:  # a kernel without nf_tables has no such table
            return
        if any(each.name == TABLE for each in found):
            commit(sock, [table.delete(Family.INET, TABLE)])
