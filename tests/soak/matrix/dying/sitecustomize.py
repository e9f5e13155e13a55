"""A process that finds this module dies at its n-th step, counted from when a file is there: `DIES_AT`, `DIES_WHEN`.

A step is a message to the kernel, just before it is sent, or a program, just before it is started. Python imports it at
its start from PYTHONPATH, so what dies is the agent as it is, and nothing of it knows.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

STEPS_LEFT = [int(os.environ["DIES_AT"])]
LOCK = threading.Lock()


def step() -> None:
    if not os.path.exists(os.environ["DIES_WHEN"]):  # noqa: PTH110 - at the price of a system call
        return
    with LOCK:
        STEPS_LEFT[0] -= 1
        if STEPS_LEFT[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def counted(method: Callable[..., Any], counts: Callable[[Any], bool]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Any, *words: Any, **named: Any) -> Any:
        if counts(self):
            step()
        return method(self, *words, **named)

    return call


for name in ("send", "sendto", "sendmsg", "sendall"):
    sending = counted(getattr(socket.socket, name), lambda self: self.family == socket.AF_NETLINK)
    setattr(socket.socket, name, sending)
subprocess.Popen.__init__ = counted(subprocess.Popen.__init__, lambda _: True)  # type: ignore[method-assign]
