"""When something happened in the kernel of a namespace: events with the moment of their arrival.

A thread of its own listens, before all others in the kernel's order: daemons that react to the same event would run
first, and every moment would be the one when they are done. What is late is the witness, never the event.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

from tortie.kernel.netlink.monitor import Event, Monitor, Overflow
from tortie.kernel.netns import run_in

DEADLINE_S = 20.0

Name = Callable[[str, Event], str]
"""What to call an event at a place; empty: of no interest."""


class Witness:
    """Listens at several places (namespace paths by a short word) while it is entered."""

    def __init__(self, places: Mapping[str, str], name: Name) -> None:
        self._name = name
        self._monitors = {place: run_in(path, Monitor) for place, path in places.items()}
        self._last: dict[str, float] = {}
        self._news = threading.Condition()
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._listen, name="witness", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.close()
        self._thread.join()
        self._stopped.close()
        for monitor in self._monitors.values():
            monitor.close()

    def wait(self, names: Collection[str], since: float) -> float:
        """Waits until each of these happened after `since` (time.monotonic) and returns the moment of the latest."""

        def missing() -> list[str]:
            return [name for name in names if self._last.get(name, since) <= since]

        with self._news:
            if not self._news.wait_for(lambda: not missing(), DEADLINE_S):
                raise AssertionError(f"not in {DEADLINE_S:g} s: {', '.join(missing())}")
            return max(self._last[name] for name in names)

    def _listen(self) -> None:
        with suppress(PermissionError):  # then the moments are as good as the machine is idle
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        poll = select.poll()
        poll.register(self._stopped, select.POLLIN)
        places = {monitor.fileno(): place for place, monitor in self._monitors.items()}
        for descriptor in places:
            poll.register(descriptor, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor not in places:
                    return
                self._note(places[descriptor])

    def _note(self, place: str) -> None:
        # One at a time, so that none gets the moment of the one before it.
        for event in self._monitors[place].read(1):
            moment = time.monotonic()
            assert not isinstance(event, Overflow), "events were lost"
            if name := self._name(place, event):
                with self._news:
                    self._last[name] = moment
                    self._news.notify_all()
