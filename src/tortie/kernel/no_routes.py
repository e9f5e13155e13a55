"""How many packets the kernel could not forward for want of a route, as it counts them itself for the whole host."""

from __future__ import annotations

from pathlib import Path

_PROC = Path("/proc/thread-self/net")


def count() -> int:
    """Of both families, in the network namespace of the calling thread. Raises OSError."""
    v6 = _PROC / "snmp6"
    return of_ipv4((_PROC / "netstat").read_text()) + (of_ipv6(v6.read_text()) if v6.exists() else 0)


def of_ipv4(netstat: str) -> int:
    """Two lines for each protocol: the names of the figures, and the figures."""
    names, figures = (line.split() for line in netstat.splitlines() if line.startswith("IpExt:"))
    return int(dict(zip(names, figures, strict=True)).get("InNoRoutes", 0))


def of_ipv6(snmp6: str) -> int:
    """A line for each figure."""
    return int(dict(line.split() for line in snmp6.splitlines()).get("Ip6InNoRoutes", 0))
