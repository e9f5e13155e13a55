"""What the kinds of network sets have in common: prefixes with labels, which rules select."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from tortie.errors import Problem
from tortie.model.addresses import IPNetwork
from tortie.model.kind import NAME, column, shortened
from tortie.model.names import NAMESPACE_LABEL
from tortie.model.resource import Resource
from tortie.model.schema import Spec


class NetworksSpec(Spec, frozen=True, kw_only=True):
    """The fields of every network set."""

    nets: tuple[IPNetwork, ...] = ()
    """Prefixes and addresses of either family."""


N = TypeVar("N", bound=NetworksSpec)


def rules(networks: Resource[N]) -> Iterator[Problem]:
    if NAMESPACE_LABEL in networks.metadata.labels:
        yield Problem(f"metadata.labels.{NAMESPACE_LABEL}", NAMESPACE_LABEL, "must be absent: every reader adds it")


COLUMNS = (NAME,)
WIDE = (NAME, column("NETS", lambda networks: shortened(",".join(map(str, networks.spec.nets)))))
