"""tortie's own BIRD, and the port of BGP."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tortie.doctor import processes
from tortie.doctor.finding import Finding, Result, Unseen, error
from tortie.doctor.host import Host
from tortie.doctor.processes import Process
from tortie.kernel.listening import sockets

PORT = 179
ANSWER_S = 3.0

_START = "systemctl start tortie-bird; journalctl -u tortie-bird says why it ended"
_CUT_OFF = "no routes are exchanged: workloads of other hosts are out of reach, and ours from there"


class Answer(NamedTuple):
    """BIRD at its control socket: its process, or what is wrong."""

    pid: int = 0
    fault: str = ""


def check(host: Host) -> Iterator[Result]:
    path = Path(host.settings.bird_socket)
    try:
        answer = greet(path)
    except PermissionError:
        yield Unseen("BIRD", f"{path} may be opened by root alone")
        return
    try:
        holders = [each for inode in sockets(PORT) for each in processes.holders(inode, host.all_processes)]
    except PermissionError as hidden:
        yield Unseen(f"who listens on TCP port {PORT}", str(hidden))
        holders = []
    yield from judge(path, answer, holders, [each for each in host.processes if each.is_bird])


def judge(path: Path, answer: Answer, holders: Sequence[Process], birds: Sequence[Process]) -> Iterator[Finding]:
    """`holders` listen on BGP's port, `birds` run in this network namespace."""
    if answer.fault:
        # With the control socket of another run_dir, or the unit of the distribution.
        others = f"; {birds[0]} runs" if birds else ""
        yield error(f"BIRD does not answer: {answer.fault}", f"{path}{others}", _CUT_OFF, _START)
    for other in holders:
        if other.pid != answer.pid:
            yield error(
                f"TCP port {PORT} belongs to another program than tortie's BIRD",
                str(other),
                "peers that connect to this host do not find tortie's BIRD there",
                "systemctl disable --now bird, if it is the distribution's; only one BGP daemon can have the port",
            )


def greet(path: Path) -> Answer:
    """Who serves the control socket, once it said hello; PermissionError where it is not for this user."""
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(ANSWER_S)
        try:
            control.connect(str(path))
            said = control.recv(1024)
        except FileNotFoundError:
            return Answer(fault="its control socket does not exist")
        except ConnectionRefusedError:
            return Answer(fault="nobody listens on its control socket")
        except TimeoutError:
            return Answer(fault=f"no greeting after {ANSWER_S:g} s")
        except PermissionError:
            raise
        except OSError as failure:
            return Answer(fault=str(failure))
        if not said.startswith(b"0001 "):
            return Answer(fault="what answers is not BIRD")
        pid, _, _ = struct.unpack("3i", control.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return Answer(int(pid))
