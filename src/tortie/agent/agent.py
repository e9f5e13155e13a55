"""One node's agent: the datastore's stream, the kernel's events and the sinks, joined by one loop.

Start-up is recovery: the first pass after the whole state is known reads the kernel back, compares, and writes
the difference; there is no other start, restart or repair. Stopping writes nothing at all.

Invariants:
* Nothing is written before the whole state is known (`Cluster.known`) and was taken once: while the cluster is
  locked, an agent that starts has no wishes, which is not the wish for nothing.
* One order of apply: policy, l3, BGP, then what is reported; within a sink withdrawals go first. An endpoint is routed
  when its policy is in force, and at a start no route is touched before policy is.
* No step holds the loop long: a sink writes a bounded number of rows per pass.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import msgspec
import structlog

from tortie import __version__, bgp
from tortie.agent.admission import Admission
from tortie.agent.api import Api
from tortie.agent.attaching import AttachView
from tortie.agent.bird_routes import BirdRoutes
from tortie.agent.cluster import Cluster
from tortie.agent.counting import Counting
from tortie.agent.draining import Draining
from tortie.agent.enforcement import Enforcement
from tortie.agent.guests import Guests
from tortie.agent.journal import Journal
from tortie.agent.noticeboard import Noticeboard
from tortie.agent.packets import PacketLog
from tortie.agent.repairs import RepairLog
from tortie.agent.reporter import Reporter
from tortie.agent.routing import Routing
from tortie.agent.routing_daemon import RoutingDaemon
from tortie.agent.servers import servers_of
from tortie.agent.snapshot import SnapshotFile
from tortie.agent.uplink import Uplink
from tortie.agent.vitals import Measurements
from tortie.attach import AttachService
from tortie.bootstrap import Bootstrap
from tortie.calc.graph import Graph
from tortie.dataplane import l3
from tortie.datastore import open_datastore
from tortie.datastore.guard import Guarded
from tortie.datastore.resources import Resources
from tortie.errors import KernelError, Problem
from tortie.intent.report import EndpointReport, Noted
from tortie.intent.settings import Settings
from tortie.kernel.netlink.monitor import Monitor, Overflow
from tortie.kernel.netlink.socket import NetlinkSocket
from tortie.model.resource import ResourceKey
from tortie.status import Board

LOG = structlog.get_logger(__name__)

LOCKED = Noted(
    subject="ClusterInformation(default)", reason="datastoreReady is false, so the cluster is locked: changes wait"
)

EVENTS_PER_WAKE_UP = 100  # some 50 us each, when every one makes an endpoint render again
ENDPOINTS_PER_STEP = 100  # some 30 us each
MEMBERS_PER_STEP = 500  # of sets; some 10 us each
RETRY_RESYNC_S = 1.0


class Agent:
    """Everything one node runs; `run` never returns but by cancellation or a fault that a restart may mend."""

    def __init__(self, settings: Bootstrap, warnings: tuple[str, ...], journal: Journal) -> None:
        self._journal = journal
        self._bootstrap = settings
        self._warnings = tuple(Noted(subject="configuration", reason=warning) for warning in warnings)
        self._settings = Settings()
        self._quarantined: Mapping[ResourceKey, tuple[Problem, ...]] = {}
        self._wake = asyncio.Event()
        state_dir = Path(settings.state_dir)
        snapshot = SnapshotFile(state_dir / "snapshot.json")
        cluster, access = snapshot.cluster(), settings.access
        # A host that belongs to a cluster needs the store that holds it, and no new one.
        self._datastore = open_datastore(access.url, create=not cluster, credentials=access.credentials)
        self._graph = Graph(settings.node, servers_of(access.url))
        admission = Admission(cluster, settings.accepted_cluster, self._datastore.url)
        self._cluster = Cluster(self._datastore, self._graph, snapshot, admission, self._wake.set)
        self._netlink = NetlinkSocket()
        # Before the first read-back, so that no change falls between the two.
        self._monitor = Monitor()
        wake = partial(asyncio.get_running_loop().call_soon_threadsafe, self._wake.set)
        self._policy = Enforcement(self._netlink, wake, settings.xtables_lock, state_dir)
        self._packets = PacketLog(self._policy.listen)
        made = l3.make(self._netlink, Path(settings.bpffs), state_dir)
        self._l3, self._close_l3 = made.sink, made.close
        self._routing = Routing(self._policy, self._l3)
        self._uplink = Uplink(settings.node, self._l3.facts)
        self._repairs = RepairLog()
        self._guests = Guests(self._l3.governing, self._wake.set)
        bird_config = Path(settings.bird_config)
        bird_config.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        bgp.write_initial(bird_config, included=settings.bird_included)
        bird = bgp.Host(settings.bird_kernel_metric, settings.bird_included)
        self._loop_time = asyncio.get_running_loop().time
        self._measured = Measurements(self._loop_time())
        self._counting = Counting(settings.node, self._policy)
        sink = bgp.make(bird_config, Path(settings.bird_socket), bird)
        self._bird_routes = BirdRoutes(sink)
        self._bird = RoutingDaemon(
            sink,
            settings.drained,
            self._wake.set,
            lambda: self._measured.end("bgp", self._loop_time()),
        )
        self._noticeboard = Noticeboard(
            Board(node=settings.node, version=__version__, datastore=self._datastore.url, responder=made.responder)
        )
        self._resync_at = 0.0  # loop time of the next full read-back; 0: at once
        self._resync_cause = "start"
        self._taken = False  # the cluster's state was taken once
        self._passed = False  # a whole pass is done: the board tells of everything
        self._revision = 0  # whose changes the last pass took
        self._enforced_revision = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        datastore = Guarded(self._datastore, self._cluster.check)
        drained = self._bootstrap.drained
        view = AttachView(self._graph, self._cluster, self._noticeboard, drained, self._uplink)
        attach = AttachService(self._bootstrap.node, Resources(datastore), view)
        draining = Draining(drained, self._bird, self._noticeboard)
        api = Api(self._noticeboard, self._board, attach, self._packets, self._counting, self._lacking, draining)
        reporter = Reporter(self._bootstrap.node, datastore, self._noticeboard, lambda: self._settings)
        # What was imported stays: the collections of the start need not walk it.
        gc.freeze()
        try:
            await api.start(self._bootstrap.api_socket)
            loop.add_reader(self._monitor.fileno(), self._read_events)
            self._packets.start()
            async with asyncio.TaskGroup() as tasks:
                for stage in (
                    self._cluster.run,
                    self._apply,
                    self._policy.run,
                    self._guests.run,
                    self._bird.run,
                    self._bird_routes.run,
                    self._uplink.run,
                    reporter.run,
                    self._measured.watch_loop,
                ):
                    tasks.create_task(stage(), name=stage.__qualname__)
        finally:
            loop.remove_reader(self._monitor.fileno())
            await api.stop()
            self._monitor.close()
            self._packets.close()
            self._policy.close()
            self._close_l3()
            self._netlink.close()
            await self._datastore.close()

    def _read_events(self) -> None:
        for event in self._monitor.read(EVENTS_PER_WAKE_UP):
            if isinstance(event, Overflow):
                LOG.warning("the kernel dropped events: reading everything back")
                self._resync_at, self._resync_cause = 0.0, "lost-events"
            else:
                self._l3.observe(event)
                self._guests.observe(event)
                self._bird_routes.observe(event)
        self._wake.set()

    async def _apply(self) -> None:
        heap_is_frozen = False
        while True:
            self._wake.clear()
            self._taken |= self._cluster.known and not self._cluster.locked
            more = await self._pass() if self._taken else False
            self._post()
            if more:
                await asyncio.sleep(0)
                continue
            if self._passed and not heap_is_frozen:
                # What is there now mostly stays: later collections need not walk it (29 ms, measured). No collection
                # before it: that one would hold the loop for a tenth of a second to free next to nothing.
                gc.freeze()
                heap_is_frozen = True
            try:
                async with asyncio.timeout_at(self._next_pass_at()):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _pass(self) -> bool:
        """One pass in the written order; True when more is due at once."""
        now = self._loop_time()
        self._revision = self._cluster.revision
        # Wishes before the read-back: it asks for the settings of just the interfaces that are wanted. At the start all
        # of them: what is in force and not wanted goes. Later of large sets as many members as were written before.
        while not self._cluster.locked and self._policy.takes:
            self._take_changes(MEMBERS_PER_STEP if self._policy.keeps_up or not self._passed else 0)
            if not (self._graph.pending or (self._graph.filling and not self._passed)):
                break
            await asyncio.sleep(0)
        if not (self._l3.facts.known or await self._look(now)):
            return False
        self._policy.see(self._l3.facts)
        self._l3.close(self._policy.uncovered, now)
        if self._policy.apply(now):
            return True
        if self._policy.in_force and not self._graph.filling:
            self._measured.end("policy", self._loop_time())
        if not (self._passed or self._policy.settled):
            return False
        self._routing.hand_over(at_start=not self._passed)
        if now >= self._resync_at:
            # Set first: an overflow between the steps asks for another read-back, and must not be forgotten.
            self._resync_at = now + self._settings.audit_interval_s
            self._measured.resynced(self._resync_cause)
            self._measured.begin("resync", now)
            self._resync_cause = "interval"
            if self._passed:
                self._policy.resync()
            try:
                # What is queued is older than the read-back, and would be taken for news after it.
                while self._monitor.read(EVENTS_PER_WAKE_UP):
                    pass
                for _ in self._l3.resync():
                    await asyncio.sleep(0)
            except KernelError as error:
                LOG.warning("the kernel cannot be read back: trying again", reason=str(error))
                self._resync_at, self._resync_cause = now + RETRY_RESYNC_S, "retry"
                return False
            self._guests.look(self._l3.facts.links())
            self._measured.end("resync", self._loop_time())
        if self._l3.apply(now) or self._policy.cut(now):
            return True
        self._passed = True
        self._uplink.look()
        if self._l3.in_sync and not self._routing.waits:
            self._measured.end("routes", self._loop_time())
        if self._graph.filling and not self._cluster.locked:
            return self._policy.keeps_up
        if self._policy.enforced and not self._cluster.locked:
            self._enforced_revision = self._revision
            self._measured.end("enforced", self._loop_time())
        return False

    async def _look(self, now: float) -> bool:
        """Learns which interfaces there are, before any is closed: some are the host's own."""
        try:
            for _ in self._l3.facts.resync():
                await asyncio.sleep(0)
        except KernelError as error:
            LOG.warning("the kernel cannot be read: trying again", reason=str(error))
            self._resync_at = now + RETRY_RESYNC_S
            return False
        return True

    def _take_changes(self, members: int) -> None:
        changes = self._graph.flush(ENDPOINTS_PER_STEP, members)
        now = self._loop_time()
        if changes.endpoints:
            self._measured.begin("routes", now)
        self._routing.take(changes.endpoints)
        self._uplink.take(changes.endpoints)
        if changes.policy is not None:
            self._measured.begin("policy", now)
            self._measured.begin("enforced", now)
            self._policy.take(changes.policy)
            if self._graph.filling:
                # Members mostly stay: a collection that walks all of them holds the loop for 0.1 s and more. What is
                # young is collected before: garbage that is frozen is garbage for ever.
                gc.collect(1)
                gc.freeze()
        if changes.bgp is not None:
            self._measured.begin("bgp", now)
            self._bird.desire(changes.bgp)
            self._uplink.desire(changes.bgp.addresses)
        if changes.settings is not None:
            self._settings = changes.settings
            self._policy.configure(changes.settings)
            # A shorter interval counts from now on, not from the next audit on.
            soonest = now + changes.settings.audit_interval_s
            self._resync_at = min(self._resync_at, soonest)
        if changes.quarantined is not None:
            self._quarantined = changes.quarantined

    def _next_pass_at(self) -> float | None:
        if not self._taken:
            return None
        due = (self._resync_at, self._l3.next_due(), self._policy.next_due(), self._repairs.next_due())
        return min(each for each in due if each is not None)

    def _post(self) -> None:
        cluster = self._cluster
        self._measured.hear(answers=cluster.connected, now=self._loop_time())
        repairs = [*self._l3.repairs.take(), *self._guests.take(), *self._bird_routes.take()]
        self._repairs.look(repairs, self._loop_time())
        reports = self._routing.reports
        self._log_errors(reports.errors)
        self._noticeboard.post(
            msgspec.structs.replace(
                self._noticeboard.board,
                connected=cluster.connected,
                in_sync=cluster.in_sync and self._passed,
                drained=self._bootstrap.drained.exists(),
                from_snapshot=cluster.from_snapshot,
                datastore_problem=cluster.problem,
                revision=self._revision,
                policy_backend=self._policy.name,
                enforced_revision=self._enforced_revision,
                endpoints=reports.all,
                pending=(*self._policy.pending, *self._l3.pending),
                problems=self._problems(),
                confirmations=cluster.confirmations,
                bird=self._bird.report,
                errors=self._journal.entries,
                repairs=self._repairs.entries,
                repaired=self._repairs.rows,
                writes=self._l3.writes,
                policy_writes=self._policy.writes,
                policy_repairs=self._policy.repairs.times,
                policy_open_ms=self._policy.repairs.open_ms,
                policy_changed_by=self._policy.repairs.by,
            )
        )

    def _lacking(self, endpoint: str) -> str:
        namespace, _, name = endpoint.partition("/")
        return self._policy.missing(ResourceKey("WorkloadEndpoint", namespace, name))

    async def _board(self) -> Board:
        """What was posted last, with what is measured now."""
        dropped = await self._counting.drops()
        vitals = self._measured.vitals(self._loop_time(), self._policy.connections_cut, dropped)
        return msgspec.structs.replace(self._noticeboard.board, vitals=vitals, loop_lag_ms=self._measured.lag_ms)

    def _log_errors(self, errors: Mapping[str, EndpointReport]) -> None:
        before = self._noticeboard.board.endpoints
        for name, report in errors.items():
            if report != before.get(name):
                LOG.warning("endpoint is in error", endpoint=name, reason=report.reason)

    def _problems(self) -> tuple[Noted, ...]:
        quarantined = (
            Noted(subject=str(key), reason="; ".join(str(problem) for problem in problems))
            for key, problems in self._quarantined.items()
        )
        locked = (LOCKED,) if self._cluster.locked else ()
        return (
            *self._warnings,
            *locked,
            *self._cluster.problems,
            *quarantined,
            *self._policy.problems,
            *([self._packets.problem] if self._packets.problem else []),
            *self._l3.problems,
            *self._uplink.problems,
            *self._guests.problems,
            *self._bird.problems,
        )
