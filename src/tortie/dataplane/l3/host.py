"""What routing workloads asks of the host as a whole, beside the single interfaces."""

from __future__ import annotations

from collections.abc import Iterator

from tortie.dataplane.l3.facts import Facts
from tortie.dataplane.l3.render import HOST_SYSCTLS_V4, HOST_SYSCTLS_V6, sysctl_rows
from tortie.dataplane.l3.rows import Rows
from tortie.errors import KernelError
from tortie.intent.report import Noted
from tortie.kernel import sysctl


class HostSettings:
    """Rows of the host, and settings of it that hurt but are not ours to change."""

    def __init__(self) -> None:
        self._filters = False  # by reverse path, as was seen last

    def rows(self, facts: Facts) -> Rows:
        values: dict[str, str] = {}
        if facts.ipv6:
            # Before forwarding goes on: with it a host stops taking router advertisements, and drops the default
            # route it has from them, unless accept_ra is 2 (net/ipv6/route.c, rt6_purge_dflt_routers).
            for ifindex in sorted(facts.ra_uplinks):
                path = f"ipv6/conf/{facts.name(ifindex)}/accept_ra"
                # 0: something in user space takes the advertisements, and the kernel must not as well.
                if _read(path) != "0":
                    values[path] = "2"
            values |= HOST_SYSCTLS_V6
        values |= HOST_SYSCTLS_V4
        return sysctl_rows(values) | facts.held.rows()

    def look(self) -> None:
        """Reads what `problems` tells of: the kernel sends no event when a setting changes."""
        self._filters = _read("ipv4/conf/all/rp_filter") in ("1", "2")

    def problems(self) -> Iterator[Noted]:
        if self._filters:
            yield Noted(
                subject="net.ipv4.conf.all.rp_filter",
                reason="the kernel takes the maximum of it and the interface's: workload interfaces are filtered by"
                " reverse path, so a workload that sends from another address than its own is cut off silently",
            )


def _read(path: str) -> str:
    try:
        return sysctl.read(path)
    except KernelError:
        return ""
