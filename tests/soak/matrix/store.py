"""Faults of the datastore."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

from tests.soak.matrix.fault import fault
from tests.soak.matrix.scene import HOSTS, Scene
from tortie.datastore import open_datastore
from tortie.lab import etcd, host

SQLITE, ETCD = ("sqlite",), ("etcd",)
STORE = "store1"


@fault("datastore", "locked by another program for 5 s", stores=SQLITE, lasts_s=5, takes_s=10)
async def locked(scene: Scene) -> AsyncIterator[None]:
    with closing(sqlite3.connect(scene.layout.store, isolation_level=None)) as other:
        other.execute("begin exclusive")
        yield
        other.execute("rollback")


@fault("datastore", "stopped for 5 s", stores=ETCD, lasts_s=5, takes_s=15)
async def stopped(scene: Scene) -> AsyncIterator[None]:
    scene.end(STORE, "etcd", signal.SIGTERM)
    yield
    await etcd.start(scene.lab, scene.layout, STORE)


@fault("datastore", "blackholed for 15 s", stores=ETCD, lasts_s=15, takes_s=30)
async def blackholed(scene: Scene) -> AsyncIterator[None]:
    await scene.run("fabric", f"ip link set p-{STORE} down")
    yield
    await scene.run("fabric", f"ip link set p-{STORE} up")


@fault("datastore", "frozen for 10 s", stores=ETCD, lasts_s=10, takes_s=20)
async def frozen(scene: Scene) -> AsyncIterator[None]:
    pid = scene.process(STORE, "etcd").pid
    os.kill(pid, signal.SIGSTOP)
    yield
    os.kill(pid, signal.SIGCONT)


@fault("datastore", "compacted", stores=ETCD)
async def compacted(scene: Scene) -> AsyncIterator[None]:
    for number in range(3):
        await change(scene, number)
    text = await ctl(scene, "get /nothing -w fields")
    (revision,) = (line.split(":")[1].strip() for line in text.splitlines() if line.startswith('"Revision"'))
    await ctl(scene, f"compact {revision}")
    yield


@fault("datastore", "compacted while an agent does not hear it", stores=ETCD, takes_s=20)
async def compacted_behind(scene: Scene) -> AsyncIterator[None]:
    pid = scene.process("far", "agent").pid
    os.kill(pid, signal.SIGSTOP)
    scene.end(STORE, "etcd", signal.SIGTERM)  # so that the agent has to ask again
    await etcd.start(scene.lab, scene.layout, STORE)
    await change(scene, 4)
    text = await ctl(scene, "get /nothing -w fields")
    (revision,) = (line.split(":")[1].strip() for line in text.splitlines() if line.startswith('"Revision"'))
    await ctl(scene, f"compact {revision}")
    yield
    os.kill(pid, signal.SIGCONT)


@fault("datastore", "replaced by an empty one for 5 s", stores=ETCD, lasts_s=5, takes_s=25)
async def empty_etcd(scene: Scene) -> AsyncIterator[None]:
    directory = scene.layout.member(STORE).directory / "etcd"
    aside = directory.with_name("aside")
    scene.end(STORE, "etcd", signal.SIGTERM)
    directory.rename(aside)
    await etcd.start(scene.lab, scene.layout, STORE)
    yield
    scene.end(STORE, "etcd", signal.SIGTERM)
    shutil.rmtree(directory)
    aside.rename(directory)
    await etcd.start(scene.lab, scene.layout, STORE)


@fault("datastore", "set back to a backup", stores=ETCD, takes_s=25)
async def restored_etcd(scene: Scene) -> AsyncIterator[None]:
    directory, backup = scene.layout.member(STORE).directory / "etcd", scene.disk / "backup"
    backup.unlink(missing_ok=True)
    await ctl(scene, f"snapshot save {backup}")
    await change(scene, 5)
    scene.end(STORE, "etcd", signal.SIGTERM)
    shutil.rmtree(directory)
    addresses = {machine.name: machine.addresses[0] for machine in scene.lab.etcd}
    await scene.run(STORE, " ".join(etcd.restore_command(STORE, directory, addresses, backup)))
    await etcd.start(scene.lab, scene.layout, STORE)
    yield


@fault("datastore", "replaced by an empty one for 5 s", stores=SQLITE, lasts_s=5, takes_s=12)
async def empty_sqlite(scene: Scene) -> AsyncIterator[None]:
    aside = scene.disk / "aside"
    moved(scene.layout.store, aside)
    empty = open_datastore(f"sqlite://{scene.layout.store}", create=True)
    await empty.list("/")
    await empty.close()
    yield
    moved(aside, scene.layout.store)


@fault("datastore", "set back to a backup, and agents restarted", stores=SQLITE, takes_s=15)
async def restored_sqlite(scene: Scene) -> AsyncIterator[None]:
    backup = scene.disk / "backup"
    with closing(sqlite3.connect(scene.layout.store)) as db, closing(sqlite3.connect(backup)) as copy:
        db.backup(copy)
    await change(scene, 5)
    moved(backup, scene.layout.store)
    yield
    # An agent holds the old file and says so: what uses a file that is replaced has to be started again.
    for each in HOSTS:
        scene.end(each, "agent", signal.SIGTERM)
        await host.start_agent(scene.layout, each)


@fault("datastore", "read-only for 5 s, and the agent restarted on it", stores=SQLITE, lasts_s=5, takes_s=15)
async def read_only(scene: Scene) -> AsyncIterator[None]:
    store = scene.layout.store
    scene.end("far", "agent", signal.SIGTERM)
    await scene.run("far", f"mount --bind {store} {store}; mount -o remount,ro,bind {store}")
    await host.start_agent(scene.layout, "far")
    yield
    await scene.run("far", f"umount --lazy {store}")


def moved(source: Path, target: Path) -> None:
    """A database takes another's place, with what belongs to it."""
    for end in ("-wal", "-shm", ""):
        Path(f"{target}{end}").unlink(missing_ok=True)
    for end in ("-wal", "-shm", ""):
        if Path(f"{source}{end}").exists():
            Path(f"{source}{end}").rename(f"{target}{end}")


async def change(scene: Scene, number: int) -> None:
    """Something new in the store, which nobody needs."""
    metadata = {"name": f"change-{number}"}
    spec = {"nets": [f"192.0.2.{number}/32"]}
    kind = {"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet"}
    await scene.apply({**kind, "metadata": metadata, "spec": spec})


async def ctl(scene: Scene, words: str) -> str:
    """What etcdctl says; it is asked where etcd is."""
    address = scene.lab.etcd[0].addresses[0]
    return await scene.run(STORE, f"etcdctl --endpoints {address}:{etcd.CLIENT_PORT} {words}")
