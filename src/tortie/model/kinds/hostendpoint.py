"""HostEndpoint: an interface of a host, or all of them, as something that policies apply to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from tortie.errors import Problem
from tortie.model.addresses import IPAddress
from tortie.model.kind import NAME, Kind, column
from tortie.model.resource import Resource
from tortie.model.rule import PROTOCOLS_WITH_PORTS
from tortie.model.scalars import Protocol
from tortie.model.schema import Name, PortName, PortNumber, Spec

HostInterface = Annotated[
    str,
    Meta(
        pattern=r"^([a-zA-Z0-9_.-]{1,15}|\*|)\Z",
        description="must be an interface name, 1 to 15 of [a-zA-Z0-9_.-], or * for all",
    ),
]


class HostPort(Spec, frozen=True, kw_only=True):
    """A port with a name for rules."""

    name: PortName
    """What rules call the port: at most 15 lower-case letters, digits and `-`."""

    protocol: Protocol
    """TCP, UDP or SCTP."""

    port: PortNumber
    """The port, 1 to 65535."""


class HostEndpointSpec(Spec, frozen=True, kw_only=True):
    """An interface of a host, or all of them. Policies select it by its labels; without one it passes nothing but the
    failsafe ports and what is forwarded.

    The annotation `qos.projectcalico.org/dscp` sets the DSCP of what leaves through it.

    Source: api/pkg/apis/projectcalico/v3/hostendpoint.go
    """

    node: Name
    """The host, by the name of its Node, with which the endpoint is deleted."""

    interface_name: HostInterface = ""
    """The interface, 1 to 15 of [a-zA-Z0-9_.-], or `*` for all of the host. Default: that which has one of
    expectedIPs."""

    expected_ips: tuple[IPAddress, ...] = ()
    """The interface's addresses: what rules of other hosts mean when they select the endpoint. Required without
    interfaceName."""

    profiles: tuple[Name, ...] = ()
    """Profiles, in order of evaluation and of whose labels win. A profile that does not exist denies everything."""

    ports: tuple[HostPort, ...] = ()
    """Ports by name, for rules."""


def rules(endpoint: Resource[HostEndpointSpec]) -> Iterator[Problem]:
    spec = endpoint.spec
    if not spec.interface_name and not spec.expected_ips:
        yield Problem("spec.interfaceName", "", "is required without expectedIPs")
    for index, port in enumerate(spec.ports):
        if port.protocol not in PROTOCOLS_WITH_PORTS:
            protocol = str(Protocol.to_json(port.protocol))
            yield Problem(f"spec.ports[{index}].protocol", protocol, "must be TCP, UDP or SCTP")


COLUMNS = (NAME, column("NODE", lambda endpoint: endpoint.spec.node))

KIND = Kind(
    name="HostEndpoint",
    plural="hostendpoints",
    aliases=("hostendpoint", "hep", "heps"),
    spec=HostEndpointSpec,
    columns=COLUMNS,
    wide=(
        *COLUMNS,
        column("INTERFACE", lambda endpoint: endpoint.spec.interface_name),
        column("IPS", lambda endpoint: ",".join(map(str, endpoint.spec.expected_ips))),
        column("PROFILES", lambda endpoint: ",".join(endpoint.spec.profiles)),
    ),
    rules=rules,
)
