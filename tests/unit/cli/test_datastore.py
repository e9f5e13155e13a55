"""tortie datastore: what a user sees, gets as a file, and has afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Tortie
from tortie.datastore import open_datastore
from tortie.datastore.api import Put
from tortie.datastore.transfer.content import FILLING, MOVING
from tortie.lab.process import wait_until
from tortie.model.resource import ResourceKey

POOL = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: a}\nspec: {cidr: 10.65.0.0/16}\n"


def content(store: Path) -> dict[str, bytes]:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        return dict(db.execute("select key, value from kv"))


def put(store: Path, key: str, value: bytes) -> None:
    async def write() -> None:
        datastore = open_datastore(f"sqlite://{store}", create=True)
        await datastore.txn([], [Put(key, value)])
        await datastore.close()

    asyncio.run(write())


@pytest.fixture
def filled(tortie: Tortie) -> Tortie:
    """With a pool in the store."""
    assert tortie("apply", "-f", "-", stdin=POOL).code == 0
    return tortie


def guid(tortie: Tortie) -> str:
    return str(tortie.items("clusterinformation")[0]["spec"]["clusterGUID"])


def test_info_says_which_store_and_who_said_so(filled: Tortie) -> None:
    said = filled("datastore", "info")
    assert (said.code, said.stderr) == (0, "")
    assert [
        line.split(maxsplit=1)[1] for line in said.stdout.splitlines() if not line.startswith(("rev", "other"))
    ] == [
        f"sqlite://{filled.store}",
        "by   TORTIE_DATASTORE",
        "yes",
        "1 (this tortie knows up to 1)",
        f"{guid(filled)} (tortie)",
        "ready",
        "5: 1 ClusterInformation, 1 IPPool, 3 Tier",
    ]
    found = json.loads(filled("datastore", "info", "-o", "json").stdout)
    assert (found["namedBy"], found["reachable"], found["format"]) == ("TORTIE_DATASTORE", True, 1)
    assert (found["cluster"], found["objects"]) == (
        guid(filled),
        {"ClusterInformation": 1, "IPPool": 1, "Tier": 3},
    )


def test_info_of_a_file_that_names_it(filled: Tortie) -> None:
    file = filled.write("other.toml", f'datastore = "sqlite://{filled.store}"\n')
    assert f"chosen by   {file}\n" in filled("datastore", "info", "-c", file).stdout


def test_info_of_a_store_that_does_not_answer(tortie: Tortie) -> None:
    said = tortie("datastore", "info")
    assert said.code == 1
    assert f"usable     no: datastore {tortie.store}: {tortie.store} does not exist" in said.stdout
    assert json.loads(tortie("datastore", "info", "-o", "json").stdout)["reachable"] is False
    assert not tortie.store.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("get", "ippools"),
        ("apply", "-f", "pool.yaml"),
        ("delete", "ippool", "a"),
        ("label", "ippool", "a", "x=y"),
        ("datastore", "info"),
        ("datastore", "lock"),
        ("datastore", "check"),
        ("datastore", "export", "file"),
    ],
)
def test_a_store_of_a_newer_format_is_refused_in_one_sentence(filled: Tortie, words: tuple[str, ...]) -> None:
    filled.write("pool.yaml", POOL)
    put(filled.store, "/tortie/v1/format", b'{"format": 2}')
    before = content(filled.store)
    said = filled(*words)
    assert said.code == 1
    assert "has format 2, and this tortie knows formats up to 1: upgrade tortie here" in said.stdout + said.stderr
    assert content(filled.store) == before
    assert not (filled.directory / "file").exists()


@pytest.mark.parametrize("group", [("datastore",), ("datastore", "migrate")])
def test_lock_and_unlock(filled: Tortie, group: tuple[str, ...]) -> None:
    assert filled(*group, "lock") == (0, "Datastore locked.\n", "")
    assert filled.items("clusterinformation")[0]["spec"]["datastoreReady"] is False
    assert "state       locked" in filled("datastore", "info").stdout
    assert filled(*group, "lock").code == 0
    assert filled(*group, "unlock") == (0, "Datastore unlocked.\n", "")
    assert filled.items("clusterinformation")[0]["spec"]["datastoreReady"] is True


def test_there_is_nothing_to_lock_in_an_empty_store(tortie: Tortie) -> None:
    put(tortie.store, "/calico/x", b"")
    said = tortie("datastore", "migrate", "lock")
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr == "resource does not exist: ClusterInformation(default) with error: <nil>\n"


def test_half_a_cluster_is_not_unlocked(filled: Tortie) -> None:
    put(filled.store, FILLING, b'{"cluster": "x"}')
    said = filled("datastore", "unlock")
    assert said.code == 1
    assert "holds only a part of cluster x" in said.stderr
    assert "half filled with cluster x" in filled("datastore", "info").stdout


def test_to_lock_makes_the_lock_of_a_killed_export_the_operators(filled: Tortie) -> None:
    put(filled.store, MOVING, b"{}")
    assert "locked by a copy or export" in filled("datastore", "info").stdout
    filled("datastore", "lock")
    assert MOVING not in content(filled.store)


def test_export_and_import_are_the_same_again(filled: Tortie) -> None:
    before = content(filled.store)
    said = filled("datastore", "export", "cluster.jsonl")
    assert (said.code, said.stderr) == (0, "")
    assert said.stdout.startswith(f"Exported cluster {guid(filled)} from sqlite://{filled.store} to cluster.jsonl: ")
    assert content(filled.store) == before
    file = filled.directory / "cluster.jsonl"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in filled.directory.iterdir() if "jsonl" in each.name] == ["cluster.jsonl"]
    filled.environment["TORTIE_DATASTORE"] = f"sqlite://{filled.directory}/new.db"
    said = filled("datastore", "import", "cluster.jsonl")
    assert (said.code, said.stderr) == (0, "")
    assert f"{len(before)} keys written. Both hold {len(before)} keys" in said.stdout
    assert content(filled.directory / "new.db") == before
    said = filled("datastore", "import", "-", stdin=file.read_bytes())
    assert f"0 keys written, {len(before)} skipped, which were there already" in said.stdout


def test_export_to_standard_output_is_the_file_alone(filled: Tortie) -> None:
    said = filled("datastore", "export", "--no-lock", "-")
    assert said.code == 0
    assert said.stderr.startswith("Exported cluster")
    assert [sorted(json.loads(line)) for line in said.stdout.splitlines()] == [
        ["cluster", "created", "source", "tortieDatastore"],
        *[["key", "value"]] * len(content(filled.store)),
        ["keys", "sha256"],
    ]


def test_what_cannot_be_written_leaves_the_old_file_and_no_lock(filled: Tortie) -> None:
    before = content(filled.store)
    said = filled("datastore", "export", "nowhere/cluster.jsonl")
    assert (said.code, said.stderr) == (1, "Error: nowhere/cluster.jsonl: No such file or directory\n")
    assert content(filled.store) == before


def test_a_damaged_file_is_refused_before_anything_is_written(filled: Tortie) -> None:
    filled("datastore", "export", "cluster.jsonl")
    file = filled.directory / "cluster.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    before = content(filled.store)
    for name in ("cluster.jsonl", "missing"):
        said = filled("datastore", "import", "--replace", name)
        assert said.code == 1
        assert name in said.stderr
    assert content(filled.store) == before


def test_copy_by_url_and_by_configuration(filled: Tortie) -> None:
    here, there = f"sqlite://{filled.store}", f"sqlite://{filled.directory}/new.db"
    said = filled("datastore", "copy", here, there)
    assert (said.code, said.stderr) == (0, "")
    assert content(filled.directory / "new.db") == content(filled.store)
    file = filled.write("new.toml", f'datastore = "{there}"\n')
    assert "0 keys written" in filled("datastore", "copy", file, here).stdout
    said = filled("datastore", "copy", file, there)
    assert (said.code, said.stderr) == (2, f"Error: source and target are one: {there}\n")


def test_copy_of_another_cluster_needs_a_word(filled: Tortie) -> None:
    here = f"sqlite://{filled.store}"
    filled.environment["TORTIE_DATASTORE"] = there = f"sqlite://{filled.directory}/new.db"
    filled("apply", "-f", "-", stdin=POOL)
    before = content(filled.directory / "new.db")
    said = filled("datastore", "copy", here, there)
    assert said.code == 1
    assert "--replace" in said.stderr
    assert content(filled.directory / "new.db") == before
    assert filled("datastore", "copy", "--replace", here, there).code == 0
    assert content(filled.directory / "new.db") == content(filled.store)


def test_a_copy_that_is_interrupted_leaves_the_source_as_it_was(filled: Tortie) -> None:
    before = content(filled.store)
    target = filled.directory / "new.db"
    put(target, "/other", b"")
    command = [sys.executable, "-m", "tortie", "datastore", "copy", f"sqlite://{filled.store}", f"sqlite://{target}"]
    with closing(sqlite3.connect(target, isolation_level=None)) as db:
        db.execute("begin immediate")  # so the copy must wait for its first write
        copying = subprocess.Popen(command, env=os.environ, stderr=subprocess.PIPE, text=True)
        assert asyncio.run(wait_until(lambda: MOVING in content(filled.store), 20))
        copying.send_signal(signal.SIGTERM)
        _, stderr = copying.communicate(timeout=20)
        db.execute("rollback")
    assert (copying.returncode, stderr) == (
        1,
        "Error: interrupted by SIGTERM: the source is as it was before; the same command goes on\n",
    )
    assert content(filled.store) == before
    assert list(content(target)) == ["/other"]


def test_check_says_what_is_wrong_and_ends_with_1(filled: Tortie) -> None:
    assert filled("datastore", "check") == (0, "Check complete; found 0 problems.\n", "")
    filled.put(ResourceKey("BGPPeer", "", "p"), {"metadata": {"name": "p"}, "spec": {"node": "gone", "peerIP": "x"}})
    put(filled.store, "/calico/resources/v3/projectcalico.org/futurekinds/a", b"{}")
    said = filled("datastore", "check")
    assert (said.code, said.stderr) == (1, "")
    assert "BGPPeer(p)  spec.node    names Node(gone), which does not exist\n" in said.stdout
    assert "futurekinds/a" in said.stdout
    assert said.stdout.endswith("Check complete; found 2 problems.\n")
    found = json.loads(filled("datastore", "check", "-o", "json").stdout)
    assert [(each["subject"], each["path"]) for each in found["problems"]] == [
        ("BGPPeer(p)", "spec.node"),
        ("BGPPeer(p)", "spec.peerIP"),
    ]
    assert [each["subject"] for each in found["notices"]] == ["/calico/resources/v3/projectcalico.org/futurekinds/a"]
