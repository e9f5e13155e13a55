"""The last warnings and errors of the log, kept for `tortie status`: whoever asks later need not search the log."""

from __future__ import annotations

from collections import deque
from collections.abc import MutableMapping
from typing import Any

from tortie.status import Logged

KEPT = 20
_LEVELS = frozenset({"warning", "error", "exception", "critical"})
_SHOWN_APART = frozenset({"event", "level", "timestamp", "exc_info"})


class Journal:
    """A processor of structlog that passes everything on; must stand behind the time stamp."""

    def __init__(self) -> None:
        self._entries: deque[Logged] = deque(maxlen=KEPT)

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if method in _LEVELS:
            details = "; ".join(f"{key}: {value}" for key, value in event.items() if key not in _SHOWN_APART)
            text = f"{event['event']} ({details})" if details else str(event["event"])
            self._entries.append(Logged(time=str(event.get("timestamp", "")), text=text))
        return event

    @property
    def entries(self) -> tuple[Logged, ...]:
        """Oldest first."""
        return tuple(self._entries)
