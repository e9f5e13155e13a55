"""IPAMConfiguration: how addresses are given out. In etcd IPAM itself reads another key: see `allocation`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta
from msgspec.structs import replace

from tortie.errors import Problem
from tortie.model.kind import NAME, Kind, column
from tortie.model.resource import Resource
from tortie.model.schema import Spec

NAME_OF_ALL = "default"


class IPAMConfigurationSpec(Spec, frozen=True, kw_only=True):
    """How addresses are given out.

    Source: api/pkg/apis/projectcalico/v3/ipamconfig.go
    """

    strict_affinity: bool | None = None
    """A host gives out addresses of its own blocks alone, and borrows none. Always written. Default: false."""

    auto_allocate_blocks: bool | None = None
    """A host takes new blocks when it needs them. Always written. Default: false, as Calico's clients understand an
    absent one."""

    max_blocks_per_host: Annotated[int, Meta(ge=0, le=1000000)] = 0
    """How many blocks a host may have, 0 to 1000000. Default: 0, which stands for 20."""

    ip_cooldown_seconds: Annotated[int, Meta(ge=0, le=1200)] = 0
    """Seconds before a released address is given out again, 0 to 1200. Default: 0."""

    kube_virt_vm_address_persistence: Literal["Enabled", "Disabled"] | None = None
    """Whether a KubeVirt machine keeps its addresses when it starts anew or moves. Default: Enabled."""


def fill_in(configuration: Resource[IPAMConfigurationSpec]) -> Resource[IPAMConfigurationSpec]:
    spec = configuration.spec
    filled = replace(
        spec, strict_affinity=bool(spec.strict_affinity), auto_allocate_blocks=bool(spec.auto_allocate_blocks)
    )
    return replace(configuration, spec=filled)


def rules(configuration: Resource[IPAMConfigurationSpec]) -> Iterator[Problem]:
    if configuration.key.name != NAME_OF_ALL:
        yield Problem("metadata.name", configuration.key.name, f"must be {NAME_OF_ALL}")


COLUMNS = (
    NAME,
    column("STRICTAFFINITY", lambda configuration: configuration.spec.strict_affinity),
    column("AUTOALLOCATEBLOCKS", lambda configuration: configuration.spec.auto_allocate_blocks),
)

KIND = Kind(
    name="IPAMConfiguration",
    plural="ipamconfigurations",
    aliases=("ipamconfiguration", "ipamconfig", "ipamconfigs"),
    spec=IPAMConfigurationSpec,
    columns=COLUMNS,
    wide=(*COLUMNS, column("MAXBLOCKSPERHOST", lambda configuration: configuration.spec.max_blocks_per_host)),
    on_read=fill_in,
    on_write=fill_in,
    rules=rules,
)
