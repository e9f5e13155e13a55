"""Writers of one SQLite file are killed at any moment, again and again: it opens, and nothing in it is half written.

The seed of the moments is printed; `TORTIE_SOAK_SEED=n` repeats them, as far as a moment can be repeated.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import sqlite3
import subprocess
import sys
from collections import defaultdict
from contextlib import aclosing, closing
from pathlib import Path

import pytest

from tortie.datastore.sqlite import SqliteDatastore

ROUNDS = 100
WRITERS = 3
LONGEST_S = 0.05
SEED = int(os.environ.get("TORTIE_SOAK_SEED") or secrets.randbelow(2**32))

# Each transaction writes one number into three keys of the writer, and a key that only grows; every tenth is large, so
# that the log is copied into the file time and again. What is confirmed is told.
WRITER = """
import asyncio, sys
from pathlib import Path
from tortie.datastore.api import Delete, Put
from tortie.datastore.sqlite import SqliteDatastore

async def main(path, name, number):
    store = SqliteDatastore(Path(path), create=True)
    await store.get("/")
    print("ready", flush=True)
    async def write(lane):
        value = number
        while True:
            value += 1
            size = 20_000 if value % 10 == 0 else 100
            puts = [Put(f"/w/{name}/{lane}/{key}", b"%d " % value + bytes(size)) for key in "abc"]
            gone = Delete(f"/w/{name}/{lane}/mark/{value - 1}")
            await store.txn([], [*puts, Put(f"/w/{name}/{lane}/mark/{value}", b""), gone])
            print(lane, value, flush=True)
    await asyncio.gather(*(write(lane) for lane in range(4)))

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@pytest.mark.timeout(600)
def test_what_was_confirmed_is_there_and_nothing_by_half(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{ROUNDS} rounds, TORTIE_SOAK_SEED={SEED}")
    chance, path = random.Random(SEED), tmp_path / "tortie.db"
    for number in range(ROUNDS):
        confirmed = write_and_die(path, number * 1_000_000, chance)
        asyncio.run(check(path, confirmed))


def write_and_die(path: Path, number: int, chance: random.Random) -> dict[str, int]:
    """What each lane of each writer was told to be written before all were killed, at moments of their own."""
    names = [f"w{each}" for each in range(WRITERS)]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, name, str(number)], stdout=subprocess.PIPE, text=True)
        for name in names
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in random.Random(chance.random()).sample(writers, WRITERS):
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(chance.uniform(0, LONGEST_S))
        writer.kill()
    confirmed: dict[str, int] = {}
    for name, writer in zip(names, writers, strict=True):
        said, _ = writer.communicate()
        # The last line may itself have been cut off.
        for lane, value in (line.split() for line in said.splitlines(keepends=True) if line.endswith("\n")):
            confirmed[f"/w/{name}/{lane}"] = int(value)
    return confirmed


async def check(path: Path, confirmed: dict[str, int]) -> None:
    store = SqliteDatastore(path)
    listing = await store.list("/w/")
    numbers: dict[str, set[int]] = defaultdict(set)
    for item in listing.items:
        lane, _, rest = item.key.rpartition("/")
        if lane.endswith("/mark"):
            numbers[lane.removesuffix("/mark")].add(int(rest))
        else:
            numbers[lane].add(int(item.value.split(b" ", 1)[0]))
    for lane, value in confirmed.items():
        (found,) = {number for number in numbers[lane] if number >= value - value % 1_000_000}
        assert value <= found <= value + 1, (lane, value, found)

    # The log says how the store came to what it holds.
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("pragma integrity_check").fetchall() == [("ok",)]
        (compacted,) = db.execute("select compacted from store").fetchone()
        wrong = db.execute(
            "select key from kv where revision > ? and not exists "
            "(select 1 from log where log.revision = kv.revision and log.key = kv.key and log.value = kv.value)",
            (compacted,),
        )
        assert wrong.fetchall() == []
    async with asyncio.timeout(10), aclosing(store.watch("/w/", listing.revision + 1)) as watch:
        assert (await anext(watch)).revision == listing.revision
    await store.close()
