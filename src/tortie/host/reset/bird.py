"""The end of tortie's BIRD: its peers lose this host's routes, the kernel loses BIRD's, then it stops, for good.

A BIRD that the host runs anyway goes on, and what it wrote to the kernel is its own. It loses our sessions; the file
that it includes stays, as it was before there were any, since it would not start without.

Routes of a BIRD that died carry BIRD's protocol number and the metric of the settings, as those of any BIRD would: they
are ours if no other BIRD runs in this network namespace.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import time
from contextlib import suppress
from pathlib import Path

from tortie import bgp
from tortie.bgp.control import Control, Unreachable
from tortie.bootstrap import Bootstrap
from tortie.doctor import processes
from tortie.doctor.bird import greet
from tortie.errors import BirdError, TortieError
from tortie.host.withdrawal import sink, wait_silent
from tortie.kernel.netlink import route
from tortie.kernel.netlink.route import PROTOCOL_BIRD, Route
from tortie.kernel.netlink.socket import NetlinkSocket
from tortie.kernel.run import run_blocking

UNIT = "tortie-bird.service"
WITHDRAW_S = 10.0
STOP_S = 30.0
_LOOK_AGAIN_S = 0.05
_DEFAULT_METRIC_V6 = 1024  # what the kernel makes of 0


def find(settings: Bootstrap) -> list[str]:
    if settings.bird_included:
        config = Path(settings.bird_config)
        sessions = f"what {config} says; the file stays, without sessions, while the host's BIRD includes it"
        return [*([] if bgp.is_initial(config) else [sessions]), *map(str, _files(settings))]
    pid = greet(Path(settings.bird_socket)).pid
    return [*([f"process {pid}, at {settings.bird_socket}"] if pid else []), *map(str, _files(settings))]


def remove(settings: Bootstrap) -> None:
    if settings.bird_included:
        if not bgp.is_initial(Path(settings.bird_config)):
            with suppress(Unreachable):  # the file is in place, and read by the BIRD that starts next
                asyncio.run(sink(settings).retire())
    elif pid := greet(Path(settings.bird_socket)).pid:
        asyncio.run(_retire(settings))
        _wait_taken_back(settings)
        _stop(settings, pid)
    for file in _files(settings):
        file.unlink(missing_ok=True)


def find_routes(settings: Bootstrap) -> list[str]:
    return [str(row) for row in _routes(settings)]


def remove_routes(settings: Bootstrap) -> None:
    with NetlinkSocket() as sock:
        for error in route.delete(sock, _routes(settings)).values():
            raise error


def _routes(settings: Bootstrap) -> list[Route]:
    if settings.bird_included:
        return []
    metrics = {socket.AF_INET: settings.bird_kernel_metric}
    metrics[socket.AF_INET6] = settings.bird_kernel_metric or _DEFAULT_METRIC_V6
    with NetlinkSocket() as sock:
        found = [
            row
            for family, metric in metrics.items()
            for row in route.dump(sock, family, protocol=PROTOCOL_BIRD)
            if row.metric == metric
        ]
    pid = greet(Path(settings.bird_socket)).pid
    others = [each for each in processes.read() if each.is_bird and each.here and each.pid != pid]
    if found and others and not pid:
        raise TortieError(f"{len(found)} routes of a BIRD are left alone, since another one runs here: {others[0]}")
    return [] if others else found


def _files(settings: Bootstrap) -> list[Path]:
    config = Path(settings.bird_config)
    names = [config.with_name(f"{config.name}.staged"), config.with_name(f"{config.name}.initial")]
    if not settings.bird_included:
        names += [config, Path(settings.bird_socket)]
    return [file for file in names if file.exists()]


async def _retire(settings: Bootstrap) -> None:
    bird = sink(settings)
    try:
        await bird.retire()
    except BirdError:
        # Before the first configuration of an agent there is nothing that could be taken back.
        if (await bird.state()).sessions:
            raise
    await wait_silent(bird, WITHDRAW_S)


def _wait_taken_back(settings: Bootstrap) -> None:
    """What it does not take back in time, the next part does."""
    until = time.monotonic() + WITHDRAW_S
    while _routes(settings) and time.monotonic() < until:
        time.sleep(_LOOK_AGAIN_S)


def _stop(settings: Bootstrap, pid: int) -> None:
    """By systemd where that would start it again, else by its own command."""
    process = os.pidfd_open(pid)
    try:
        if UNIT in Path(f"/proc/{pid}/cgroup").read_text():
            run_blocking(["systemctl", "stop", UNIT], STOP_S)
        else:
            asyncio.run(Control(Path(settings.bird_socket)).ask("down"))
        if not select.select([process], [], [], STOP_S)[0]:
            raise BirdError(f"BIRD, process {pid}, does not end within {STOP_S:g} s after it was told to")
    finally:
        os.close(process)
