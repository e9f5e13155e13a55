"""Everything this node is meant to do, and the one value in which changes to it travel."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tortie.errors import Problem
from tortie.intent.bgp import BgpIntent
from tortie.intent.l3 import LocalEndpoint
from tortie.intent.settings import Settings
from tortie.model.resource import ResourceKey


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What changed since the last flush; at most one entry per key, None where nothing changed or all is gone."""

    endpoints: Mapping[ResourceKey, LocalEndpoint | None] = {}
    bgp: BgpIntent | None = None
    settings: Settings | None = None
    quarantined: Mapping[ResourceKey, tuple[Problem, ...]] | None = None
