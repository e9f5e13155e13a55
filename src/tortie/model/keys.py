"""Keys of the datastore, as text: resources, allocated addresses, and the status that agents report.

The layout is Calico's, byte for byte. tortie's own keys lie elsewhere and are none of this module's.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from tortie.model.addresses import Network, parse_strict_network
from tortie.model.kinds import KINDS, kind_of_plural
from tortie.model.resource import ResourceKey

RESOURCES = "/calico/resources/v3/projectcalico.org/"

# Who may have a block: a host, or nobody who is one, such as `load-balancer`.
Owner = Literal["host", "virtual"]

IPAM = "/calico/ipam/v2/"
BLOCKS = f"{IPAM}assignment/"
HANDLES = f"{IPAM}handle/"
IPAM_CONFIG = f"{IPAM}config"


def to_path(key: ResourceKey) -> str:
    """Where a resource is stored. The name is not escaped; a valid one holds no slash."""
    return kind_prefix(key.kind, key.namespace) + key.name


def kind_prefix(kind: str, namespace: str = "") -> str:
    """The beginning, with its last slash, of the keys of all resources of a kind, or of those in one namespace."""
    prefix = f"{RESOURCES}{KINDS[kind].plural}/"
    return f"{prefix}{namespace}/" if namespace else prefix


def from_path(path: str) -> ResourceKey | None:
    """The resource that a key names; None for any other key, of an unknown kind or with parts too few or many."""
    if not path.startswith(RESOURCES):
        return None
    plural, *rest = path.removeprefix(RESOURCES).split("/")
    kind = kind_of_plural(plural)
    if kind is None or len(rest) != (2 if kind.namespaced else 1) or "" in rest:
        return None
    return ResourceKey(kind.name, rest[0] if kind.namespaced else "", rest[-1])


class BlockKey(NamedTuple):
    """A block of addresses."""

    cidr: Network

    @property
    def path(self) -> str:
        return f"{BLOCKS}{_block(self.cidr)}"


class AffinityKey(NamedTuple):
    """Whose a block is."""

    owner: Owner
    host: str
    cidr: Network

    @property
    def path(self) -> str:
        return f"{affinities(self.owner, self.host)}{_block(self.cidr)}"


class HandleKey(NamedTuple):
    """The addresses of one owner. The id is not escaped, and holds no slash."""

    handle_id: str

    @property
    def path(self) -> str:
        return f"{HANDLES}{self.handle_id}"


def affinities(owner: Owner, host: str) -> str:
    """The beginning of the keys of an owner's affinities."""
    return f"{IPAM}{owner}/{host}/"


def allocation_from_path(path: str) -> BlockKey | AffinityKey | HandleKey | None:
    """What of IPAM a key names; None for any other key, and for a block that is not written as Calico does."""
    match path.removeprefix(IPAM).split("/") if path.startswith(IPAM) else []:
        case ["assignment", family, "block", text] if cidr := _cidr(family, text):
            return BlockKey(cidr)
        case ["host" | "virtual" as owner, host, family, "block", text] if host and (cidr := _cidr(family, text)):
            return AffinityKey("host" if owner == "host" else "virtual", host, cidr)
        case ["handle", handle_id] if handle_id:
            return HandleKey(handle_id)
    return None


def _block(cidr: Network) -> str:
    return f"ipv{cidr.version}/block/{cidr.network_address}-{cidr.prefixlen}"


def _cidr(family: str, text: str) -> Network | None:
    try:
        cidr = parse_strict_network(text.replace("-", "/", 1))
    except ValueError:
        return None
    return cidr if f"{family}/block/{text}" == _block(cidr) else None


def agent_status(region: str, host: str) -> str:
    """That an agent is alive: goes with its lease when the agent does not renew it."""
    return f"{_host(region, host)}/status"


def last_agent_status(region: str, host: str) -> str:
    """The last agent status of a host, which stays."""
    return f"{_host(region, host)}/last_reported_status"


def endpoint_status(region: str, host: str, orchestrator: str, workload: str, endpoint: str) -> str:
    """The status of a workload endpoint. `workload` is `<namespace>/<workload>`, as everywhere outside of names."""
    parts = (_escaped(orchestrator), _escaped(workload), "endpoint", _escaped(endpoint))
    return endpoint_status_prefix(region, host) + "/".join(parts)


def endpoint_status_prefix(region: str, host: str) -> str:
    """The beginning of the status keys of a host's workload endpoints."""
    return f"{_host(region, host)}/workload/"


def _host(region: str, host: str) -> str:
    # `region` is FelixConfiguration's openstackRegion.
    return f"/calico/felix/v2/{f'region-{region}' if region else 'no-region'}/host/{host}"


def _escaped(part: str) -> str:
    return part.replace("%", "%25").replace("/", "%2f")
