"""Attaching and detaching, step by step, with everything undone when a step fails.

Order of attach: check, interface, endpoint, wait for the route. The endpoint is written after the interface, so
the agent finds it; until the route is there nobody reaches the workload. Detach goes the other way: endpoint,
route, interface.

Invariants:
* Repeating a call with the same arguments changes nothing and succeeds; so does detaching what is not attached.
* A failed attach leaves what was there before it.
* One workload is worked on by one call at a time; different workloads do not wait for each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, Protocol

import structlog
from msgspec.structs import replace

from tortie.attach.request import (
    GUEST_INTERFACE,
    ORCHESTRATOR,
    Address,
    AttachRequest,
    AttachResult,
    DetachRequest,
)
from tortie.attach.uplink import fit_tap
from tortie.attach.veth import GuestSide, Plugged, plug, unplug
from tortie.conventions import MTU_ANNOTATION
from tortie.datastore.resources import Resources
from tortie.errors import AttachError, InvalidResource, NotFound, TortieError, UsageError
from tortie.model.addresses import Mac
from tortie.model.encode import new
from tortie.model.kinds.ippool import IPPoolSpec
from tortie.model.kinds.workloadendpoint import WorkloadEndpointSpec
from tortie.model.names import EndpointName, host_interface_name
from tortie.model.resource import Resource, ResourceKey

LOG = structlog.get_logger(__name__)

KIND = "WorkloadEndpoint"


class Routed(NamedTuple):
    """What the data plane says of an endpoint: `up`, or why not (yet)."""

    up: bool
    waiting: bool  # in order, but its interface is missing or has no carrier
    reason: str


class Dataplane(Protocol):
    """What attach needs of the agent around it."""

    @property
    def locked(self) -> bool:
        """Changes of the cluster are not acted on now."""

    @property
    def drained(self) -> bool:
        """This host takes no workload now."""

    @property
    def uplink_mtu(self) -> int:
        """The smallest MTU, in bytes, of the interfaces with the node's addresses; 0: it has none of them, or on lo."""

    def holder(self, address: Address) -> ResourceKey | None:
        """The endpoint that holds an address, on any node."""

    async def wait_routed(
        self, name: str, revision: int, addresses: Sequence[Address], timeout_s: float, waiting_will_do: bool
    ) -> Routed:
        """Returns when endpoint `namespace/name` is up as of that revision, or with the reason when the time is up."""

    async def wait_gone(self, name: str, revision: int, timeout_s: float) -> bool:
        """Returns True when the endpoint is off the data plane as of that revision, False when the time is up."""


class AttachService:
    """Serves one node."""

    def __init__(self, node: str, resources: Resources, dataplane: Dataplane) -> None:
        self._node = node
        self._resources = resources
        self._dataplane = dataplane
        self._locks: dict[str, asyncio.Lock] = {}

    async def attach(self, request: AttachRequest) -> AttachResult:
        """Raises UsageError for what can never be, AttachError and others for what failed and was undone."""
        addresses = request.check()
        self._check_node(request.node)
        self._check_ready()
        if self._dataplane.drained:
            raise AttachError(
                f"node {self._node} is drained: attach on another host, or end it here by `tortie node uncordon`"
            )
        async with self._alone(f"{request.namespace}/{request.name}"):
            wanted = self._endpoint(request, addresses, request.guest_mac)
            self._check_free(wanted.key, addresses)
            warnings = await self._pool_warnings(addresses)
            plugged = await self._plug(request, addresses)
            try:
                return await self._join(request, addresses, plugged, warnings)
            except BaseException:
                await _undo(request.interface, plugged)
                raise

    async def detach(self, request: DetachRequest) -> tuple[str, ...]:
        """Detaches every interface that `attach` gave the workload here; returns the endpoints' names."""
        self._check_node(request.node)
        self._check_ready()
        async with self._alone(f"{request.namespace}/{request.name}"):
            found = await self._endpoints_of(request)
            for endpoint in found:
                await self._leave(endpoint.key, request.timeout_s)
            # Also without an endpoint: a crash between the two steps of an attach leaves the interface.
            interface = host_interface_name(request.namespace, request.name, GUEST_INTERFACE)
            await asyncio.to_thread(unplug, interface)
            return tuple(endpoint.key.name for endpoint in found)

    async def _join(
        self, request: AttachRequest, addresses: tuple[Address, ...], plugged: Plugged, warnings: tuple[str, ...]
    ) -> AttachResult:
        """Writes the endpoint and waits for its route; takes the endpoint back on failure."""
        wanted = self._endpoint(request, addresses, plugged.mac)
        before = await self._find(wanted.key)
        name = f"{wanted.key.namespace}/{wanted.key.name}"
        try:
            written = await self._resources.apply(wanted)
            routed = await self._dataplane.wait_routed(
                name, written.revision, addresses, request.timeout_s, bool(request.tap) and not request.wait
            )
            if not routed.up and not (routed.waiting and request.tap and not request.wait):
                raise AttachError(f"{name} is not connected after {request.timeout_s:g} s: {routed.reason}")
        except BaseException:
            await self._take_back(wanted.key, before)
            raise
        return AttachResult(
            endpoint=wanted.key.name,
            interface=request.interface,
            mac=plugged.mac,
            addresses=tuple(str(address) for address in addresses),
            waiting="" if routed.up else routed.reason,
            warnings=(*warnings, *plugged.warnings),
        )

    async def _plug(self, request: AttachRequest, addresses: tuple[Address, ...]) -> Plugged:
        mtu = request.mtu or self._dataplane.uplink_mtu
        if request.tap:
            before = await asyncio.to_thread(fit_tap, request.tap, mtu, exactly=bool(request.mtu))
            return Plugged(request.guest_mac, (), partial(fit_tap, request.tap, before, exactly=True))
        wanted = GuestSide(addresses, request.guest_mac, mtu)
        return await asyncio.to_thread(plug, request.interface, GUEST_INTERFACE, request.netns, wanted)

    async def _take_back(self, key: ResourceKey, before: Resource[WorkloadEndpointSpec] | None) -> None:
        try:
            if before is None:
                await self._resources.delete(key)
            else:
                # Over whatever stands there now, which is what is to be undone.
                await self._resources.apply(replace(before, revision=0))
        except NotFound:
            return  # it was refused, and never stood there
        except TortieError as error:
            LOG.warning("a failed attach could not be undone", endpoint=str(key), reason=str(error))

    async def _leave(self, key: ResourceKey, timeout_s: float) -> None:
        try:
            deleted = await self._resources.delete(key)
        except NotFound:
            return
        if not await self._dataplane.wait_gone(f"{key.namespace}/{key.name}", deleted.revision, timeout_s):
            raise AttachError(f"{key} is deleted, but its routes are still there after {timeout_s:g} s")

    def _endpoint(
        self, request: AttachRequest, addresses: tuple[Address, ...], mac: str
    ) -> Resource[WorkloadEndpointSpec]:
        spec = WorkloadEndpointSpec(
            orchestrator=ORCHESTRATOR,
            node=self._node,
            workload=request.name,
            endpoint=request.endpoint,
            ip_networks=addresses,
            profiles=request.profiles,
            interface_name=request.interface,
            mac=Mac(mac) if mac else None,
        )
        name = str(EndpointName(self._node, ORCHESTRATOR, request.name, request.endpoint))
        annotations = {MTU_ANNOTATION: str(request.mtu)} if request.mtu else {}
        return new(KIND, name, spec, namespace=request.namespace, labels=request.labels, annotations=annotations)

    def _check_node(self, named: str) -> None:
        """A caller that means another node would find its workload on none."""
        if named and named != self._node:
            raise UsageError(
                f"this host's agent is node {self._node}, and node {named} is asked for: set the same `node` for both,"
                " in tortie.toml or TORTIE_NODE, and restart the agent if it is the one that is wrong"
            )

    def _check_ready(self) -> None:
        if self._dataplane.locked:
            raise AttachError(
                "the cluster is locked (ClusterInformation default says datastoreReady: false): nothing can be attached"
                " or detached until it is unlocked"
            )

    def _check_free(self, key: ResourceKey, addresses: tuple[Address, ...]) -> None:
        for address in addresses:
            holder = self._dataplane.holder(address)
            if holder is not None and holder != key:
                raise AttachError(f"address {address} belongs to {holder}: detach that one, or choose another address")

    async def _pool_warnings(self, addresses: tuple[Address, ...]) -> tuple[str, ...]:
        listing = await self._resources.list("IPPool")
        pools: list[IPPoolSpec] = [pool.spec for pool in listing.items if isinstance(pool, Resource)]
        return tuple(
            f"address {address} is in no IP pool: it is routed on this host, and not announced to others"
            for address in addresses
            if not any(address in pool.cidr for pool in pools)
        )

    async def _find(self, key: ResourceKey) -> Resource[Any] | None:
        """The object as it is; None when there is none, or none that can be read."""
        try:
            return await self._resources.get(key)
        except (NotFound, InvalidResource):
            return None

    async def _endpoints_of(self, request: DetachRequest) -> list[Resource[WorkloadEndpointSpec]]:
        # Their names begin with the workload's, and so do those of workloads whose names go on after it.
        beginning = str(EndpointName(self._node, ORCHESTRATOR, request.name, ""))
        listing = await self._resources.list(KIND, request.namespace, beginning)
        return [each for each in listing.items if isinstance(each, Resource) and each.spec.workload == request.name]

    @asynccontextmanager
    async def _alone(self, workload: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(workload, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            # The last one out removes the lock, or a host would remember every workload it ever had.
            if not lock.locked() and self._locks.get(workload) is lock:
                del self._locks[workload]


async def _undo(interface: str, plugged: Plugged) -> None:
    try:
        await asyncio.to_thread(plugged.undo)
    except TortieError as error:
        LOG.warning("a failed attach could not be undone", interface=interface, reason=str(error))
