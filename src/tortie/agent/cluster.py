"""The datastore's side of the agent: follows it, feeds the calculation, keeps the local snapshot.

Invariants:
* The calculation holds what the store said last, or the snapshot's state when the store does not answer at the
  start; an outage takes nothing away.
* A policy that is broken goes on as it last was in order (`LastValid`).
* What the snapshot held and the store no longer has goes when the store's own snapshot is complete.
* While ClusterInformation says that the store is locked, updates are taken in and not acted on: somebody may be
  filling it, and half a cluster must not be taken for the whole.
* Of a store that `Admission` refuses nothing is taken, and nothing is written to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from tortie.agent.admission import Admission
from tortie.agent.last_valid import LastValid
from tortie.agent.snapshot import Snapshot, SnapshotFile
from tortie.calc.firewall import POLICIES
from tortie.calc.graph import Graph
from tortie.datastore import format
from tortie.datastore.api import Datastore, Event
from tortie.datastore.cluster import CLUSTER_INFORMATION
from tortie.datastore.follow import Changed, Disconnected, InSync, follow
from tortie.datastore.guard import Guarded
from tortie.datastore.resources import Resources
from tortie.errors import DatastoreError, ForeignCluster, FormatTooNew
from tortie.model import keys
from tortie.model.decode import from_store
from tortie.model.resource import Resource

LOG = structlog.get_logger(__name__)

# How long a start waits for the datastore before the local snapshot serves.
PATIENCE_S = 2.0
# How often a store that was refused is looked at again.
LOOK_AGAIN_S = 1.0
# The snapshot is written at most this often, and never for more than a twentieth of the time.
SNAPSHOT_INTERVAL_S = 1.0
SNAPSHOT_SHARE = 20


class Cluster:
    """What is known of the cluster, and how current it is."""

    def __init__(
        self, datastore: Datastore, graph: Graph, file: SnapshotFile, admission: Admission, wake: Callable[[], None]
    ) -> None:
        self.connected = False
        self.in_sync = False
        self.from_snapshot = False
        self.locked = False
        self.problem = ""
        self.revision = 0
        self._datastore = datastore
        self._graph = graph
        self._file = file
        self._admission = admission
        self._wake = wake
        self._items: dict[str, bytes] = {}
        self._last_valid = LastValid(file.policies)
        self._unconfirmed: set[str] = set()  # keys of items that the store has not said yet, or not again
        self._unsaved = asyncio.Event()
        self._incomplete = asyncio.Event()

    @property
    def known(self) -> bool:
        """The whole state is known, from the store or from the snapshot: the kernel may be compared with it."""
        return self.in_sync or self.from_snapshot

    async def check(self) -> None:
        """Raises ForeignCluster or FormatTooNew when the store is not this host's to use, and what the store raises."""
        if self._admission.refusal is not None:
            raise self._admission.refusal
        if not self.connected:  # it may be another store by now
            await self._admission.look(self._datastore)

    async def run(self) -> None:
        """Follows the store for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._save_when_changed())
            tasks.create_task(self._lose_patience())
            tasks.create_task(self._initialise())
            while True:
                try:
                    await self._follow()
                except (ForeignCluster, FormatTooNew) as error:
                    self._refuse(error)
                await self._wait_for_admission()

    async def _follow(self) -> None:
        """Takes what the store says; ends with the error of a store that is refused."""
        self._unconfirmed = set(self._items)
        async with follow(self._datastore, [keys.RESOURCES, format.KEY], self._admission.judge) as changes:
            async for change in changes:
                self._take(change)
                self._wake()

    async def _wait_for_admission(self) -> None:
        """Returns when the store is one to follow, or answers no more."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            try:
                await self._admission.look(self._datastore)
            except (ForeignCluster, FormatTooNew) as error:
                self._refuse(error)
            except DatastoreError as error:
                self.problem = str(error)
                self._wake()
            else:
                return

    def _refuse(self, error: DatastoreError) -> None:
        if str(error) != self.problem:
            LOG.warning("datastore is refused: the last known state stays in force", reason=str(error))
        self.connected, self.problem = False, str(error)
        self._use_snapshot()
        self._wake()

    def _take(self, change: Changed | InSync | Disconnected) -> None:
        match change:
            case Changed(events):
                for event in events:
                    self._unconfirmed.discard(event.key)
                    self._update(event)
                if self.in_sync and not self.locked:
                    self._unsaved.set()
            case InSync():
                for key in self._unconfirmed:
                    self._update(Event(key, None, self.revision))
                self._unconfirmed.clear()
                self.connected, self.in_sync, self.from_snapshot, self.problem = True, True, False, ""
                if not self.locked:
                    self._unsaved.set()
                    self._incomplete.set()
            case Disconnected(error):
                self.connected, self.problem = False, str(error)
                LOG.warning("datastore does not answer: the last known state stays in force", reason=str(error))
                self._use_snapshot()

    def _update(self, event: Event) -> None:
        self.revision = max(self.revision, event.revision)
        key = keys.from_path(event.key)
        if key is None:
            return
        before = self._items.pop(event.key, None)
        if event.value is None:
            self._last_valid.forget(event.key)
            self._graph.update(key, None)
        else:
            self._items[event.key] = event.value
            value = from_store(key, event.value, event.revision)
            if isinstance(value, Resource):
                self._last_valid.forget(event.key)
            elif key.kind in POLICIES and (valid := self._last_valid.of_broken(event.key, key, before)) is not None:
                self._graph.update(key, valid)
            self._graph.update(key, value)
            if key == CLUSTER_INFORMATION and isinstance(value, Resource):
                self._note_lock(value)

    def _note_lock(self, information: Resource[Any]) -> None:
        # Absent is not locked: an agent initialises a store that nobody has initialised.
        self.locked = information.spec.datastore_ready is False
        if self.in_sync and not self.locked:
            self._incomplete.set()

    async def _lose_patience(self) -> None:
        await asyncio.sleep(PATIENCE_S)
        if not self.known:
            self._use_snapshot()
            self._wake()

    def _use_snapshot(self) -> None:
        if self.known:
            return
        snapshot = self._file.read(self._datastore.url)
        if snapshot is None:
            return
        for key, value in snapshot.items.items():
            # What the store has already said is newer.
            if key not in self._items:
                self._update(Event(key, value, snapshot.revision))
                self._unconfirmed.add(key)
        self.from_snapshot = True
        LOG.warning("the local snapshot is in force until the datastore answers", revision=snapshot.revision)

    async def _initialise(self) -> None:
        """A store that is new gets what every Calico tool expects to find; retried until it answers.

        Not while it is locked: whoever fills it wants to find there what he wrote.
        """
        pause_s = 0.5
        while True:
            await self._incomplete.wait()
            self._incomplete.clear()
            try:
                await Resources(Guarded(self._datastore, self.check)).ensure_initialised(self._admission.cluster)
                pause_s = 0.5
            except DatastoreError as error:
                LOG.info("datastore is not initialised yet", reason=str(error))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, 30.0)
                self._incomplete.set()

    async def _save_when_changed(self) -> None:
        clock = asyncio.get_running_loop().time
        try:
            while True:
                await self._unsaved.wait()
                began = clock()
                await self._save()
                await asyncio.sleep(max(SNAPSHOT_INTERVAL_S, SNAPSHOT_SHARE * (clock() - began)))
        finally:
            # An agent that is stopped may find the store silent when it starts again.
            if self._unsaved.is_set():
                await self._save()

    async def _save(self) -> None:
        """Is not left while the file is being written: two writers would spoil it."""
        self._unsaved.clear()
        snapshot = Snapshot(
            datastore=self._datastore.url,
            revision=self.revision,
            items=dict(self._items),
            last_valid=dict(self._last_valid.kept),
        )
        writing = asyncio.create_task(asyncio.to_thread(self._file.write, snapshot))
        try:
            await _to_its_end(writing)
            self._admission.remembered(snapshot.cluster)
        except OSError as error:
            LOG.warning("local snapshot cannot be written", reason=str(error))
            self._unsaved.set()


async def _to_its_end(task: asyncio.Task[None]) -> None:
    """Waits for a task that is not to be cancelled; a cancellation of the waiting comes after its end."""
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        task.exception()  # nobody is left to be told of it
        raise
