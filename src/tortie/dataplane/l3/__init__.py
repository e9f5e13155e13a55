"""Routes of local workloads: links, sysctls, ARP/NDP, neighbours, direct routes. Always on.

`rows` names the tables, `render` says which rows an endpoint takes, `table` and `responder` are the kernel's
tables, `gate` what closes an interface by its index, `facts` is what the kernel tells, `repairs` what others took away,
`sink` joins them. `foreign` keeps what the kernel drops along with ours, and `removal` takes all of ours out of a host
that is reset.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tortie.dataplane.l3.facts import Facts
from tortie.dataplane.l3.gate import GateTable
from tortie.dataplane.l3.governed import GOVERNED, Governed
from tortie.dataplane.l3.host import HostSettings
from tortie.dataplane.l3.originals import RECORD, Originals
from tortie.dataplane.l3.repairs import Repairs
from tortie.dataplane.l3.responder import AnswerTable, AskedTable, FilterTable, open_responder
from tortie.dataplane.l3.rows import Kind
from tortie.dataplane.l3.sink import L3
from tortie.dataplane.l3.table import (
    AddressTable,
    MacTable,
    NeighbourTable,
    RouteTable,
    SysctlTable,
    lookup,
)
from tortie.errors import KernelError
from tortie.kernel.netlink.socket import NetlinkSocket
from tortie.reconcile import Table

__all__ = ["L3", "MadeL3", "make"]


class MadeL3(NamedTuple):
    """The sink, who answers ARP ("ebpf", or why the kernel's proxy ARP has to), and what lets go of eBPF."""

    sink: L3
    responder: str
    close: Callable[[], None]


def make(sock: NetlinkSocket, bpffs: Path, state_dir: Path) -> MadeL3:
    """The l3 sink for the network namespace of the socket, which must be the caller's."""
    ipv6 = Path("/proc/sys/net/ipv6").exists()
    tables: dict[Kind, Table[Any, Any]] = {
        Kind.SYSCTL: SysctlTable(Originals(state_dir / RECORD)),
        Kind.MAC: MacTable(sock),
        Kind.ADDRESS: AddressTable(sock),
        Kind.NEIGHBOUR: NeighbourTable(sock),
        Kind.ROUTE: RouteTable(sock, ipv6),
    }
    program_id, reason = 0, "ebpf"
    held = ExitStack()
    try:
        responder = open_responder(bpffs)
    except KernelError as error:
        reason = f"proxy ARP of the kernel, which is silent without a default route, because: {error}"
    else:
        held.callback(responder.close)
        program_id = responder.program_id
        tables[Kind.ASKED] = AskedTable(responder.asked)
        tables[Kind.ANSWER] = AnswerTable(responder.answers)
        tables[Kind.FILTER] = FilterTable(sock, responder)
    # Without it such an interface is open until policy by names knows the new one.
    with suppress(KernelError):
        gate = GateTable(sock)
        held.callback(gate.close)
        tables[Kind.GATE] = gate
    facts = Facts(sock, ipv6, Governed(state_dir / GOVERNED))
    repairs = Repairs(sock.port, facts.name)
    sink = L3(tables, facts, HostSettings(), partial(lookup, sock), program_id, repairs)
    return MadeL3(sink, reason, held.close)
