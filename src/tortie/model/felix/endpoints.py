"""Workloads' interfaces, and what is told of them in the datastore."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from tortie.model.felix.process import ProcessSettings
from tortie.model.felix.types import Switch, WholeDuration
from tortie.model.scalars import CommaList
from tortie.model.schema import PortOrZero, any_case

Region = Annotated[
    str,
    Meta(
        pattern=r"^([a-z0-9]([-a-z0-9]{0,44}[a-z0-9])?)?\Z",
        description="must be at most 46 lower-case letters, digits and -, beginning and ending with a letter or digit",
    ),
]
Spoofing = Annotated[str, any_case("Any", "Disabled")]


class EndpointSettings(ProcessSettings, frozen=True, kw_only=True):
    """Workloads' interfaces, and what is told of them."""

    interface_prefix: CommaList = ()
    """How names of workloads' interfaces begin, separated by commas. Default: cali,tap; Felix's own is cali."""

    interface_exclude: CommaList = ()
    """Interfaces that are never looked at: names, or regular expressions between slashes, separated by commas. Default:
    kube-ipvs0."""

    interface_refresh_interval: WholeDuration | None = None
    """How often all interfaces are looked at anew; 0s: never. Default: 1m30s."""

    mtu_iface_pattern: str = ""
    """Interfaces whose MTU limits that of workloads, as a regular expression. Default:
    ^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)."""

    require_mtu_file: bool | None = None
    """Does not start before the CNI plugin's MTU file is there. Default: false."""

    endpoint_reporting_enabled: bool | None = None
    """Writes the status of each endpoint into the datastore. Default: true; Felix's own is false."""

    endpoint_reporting_delay: WholeDuration | None = None
    """The least time between two writes of statuses. Default: 1s."""

    endpoint_status_path_prefix: str = ""
    """Below it stands a file for each endpoint that is ready. Default: /var/run/calico."""

    reporting_interval: WholeDuration | None = None
    """How often the agent says in the datastore that it lives; 0s: never. Default: 30s."""

    reporting_ttl: WholeDuration | None = None
    """How long each such word lasts. Default: 1m30s."""

    openstack_region: Region = ""
    """The region in keys of statuses: a DNS label of at most 46 characters. Default: none."""

    metadata_addr: str = ""
    """Where guests' requests for metadata go (169.254.169.254); none: nowhere. Default: 127.0.0.1."""

    metadata_port: PortOrZero | None = None
    """Where they go, 0 to 65535. Default: 8775."""

    policy_sync_path_prefix: str = ""
    """Below it stands the socket that proxies learn policies by. Default: none."""

    floating_ips: Switch = ""
    """Whether outside addresses of endpoints (ipNATs) count. Default: Disabled."""

    workload_source_spoofing: Spoofing = ""
    """Any: endpoints may send from their allowSpoofedSourcePrefixes. Default: Disabled."""
