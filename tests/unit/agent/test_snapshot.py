"""The local snapshot: what is written is read, and what is damaged is no state and no failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from tortie.agent.snapshot import FORMAT, Snapshot, SnapshotFile

STORE = "sqlite:///store.db"
SAVED = Snapshot(datastore=STORE, revision=7, items={"/calico/a": b"\xff{}", "/calico/b": b""})


@pytest.fixture
def file(tmp_path: Path) -> SnapshotFile:
    return SnapshotFile(tmp_path / "deep" / "snapshot.json")


def test_what_was_written_is_read(file: SnapshotFile, tmp_path: Path) -> None:
    file.write(SAVED)
    assert file.read(STORE) == SAVED
    assert [each.name for each in (tmp_path / "deep").iterdir()] == ["snapshot.json"]
    assert (tmp_path / "deep" / "snapshot.json").stat().st_mode & 0o777 == 0o600


def test_of_another_store_or_none_at_all_is_no_state(file: SnapshotFile) -> None:
    assert file.read(STORE) is None
    file.write(SAVED)
    assert file.read("sqlite:///other.db") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\x00\xff",
        b"[]",
        b'{"datastore": "sqlite:///store.db", "revision": "x", "items": {}}',
        b'{"format": %d, "datastore": "sqlite:///store.db", "revision": 1, "items": {}}' % (FORMAT + 1),
    ],
)
def test_damaged_or_newer_is_no_state(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "snapshot.json"
    path.write_bytes(content)
    assert SnapshotFile(path).read(STORE) is None
