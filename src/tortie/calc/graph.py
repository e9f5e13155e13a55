"""Every update of the cluster goes in here, and what it changes for this node comes out.

Invariants:
* The intent depends on the objects present, never on the order or the number of the updates that led there.
* A quarantined object counts as absent and is listed with its reasons, as is what is missing; the
  others are not touched by it.
* Nothing is computed that no changed object feeds into.
"""

from __future__ import annotations

from typing import Any

from tortie.calc.bgp import compute_bgp
from tortie.calc.endpoints import Address, EndpointCalculator
from tortie.calc.firewall import KINDS as POLICY_KINDS
from tortie.calc.firewall import Firewall
from tortie.calc.needed import needed_ports
from tortie.calc.settings import compute_settings, in_force
from tortie.errors import Problem
from tortie.intent.bgp import BgpIntent
from tortie.intent.policy import FailsafePort
from tortie.intent.settings import Settings
from tortie.intent.state import Changes
from tortie.model.resource import Quarantined, Resource, ResourceKey

# The kinds, beside endpoints, that feed into anything.
_BGP_KINDS = frozenset({"Node", "BGPPeer", "BGPConfiguration", "BGPFilter", "IPPool"})
_SETTINGS_KINDS = frozenset({"FelixConfiguration", "Node"})  # a configuration may select nodes by their labels


class Graph:
    """The calculation of one node."""

    def __init__(self, node: str, servers: frozenset[FailsafePort] = frozenset()) -> None:
        """`servers` are the datastore's: a host that does not reach them falls out of its cluster."""
        self._node = node
        self._servers = servers
        self._firewall = Firewall(node)
        self._endpoints = EndpointCalculator(node)
        self._objects: dict[str, dict[ResourceKey, Resource[Any]]] = {kind: {} for kind in _BGP_KINDS | _SETTINGS_KINDS}
        self._quarantined: dict[ResourceKey, tuple[Problem, ...]] = {}
        self._missing: dict[ResourceKey, tuple[Problem, ...]] = {}
        self._dirty = set(_BGP_KINDS | _SETTINGS_KINDS)
        self._dirty_policy = True
        self._dirty_quarantine = False
        self._bgp: BgpIntent | None = None
        self._settings = Settings()

    def update(self, key: ResourceKey, value: Resource[Any] | Quarantined | None) -> None:
        """Takes one object as it is now; None: it is deleted."""
        self._dirty_quarantine |= self._quarantined.pop(key, None) is not None
        if key.kind in POLICY_KINDS:
            self._firewall.update(key, value)
            self._dirty_policy = True
        if isinstance(value, Quarantined):
            self._quarantined[key] = value.problems
            self._dirty_quarantine = True
            value = None
        if key.kind == "WorkloadEndpoint":
            self._endpoints.update(key, value)
        elif key.kind in self._objects:
            objects = self._objects[key.kind]
            if value is None:
                objects.pop(key, None)
            else:
                objects[key] = value
            self._dirty.add(key.kind)

    def holder(self, address: Address) -> ResourceKey | None:
        """The endpoint that holds an address, on any node."""
        return self._endpoints.holder(address)

    @property
    def pending(self) -> bool:
        """A flush is due."""
        return bool(self._endpoints.pending or self._dirty or self._dirty_policy or self._dirty_quarantine)

    @property
    def filling(self) -> bool:
        """The last flush left members of large sets to the next."""
        return self._firewall.filling

    def flush(self, limit: int | None = None, members: int | None = None) -> Changes:
        """What the updates since the last flush change for this node; `limit` endpoints are looked at, and of sets
        about `members` members.

        Policy comes with the last of the endpoints: so it is computed once, however many there are. What depends on
        members that were not looked at is as it was.
        """
        settings = self._flush_settings()
        bgp = self._flush_bgp(prefixes_changed=settings is not None)
        if bgp is not None:
            self._firewall.need(needed_ports(self._servers, bgp))
        endpoints = self._endpoints.flush(limit)
        for key, local in endpoints.items():
            self._firewall.update_local(key, local)
        policy = None if self._endpoints.pending else self._firewall.flush(members) or None
        if self._firewall.missing != self._missing:
            self._missing = dict(self._firewall.missing)
            self._dirty_quarantine = True
        changes = Changes(
            endpoints=endpoints,
            policy=policy,
            bgp=bgp,
            settings=settings,
            quarantined={**self._missing, **self._quarantined} if self._dirty_quarantine else None,
        )
        self._dirty.clear()
        self._dirty_policy = self._dirty_quarantine = False
        return changes

    def _flush_bgp(self, prefixes_changed: bool) -> BgpIntent | None:
        if not (self._dirty & _BGP_KINDS or prefixes_changed):
            return None
        bgp = compute_bgp(
            self._node,
            nodes=self._objects["Node"].values(),
            peers=self._objects["BGPPeer"].values(),
            configurations=self._objects["BGPConfiguration"].values(),
            pools=self._objects["IPPool"].values(),
            filters=self._objects["BGPFilter"].values(),
            interface_prefixes=self._settings.interface_prefixes,
        )
        if bgp == self._bgp:
            return None
        self._bgp = bgp
        return bgp

    def _flush_settings(self) -> Settings | None:
        if not self._dirty & _SETTINGS_KINDS:
            return None
        configurations = {key.name: value for key, value in self._objects["FelixConfiguration"].items()}
        node = self._objects["Node"].get(ResourceKey("Node", "", self._node))
        labels = None if node is None else node.metadata.labels
        self._firewall.configure(in_force(self._node, labels, configurations))
        settings = compute_settings(self._node, labels, configurations)
        if settings == self._settings:
            return None
        self._settings = settings
        return settings
