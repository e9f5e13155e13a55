"""The datastore's side of the agent: follows it, feeds the calculation, keeps the local snapshot.

Invariants:
* The calculation holds what the store said last, or the snapshot's state when the store does not answer at the
  start; an outage takes nothing away.
* A policy that is broken goes on as it last was in order (`LastValid`).
* What the snapshot held and the store no longer has goes when the store's own snapshot is complete.
* While ClusterInformation says that the store is locked, updates are taken in and not acted on: somebody may be
  filling it, and half a cluster must not be taken for the whole.
* Of a store that `Admission` refuses nothing is taken, and nothing is written to it.
* A change that was not confirmed in time is out of force (`Unconfirmed`), whatever the store still says; it is so
  before the whole state is first known, and to the moment when the store is as it was before the change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from tortie.agent.admission import Admission
from tortie.agent.decoding import Decoding, Found, Value
from tortie.agent.going_back import GoingBack, now
from tortie.agent.last_valid import LastValid
from tortie.agent.snapshot import Snapshot, SnapshotFile
from tortie.agent.unconfirmed import Unconfirmed
from tortie.calc.firewall import POLICIES
from tortie.calc.graph import Graph
from tortie.datastore import confirmation
from tortie.datastore.api import Datastore, Event
from tortie.datastore.cluster import CLUSTER_INFORMATION
from tortie.datastore.follow import Changed, Disconnected, InSync, follow
from tortie.datastore.guard import Guarded
from tortie.datastore.resources import Resources
from tortie.errors import DatastoreError, ForeignCluster, FormatTooNew
from tortie.intent.report import Noted
from tortie.model import keys
from tortie.model.resource import Resource, ResourceKey
from tortie.status import Waiting

LOG = structlog.get_logger(__name__)

# The format of the store and the records of changes that wait to be confirmed.
OWN_KEYS = "/tortie/v1/"

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
        self._whole = False  # what the store or the snapshot said was decoded once
        self._revision = 0  # that the store told of last
        self._datastore = datastore
        self._graph = graph
        self._file = file
        self._admission = admission
        self._wake = wake
        self._items: dict[str, bytes] = {}
        self._last_valid = LastValid(file.policies)
        self._untold: set[str] = set()  # keys of items that the store has not told yet, or not again
        self._decoding = Decoding(self._take_decoded, self._tell_of_news)
        self._unconfirmed = Unconfirmed()
        self._going_back = GoingBack(
            Guarded(datastore, self.check),
            self._unconfirmed,
            self._expire,
            lambda: self.connected and not self.locked,
            wake,
        )
        self._unsaved = asyncio.Event()
        self._incomplete = asyncio.Event()

    @property
    def known(self) -> bool:
        """The whole state is known, from the store or from the snapshot: the kernel may be compared with it."""
        return self._whole

    @property
    def revision(self) -> int:
        """Up to which all that the store told is in the calculation."""
        oldest = self._decoding.oldest_revision
        return self._revision if oldest is None else min(self._revision, oldest - 1)

    @property
    def confirmations(self) -> tuple[Waiting, ...]:
        """The changes that wait to be confirmed."""
        return self._unconfirmed.waiting

    @property
    def problems(self) -> tuple[Noted, ...]:
        """What is wrong with them."""
        return (*self._unconfirmed.problems, *self._going_back.problems)

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
            tasks.create_task(self._decoding.run())
            tasks.create_task(self._going_back.run())
            while True:
                try:
                    await self._follow()
                except (ForeignCluster, FormatTooNew) as error:
                    self._refuse(error)
                await self._wait_for_admission()

    async def _follow(self) -> None:
        """Takes what the store says; ends with the error of a store that is refused."""
        self._untold = set(self._items)
        async with follow(self._datastore, [keys.RESOURCES, OWN_KEYS], self._admission.judge) as changes:
            async for change in changes:
                self._take(change)
                self._tell_of_news()

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
                    if event.value is None and not self.connected and event.key.startswith(confirmation.PREFIX):
                        self._untold.add(event.key)  # to be taken when all is told, what it was about included
                        continue
                    self._untold.discard(event.key)
                    self._update(event)
                if self.in_sync and not self.locked:
                    self._unsaved.set()
            case InSync():
                for key in sorted(self._untold):  # records after objects
                    self._update(Event(key, None, self._revision))
                self._untold.clear()
                self._enforce(self._unconfirmed.all_told())
                self.connected, self.in_sync, self.from_snapshot, self.problem = True, True, False, ""
                self._going_back.look_again()
                if not self.locked:
                    self._unsaved.set()
                    self._incomplete.set()
            case Disconnected(error):
                self.connected, self.problem = False, str(error)
                LOG.warning("datastore does not answer: the last known state stays in force", reason=str(error))
                self._use_snapshot()

    def _update(self, event: Event) -> None:
        self._revision = max(self._revision, event.revision)
        if event.key.startswith(confirmation.PREFIX):
            self._update_record(event)
        elif (key := keys.from_path(event.key)) is not None:
            before = self._remember(event)
            self._unconfirmed.told(event.key)
            self._put_in_force(key, event.key, event.revision, before)

    def _update_record(self, event: Event) -> None:
        self._remember(event)
        if event.value is None:
            self._enforce(self._unconfirmed.end(event.key, self._items))
        else:
            self._unconfirmed.take(event.key, event.value, now(), just_written=self.connected)
        self._going_back.look_again()

    def _remember(self, event: Event) -> bytes | None:
        """Notes what the store says of a key; returns what it said until now."""
        before = self._items.pop(event.key, None)
        if event.value is not None:
            self._items[event.key] = event.value
        return before

    def _enforce(self, paths: Iterable[str]) -> None:
        """Looks again at what is in force of objects that a change wrote."""
        for path in paths:
            if (key := keys.from_path(path)) is not None:
                self._put_in_force(key, path, self._revision, None)

    def _put_in_force(self, key: ResourceKey, path: str, revision: int, before: bytes | None) -> None:
        """`before` is what the store said until now."""
        value = self._unconfirmed.in_force(path, self._items.get(path))
        if value is None:
            self._decoding.forget(path)
            self._last_valid.forget(path)
            self._graph.update(key, None)
        else:
            self._decoding.put(Value(key, path, value, revision, before))

    def _take_decoded(self, decoded: Value, found: Found) -> None:
        key, path, value, _, before = decoded
        if isinstance(found, Resource):
            # What may have to be gone back to is not forgotten.
            if not self._unconfirmed.wrote(path, value):
                self._last_valid.forget(path)
        elif key.kind in POLICIES:
            last = None if self._unconfirmed.wrote(path, before) else before
            if (valid := self._last_valid.of_broken(path, key, last)) is not None:
                self._graph.update(key, valid)
        self._graph.update(key, found)
        if key == CLUSTER_INFORMATION and isinstance(found, Resource):
            self._note_lock(found)

    def _tell_of_news(self) -> None:
        self._look_whether_known()
        self._expire()
        self._wake()

    def _look_whether_known(self) -> None:
        self._whole |= (self.in_sync or self.from_snapshot) and self._decoding.oldest_revision is None

    def _expire(self) -> bool:
        """Takes out of force what nobody confirmed in time; False: the state is not known yet."""
        if not self.known:
            return False
        for overdue in self._unconfirmed.expire(now().seconds, self._items):
            LOG.warning(
                "going back from a change that is not confirmed",
                confirmation=overdue.name,
                objects=len(overdue.objects),
                kept=", ".join(str(keys.from_path(path) or path) for path in overdue.kept) or "none",
            )
            self._enforce(overdue.objects)
            self._going_back.look_again()
            self._wake()
        return True

    def _note_lock(self, information: Resource[Any]) -> None:
        # Absent is not locked: an agent initialises a store that nobody has initialised.
        self.locked = information.spec.datastore_ready is False
        self._going_back.look_again()
        if self.in_sync and not self.locked:
            self._incomplete.set()

    async def _lose_patience(self) -> None:
        await asyncio.sleep(PATIENCE_S)
        if not self.known:
            self._use_snapshot()
            self._wake()

    def _use_snapshot(self) -> None:
        if self.in_sync or self.from_snapshot:
            return
        snapshot = self._file.read(self._datastore.url)
        if snapshot is None:
            return
        for key, value in snapshot.items.items():
            # What the store has already said is newer.
            if key not in self._items:
                self._update(Event(key, value, snapshot.revision))
                self._untold.add(key)
        self.from_snapshot = True
        self._look_whether_known()
        self._expire()
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
            revision=self._revision,
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
