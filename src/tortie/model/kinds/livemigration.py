"""LiveMigration: a workload on its way from one host to another."""

from __future__ import annotations

from tortie.model.kind import NAME, Kind, column
from tortie.model.resource import Resource
from tortie.model.schema import Spec
from tortie.model.selector import Selector


class WorkloadIdentifier(Spec, frozen=True, kw_only=True):
    """A workload with all its interfaces."""

    hostname: str = ""
    """Its host. Of no account with orchestratorID k8s."""

    orchestrator_id: str = ""
    """Its orchestrator."""

    workload_id: str = ""
    """`<namespace>/<workload>`."""


class EndpointIdentifier(WorkloadIdentifier, frozen=True, kw_only=True):
    """One interface of a workload: the WorkloadEndpoint of these parts."""

    endpoint_id: str = ""
    """Which interface."""


class Source(Spec, frozen=True, kw_only=True):
    """Where the workload comes from: one of the fields."""

    workload: WorkloadIdentifier | None = None
    """The workload, where one object stands for all its interfaces (KubeVirt)."""

    workload_endpoint: EndpointIdentifier | None = None
    """The endpoint, where each interface has its own object (OpenStack)."""


class Target(Spec, frozen=True, kw_only=True):
    """Where the workload goes: one of the fields."""

    selector: Selector | None = None
    """The new endpoints, by their labels (KubeVirt)."""

    workload_endpoint: EndpointIdentifier | None = None
    """The new endpoint (OpenStack)."""


class LiveMigrationSpec(Spec, frozen=True, kw_only=True):
    """A workload's move. While it exists, the new host's routes win over the old one's.

    Source: libcalico-go/lib/apis/internalapi/livemigration.go
    """

    source: Source | None = None
    """Where the workload comes from."""

    target: Target | None = None
    """Where it goes."""


def _from(migration: Resource[LiveMigrationSpec]) -> str:
    source = migration.spec.source or Source()
    return _text(source.workload_endpoint or source.workload)


def _to(migration: Resource[LiveMigrationSpec]) -> str:
    target = migration.spec.target or Target()
    return _text(target.workload_endpoint) or str(target.selector or "")


def _text(identifier: WorkloadIdentifier | None) -> str:
    return f"{identifier.hostname}/{identifier.workload_id}" if identifier else ""


KIND = Kind(
    name="LiveMigration",
    plural="livemigrations",
    aliases=("livemigration", "livemigrations"),
    spec=LiveMigrationSpec,
    columns=(NAME,),
    wide=(NAME, column("SOURCE", _from), column("TARGET", _to)),
    namespaced=True,
)
