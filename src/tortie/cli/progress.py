"""A progress bar on stderr: only on a terminal, and only for work that takes longer than a second."""

from __future__ import annotations

import sys
import time
from types import TracebackType

PATIENCE_S = 1.0
_REDRAW_S = 0.1
_WIDTH = 40


class Progress:
    """Counts steps of a work of `total`; what it drew is gone when the work ends."""

    def __init__(self, total: int, doing: str) -> None:
        self._total = total
        self._doing = doing
        self._done = 0
        self._shown = sys.stderr.isatty()
        self._drawn = False
        self._next = time.monotonic() + PATIENCE_S

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def advance(self, steps: int = 1) -> None:
        self._done += steps
        if self._shown and (now := time.monotonic()) >= self._next:
            self._next = now + _REDRAW_S
            self._draw()

    def _draw(self) -> None:
        filled = _WIDTH * self._done // self._total if self._total else _WIDTH
        bar = "#" * filled + "-" * (_WIDTH - filled)
        sys.stderr.write(f"\r\x1b[K{self._doing} [{bar}] {self._done}/{self._total}")
        sys.stderr.flush()
        self._drawn = True
