"""Packets that must arrive and packets that must not, one of each every 2 ms, with the moment of each that went wrong.

One process with a socket in each namespace, before all others in the kernel's order, so that a busy machine makes it
send later and lose nothing; how much later is told, and a path without tortie beside it tells what the machine loses
by itself. It sends until its standard input ends, and then prints what it saw as JSON:

    python -m tests.soak.matrix.probe '{"near": NAMESPACE, "far": NAMESPACE, "left": NAMESPACE, "right": NAMESPACE}'
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from tortie.kernel.netns import named, run_in

SO_RCVBUFFORCE = 33  # include/uapi/asm-generic/socket.h

PERIOD_S = 0.002
FRESH_EACH = 5  # periods; each leaves a tracked connection behind for half a minute
GRACE_S = 0.5  # for the last packets

NEAR, FAR = "10.65.0.1", "10.65.0.2"
LEFT, RIGHT = "198.51.100.11", "198.51.100.12"
KEPT, FRESH, DENIED_OUT, DENIED_IN, CONTROL = 7001, 7002, 7998, 7999, 7000
RECEIVE_BYTES = 4 << 20
FRESH_PORTS = range(20000, 60000)

NUMBER = struct.Struct("!Q")


@dataclass
class Path:
    """Packets one way, by number: when each was sent, and which arrived."""

    sent: list[float] = field(default_factory=list)
    arrived: set[int] = field(default_factory=set)

    def note(self) -> bytes:
        self.sent.append(time.monotonic())
        return NUMBER.pack(len(self.sent) - 1)

    def missing(self) -> list[float]:
        return [moment for number, moment in enumerate(self.sent) if number not in self.arrived]

    def leaked(self) -> list[float]:
        return [self.sent[number] for number in sorted(self.arrived)]


def receiver(namespace: str, port: int) -> socket.socket:
    """A socket at every address of the namespace."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES)
        made.bind(("", port))
        made.setblocking(False)
        return made

    return run_in(named(namespace), make)


def raw_sender(namespace: str) -> socket.socket:
    """A socket that is given whole packets, so that each may come from another port."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        made.setblocking(False)
        return made

    return run_in(named(namespace), make)


def datagram(source: str, target: str, source_port: int, port: int, body: bytes) -> bytes:
    """An IPv4 packet; the kernel adds identification and checksum, and UDP goes without one."""
    header = struct.pack(
        *("!BBHHHBBH4s4s", 0x45, 0, 28 + len(body), 0, 0, 64, socket.IPPROTO_UDP, 0),
        *(IPv4Address(source).packed, IPv4Address(target).packed),
    )
    return header + struct.pack("!HHHH", source_port, port, 8 + len(body), 0) + body


class Traffic:
    """All paths and their sockets."""

    def __init__(self, near: str, far: str, left: str, right: str) -> None:
        self.paths = {port: Path() for port in (KEPT, FRESH, DENIED_OUT, DENIED_IN, CONTROL)}
        self._near, self._far, self._left = receiver(near, KEPT), receiver(far, KEPT), receiver(left, CONTROL)
        self._raw = raw_sender(near)
        receivers = {
            DENIED_OUT: receiver(near, DENIED_OUT),
            DENIED_IN: receiver(far, DENIED_IN),
            FRESH: receiver(far, FRESH),
            CONTROL: receiver(right, CONTROL),
        }
        self._ports = {each: port for port, each in receivers.items()} | {self._near: KEPT, self._far: 0}
        self._by_number = {each.fileno(): each for each in self._ports}
        self.poll = select.epoll()
        for descriptor in self._by_number:
            self.poll.register(descriptor, select.EPOLLIN)

    def send(self, tick: int) -> None:
        self._send(self._near, KEPT, FAR)
        self._send(self._near, DENIED_IN, FAR)
        self._send(self._far, DENIED_OUT, NEAR)
        self._send(self._left, CONTROL, RIGHT)
        if tick % FRESH_EACH == 0:
            port = FRESH_PORTS[tick // FRESH_EACH % len(FRESH_PORTS)]
            body = self.paths[FRESH].note()
            with suppress(OSError):
                self._raw.sendto(datagram(NEAR, FAR, port, FRESH, body), (FAR, 0))

    def _send(self, sender: socket.socket, port: int, target: str) -> None:
        body = self.paths[port].note()
        with suppress(OSError):  # no route: it is lost
            sender.sendto(body, (target, port))

    def receive(self, timeout_s: float) -> bool:
        """Takes what arrives within the time; far answers what is kept, so that its way back is a part of it.

        False when nobody wants to know more.
        """
        for descriptor, _ in self.poll.poll(max(timeout_s, 0)):
            if (sock := self._by_number.get(descriptor)) is None:
                self.poll.unregister(descriptor)
                return False
            with suppress(BlockingIOError):
                while True:
                    body, sender = sock.recvfrom(64)
                    if sock is self._far:
                        with suppress(OSError):
                            sock.sendto(body, sender)
                    elif len(body) == NUMBER.size:
                        self.paths[self._ports[sock]].arrived.add(NUMBER.unpack(body)[0])
        return True

    def seen(self) -> dict[str, object]:
        """What went wrong, by the moment at which it was sent, on the monotonic clock."""
        allowed, denied = (KEPT, FRESH), (DENIED_OUT, DENIED_IN)
        return {
            "sent": sum(len(path.sent) for path in self.paths.values()),
            "lost": sorted(moment for port in allowed for moment in self.paths[port].missing()),
            "leaked": sorted(moment for port in denied for moment in self.paths[port].leaked()),
            "lost_by_control": len(self.paths[CONTROL].missing()),
        }


def main() -> None:
    traffic = Traffic(**json.loads(sys.argv[1]))
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    traffic.poll.register(sys.stdin.fileno(), select.EPOLLHUP)
    print("ready", flush=True)
    due, tick, worst_pause_s, wanted = time.monotonic(), 0, 0.0, True
    while wanted:
        now = time.monotonic()
        if now >= due:
            worst_pause_s = max(worst_pause_s, now - due)
            traffic.send(tick)
            tick, due = tick + 1, max(due + PERIOD_S, now)
        wanted = traffic.receive(due - time.monotonic())
    end = time.monotonic() + GRACE_S
    while (left := end - time.monotonic()) > 0:
        traffic.receive(left)
    print(json.dumps({**traffic.seen(), "worst_pause_s": worst_pause_s}))


if __name__ == "__main__":
    main()
