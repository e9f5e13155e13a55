"""The wall clock jumps by years, both ways: nothing ends early, nothing hangs, no lease is lost or kept.

The clock of this machine is not touched: a process with a library before the C library's gets an offset from a file
added to CLOCK_REALTIME, whoever asks, Python or gRPC. What SQLite's leases go by, the time since boot, is changed for
real, by a time namespace.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.datastore.backends import EtcdBackend, SqliteBackend
from tortie.datastore.api import Put

needs_compiler = pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")

JUMPING_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(void) {
    char text[32] = {0};
    int file = open(getenv("CLOCK_OFFSET"), O_RDONLY);
    if (file < 0) return 0;
    if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
    close(file);
    return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec += offset();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}
"""

JUMPS = """
import asyncio, os, sys, time
from pathlib import Path
from tortie.datastore import open_datastore
from tortie.datastore.api import Put
from tortie.datastore.follow import Changed, Disconnected, InSync, follow

YEARS_S = 10 * 365 * 86400

def jump(seconds):
    before = time.time()
    Path(os.environ["CLOCK_OFFSET"]).write_text(str(seconds))
    assert abs(time.time() - before) > YEARS_S / 2

async def main(url):
    store, writer = open_datastore(url, create=True), open_datastore(url, create=True)
    lease = await writer.lease(30)
    await writer.txn([], [Put("/p/leased", b"", lease)])
    async with asyncio.timeout(30), follow(store, ["/p/"]) as changes:
        async for change in changes:
            if isinstance(change, InSync):
                break
        for number, seconds in enumerate((YEARS_S, -YEARS_S, 0)):
            # One change is on its way while the clock jumps, one call follows.
            waiting = asyncio.ensure_future(anext(changes))
            jump(seconds)
            began = time.monotonic()
            await writer.keep_alive(lease)
            await writer.txn([], [Put("/p/a", b"%d" % number)])
            change = await waiting
            assert isinstance(change, Changed), change
            assert [(event.key, event.value) for event in change.events] == [("/p/a", b"%d" % number)], change
            assert time.monotonic() - began < 5
        assert await store.get("/p/leased") is not None
    await store.close()
    await writer.close()

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture
def jumping_clock(directory: Path) -> dict[str, str]:
    """The environment of a process whose wall clock can jump."""
    library = directory / "clock.so"
    (directory / "clock.c").write_text(JUMPING_CLOCK)
    subprocess.run(["clang", "-shared", "-fPIC", "-O1", "-o", str(library), str(directory / "clock.c")], check=True)
    return os.environ | {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(directory / "offset")}


def check_jumps(environment: dict[str, str], url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", JUMPS, url], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@needs_compiler
def test_over_sqlite(jumping_clock: dict[str, str], directory: Path) -> None:
    check_jumps(jumping_clock, f"sqlite://{directory}/tortie.db")


@needs_compiler
@pytest.mark.etcd
async def test_over_etcd(jumping_clock: dict[str, str], etcd_backend: EtcdBackend) -> None:
    check_jumps(jumping_clock, etcd_backend.url)


GET = """
import asyncio, sys
from pathlib import Path
from tortie.datastore.sqlite import SqliteDatastore

async def main():
    store = SqliteDatastore(Path(sys.argv[1]))
    print(*(item.key for item in (await store.list("/")).items))
    await store.close()

asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="time namespaces need root")
async def test_a_lease_ends_by_the_time_since_boot(sqlite_backend: SqliteBackend) -> None:
    store = sqlite_backend.connect()
    lease = await store.lease(3600)
    await store.txn([], [Put("/leased", b"", lease), Put("/other", b"")])

    def seen_after(seconds: int) -> list[str]:
        command = ["unshare", "--time", "--fork", "--boottime", str(seconds), sys.executable, "-c", GET]
        done = subprocess.run(
            [*command, str(sqlite_backend.path)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    assert seen_after(3000) == ["/leased", "/other"]
    assert seen_after(4000) == ["/other"]
    assert await store.get("/leased") is None
