"""This node's state written to the datastore, as Calico's Felix writes it, for those who wait for it there.

Invariants:
* Only keys of this node are written or deleted; statuses of endpoints that are gone are removed.
* A status key of the node carries a lease: it vanishes when the agent has been dead for `reporting_ttl_s`.
* An outage of the store loses nothing: what is pending is written when it is back, the newest state only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec
import structlog

from tortie.agent.noticeboard import Noticeboard
from tortie.datastore.api import Datastore, Delete, Put
from tortie.errors import DatastoreError
from tortie.intent.report import EndpointReport
from tortie.intent.settings import Settings
from tortie.model import keys
from tortie.model.names import parse_endpoint_name
from tortie.reconcile import DeltaTracker

LOG = structlog.get_logger(__name__)

RETRY_S = 1.0
# Bounds what a storm of changes writes; the last state is always written.
SHORTEST_GAP_S = 0.05
# etcd takes 128 operations in a transaction.
OPERATIONS_PER_TRANSACTION = 100


class Reporter:
    """Two stages: endpoint statuses when they change, the node's own at an interval."""

    def __init__(
        self, node: str, datastore: Datastore, noticeboard: Noticeboard, settings: Callable[[], Settings]
    ) -> None:
        self._node = node
        self._datastore = datastore
        self._noticeboard = noticeboard
        self._settings = settings
        self._tracker: DeltaTracker[str, bytes] = DeltaTracker()
        self._regions: set[str] = set()  # of OpenStack, "" without: where statuses of ours may stand
        self._read = False
        self._reported: Mapping[str, EndpointReport] = {}  # what is wanted in the store
        self._reported_in = ""  # the region where it is

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._report_endpoints())
            tasks.create_task(self._report_node())

    async def _report_endpoints(self) -> None:
        while True:
            board = self._noticeboard.board
            try:
                # Before that the board is empty because nothing is known, not because nothing is there.
                if board.connected and board.in_sync:
                    await self._write_statuses()
            except DatastoreError as error:
                # What reached the store is unknown: read it again before the next write.
                self._read = False
                LOG.info("endpoint statuses are not written yet", reason=str(error))
                await asyncio.sleep(RETRY_S)
                continue
            if self._noticeboard.board is board:
                await self._noticeboard.changed()
            await asyncio.sleep(SHORTEST_GAP_S)

    async def _write_statuses(self) -> None:
        region = self._settings().region
        if region not in self._regions:
            self._regions.add(region)
            self._read = False
        if not self._read:
            prefixes = [keys.endpoint_status_prefix(each, self._node) for each in self._regions]
            listings = [await self._datastore.list(prefix) for prefix in prefixes]
            self._tracker.replace_actual({item.key: item.value for listing in listings for item in listing.items})
            self._read = True
        self._want_current(region)
        while not self._tracker.in_sync:
            puts = list(self._tracker.puts)[:OPERATIONS_PER_TRANSACTION]
            gone = list(self._tracker.deletes)[: OPERATIONS_PER_TRANSACTION - len(puts)]
            await self._datastore.txn([], [*(Put(*row) for row in puts), *(Delete(key) for key in gone)])
            for key, value in puts:
                self._tracker.saw(key, value)
            for key in gone:
                self._tracker.saw_gone(key)

    def _want_current(self, region: str) -> None:
        """Wants the statuses of the board; costs what changed since the last time, but for a look at each report."""
        reports = self._noticeboard.board.endpoints if self._settings().endpoint_reporting else {}
        if region != self._reported_in:
            for name in self._reported:
                self._unwant(name, self._reported_in)
            self._reported, self._reported_in = {}, region
        for name in self._reported.keys() - reports.keys():
            self._unwant(name, region)
        for name, report in reports.items():
            # A report that did not change is the same object.
            if report is not self._reported.get(name) and (key := self._endpoint_key(name, region)):
                self._tracker.want(key, msgspec.json.encode({"status": report.state}))
        self._reported = reports

    def _unwant(self, name: str, region: str) -> None:
        if key := self._endpoint_key(name, region):
            self._tracker.unwant(key)

    def _endpoint_key(self, name: str, region: str) -> str:
        """Empty for a name that is none of an endpoint."""
        namespace, _, endpoint = name.partition("/")
        parts = parse_endpoint_name(endpoint)
        if parts is None:
            return ""
        workload = f"{namespace}/{parts.workload}"
        return keys.endpoint_status(region, self._node, parts.orchestrator, workload, parts.endpoint)

    async def _report_node(self) -> None:
        started = asyncio.get_running_loop().time()
        first = True
        while True:
            settings = self._settings()
            if not settings.reporting_interval_s:
                await asyncio.sleep(RETRY_S)
                continue
            uptime_s = round(asyncio.get_running_loop().time() - started, 2)
            moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            value = msgspec.json.encode({"time": moment, "uptime": uptime_s, "first_update": first})
            try:
                lease = await self._datastore.lease(settings.reporting_ttl_s)
                writes = [
                    Put(keys.agent_status(settings.region, self._node), value, lease),
                    Put(keys.last_agent_status(settings.region, self._node), value),
                ]
                await self._datastore.txn([], writes)
                first = False
            except DatastoreError as error:
                LOG.info("node status is not written", reason=str(error))
            await asyncio.sleep(settings.reporting_interval_s)
