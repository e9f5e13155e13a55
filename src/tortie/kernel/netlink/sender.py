"""Who stands behind a port id of netlink, as far as the number tells.

The kernel gives a process's first socket the process's id, and any further one a number at random from the upper half.
libnl and pyroute2 choose by themselves: the id of the process in the lowest 22 bits. So a name is a guess, and told as
one: the id is that of the sender's own process namespace, and the process may have ended since.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_CHOSEN_BY_THE_KERNEL = 1 << 31
_PROTOCOL, _PORT, _INODE = 1, 2, -1  # columns of /proc/net/netlink
_ROUTE = "0"  # NETLINK_ROUTE
_PROCESS_BITS = (1 << 22) - 1


def describe(port: int) -> str:
    """In words, for people. Takes a look at /proc, some 20 us."""
    if not port:
        return "the kernel does not tell who"
    if port >= _CHOSEN_BY_THE_KERNEL:
        return f"port id {port}, a further socket of some process"
    process = port & _PROCESS_BITS
    try:
        name = Path(f"/proc/{process}/comm").read_text(errors="replace").strip()
    except OSError:
        return f"port id {port}, perhaps process {process}, which has ended"
    printable = "".join(each if each.isprintable() else "?" for each in name)
    return f"port id {port}, perhaps process {process} ({printable})"


def ports(process: int) -> frozenset[int]:
    """The port ids of a process's sockets for routes, in the calling thread's network namespace.

    Empty if it has none, has ended, or cannot be looked at. Takes a look at /proc, some 100 us.
    """
    held, lines = set(), []
    with suppress(OSError):
        lines = Path("/proc/thread-self/net/netlink").read_text().splitlines()[1:]
        for entry in Path(f"/proc/{process}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                held.add(entry.readlink().name)
    rows = map(str.split, lines)
    return frozenset(int(row[_PORT]) for row in rows if row[_PROTOCOL] == _ROUTE and f"socket:[{row[_INODE]}]" in held)
