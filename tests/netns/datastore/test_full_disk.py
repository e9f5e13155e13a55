"""A disk without space, or one that may only be read: a sentence, what was answered is there, and it passes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.netns.datastore.small import run_on

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")

STORE = """
import asyncio, sqlite3, sys
from pathlib import Path
from tortie.datastore.api import Put
from tortie.datastore.sqlite import SqliteDatastore
from tortie.errors import Unavailable

path = Path(sys.argv[1], "tortie.db")

async def main():
    store, reader = SqliteDatastore(path, create=True), SqliteDatastore(path)
    await store.txn([], [Put("/before", b"1")])
    ballast = path.with_name("ballast")
    ballast.write_bytes(bytes(1 << 20))
    written, error = {}, None
    while error is None:
        key = f"/p/{len(written):04}"
        try:
            written[key] = (await store.txn([], [Put(key, bytes(10_000)), Put(key + "/pair", b"")])).revision
        except Unavailable as full:
            error = full
    print(error)
    # Nothing of the write that failed is there, all others are, and reading goes on.
    for each in (store, reader):
        found = {item.key: item.revision for item in (await each.list("/p/")).items}
        assert found == {name: r for key, r in written.items() for name in (key, key + "/pair")}, found
    ballast.unlink()
    assert (await store.txn([], [Put("/after", bytes(10_000))])).revision == max(written.values()) + 1
    batch = await anext(reader.watch("/", 2))
    assert len(batch.events) == 2 + 2 * len(written), len(batch.events)
    await store.close()
    await reader.close()
    with sqlite3.connect(path) as db:
        assert db.execute("pragma integrity_check").fetchall() == [("ok",)]

asyncio.run(main())
"""

SNAPSHOT = """
import sys
from pathlib import Path
from tortie.agent.snapshot import Snapshot, SnapshotFile

file = SnapshotFile(Path(sys.argv[1], "snapshot.json"))
small = Snapshot(datastore="sqlite:///s", revision=7, items={"/a": b"1"})
large = Snapshot(datastore="sqlite:///s", revision=8, items={f"/{n}": bytes(1000) for n in range(5000)})
file.write(small)
for _ in range(3):
    try:
        file.write(large)
    except OSError as error:
        print(error)
    assert file.read("sqlite:///s") == small
    # What does not fit must not keep the place from others either.
    assert [each.name for each in Path(sys.argv[1]).iterdir()] == ["snapshot.json"]
file.write(small)
"""

COMMANDS = """
export TORTIE_DATASTORE=sqlite://$2/store.db TORTIE_NODE=node-1
"$1" -m tortie apply -f "$3/first.yaml"
dd if=/dev/zero of="$2/ballast" 2>/dev/null || true
"$1" -m tortie apply -f "$3/many.yaml" && exit 9
rm "$2/ballast"
"$1" -m tortie apply -f "$3/many.yaml"
"""

READ_ONLY = """
export TORTIE_DATASTORE=sqlite://$2/store.db TORTIE_NODE=node-1
"$1" -m tortie apply -f "$3/first.yaml"
mount -o remount,ro "$2"
"$1" -m tortie get profile && exit 9
"$1" -m tortie apply -f "$3/many.yaml" && exit 9
mount -o remount,rw "$2"
"$1" -m tortie apply -f "$3/many.yaml"
"""

PROFILE = """\
apiVersion: projectcalico.org/v3
kind: Profile
metadata: {name: profile-%d}
spec: {labelsToApply: {%s}}
"""
LABELS = ", ".join(f"label-{n}: some-value-{n}" for n in range(200))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "first.yaml").write_text(PROFILE % (0, LABELS))
    (tmp_path / "many.yaml").write_text("---\n".join(PROFILE % (number, LABELS) for number in range(200)))
    return tmp_path


def test_a_store_on_a_full_disk(tmp_path: Path) -> None:
    done = run_on(tmp_path / "mnt", "4m", sys.executable, "-c", STORE, str(tmp_path / "mnt"))
    assert done.returncode == 0, done.stderr
    path = tmp_path / "mnt" / "tortie.db"
    assert done.stdout == f"datastore {path}: the disk is full, nothing was written: free some space\n"


def test_a_snapshot_on_a_full_disk_leaves_the_one_before(tmp_path: Path) -> None:
    done = run_on(tmp_path / "mnt", "1m", sys.executable, "-c", SNAPSHOT, str(tmp_path / "mnt"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("No space left on device") == 3


def test_commands_on_a_full_disk(files: Path) -> None:
    mount_point = files / "mnt"
    done = run_on(mount_point, "20m", "sh", "-c", COMMANDS, "sh", sys.executable, str(mount_point), str(files))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert f"datastore {mount_point}/store.db: the disk is full, nothing was written: free some space" in done.stderr


def test_commands_on_a_disk_that_may_only_be_read(files: Path) -> None:
    mount_point = files / "mnt"
    done = run_on(mount_point, "20m", "sh", "-c", READ_ONLY, "sh", sys.executable, str(mount_point), str(files))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    sentence = f"datastore {mount_point}/store.db: its file system is mounted read-only"
    assert done.stderr.count(sentence) == 2, done.stderr
