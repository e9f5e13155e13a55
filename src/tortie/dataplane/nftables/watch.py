"""Whether others changed our table, where the kernel cannot keep them from it: before Linux 6.9."""

from __future__ import annotations

from tortie.dataplane.nftables.rows import TABLE
from tortie.kernel.netfilter.message import Family
from tortie.kernel.netfilter.monitor import Changed, RulesetMonitor
from tortie.kernel.netfilter.socket import NetfilterSocket

# More waits for the next look.
_EVENTS_APIECE = 1000
_OURS = (Family.INET, TABLE)


class TableWatch:
    """Of the network namespace of the calling thread, from now on; `sock` is who changes the table rightly."""

    def __init__(self, sock: NetfilterSocket) -> None:
        self._port = sock.port
        self._monitor = RulesetMonitor()
        self.author = ""  # of the last change that was found, in words; empty when it cannot be told

    def close(self) -> None:
        self._monitor.close()

    def changed(self) -> bool:
        """Whether somebody else did since the last call; also when it cannot be told any more."""
        found = [
            event
            for event in self._monitor.read(_EVENTS_APIECE)
            if not isinstance(event, Changed) or (event.port != self._port and _OURS in event.tables)
        ]
        if found:
            self.author = found[-1].author if isinstance(found[-1], Changed) else ""
        return bool(found) or self._monitor.losing
