"""A topology file as a value: which hosts, subnets, workloads and resources a lab consists of.

Invariants of a `Topology` that `parse` let through:
* Names are unique among all members and short enough for the interface names made of them.
* Every address is in canonical form, used once, and lies in a subnet (hosts, router, machines).
* The members of a subnet are joined by a bridge; the router, if any, is the way between subnets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface, ip_network
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta

from tortie.errors import InvalidResource, Problem

# 12 characters leave room for `br-`, `to-` and the like in the kernel's 15.
Name = Annotated[str, Meta(pattern=r"^[a-z]([a-z0-9-]{0,10}[a-z0-9])?$")]
LabName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]{0,11}$")]
InterfaceName = Annotated[str, Meta(pattern=r"^(?!\.{1,2}$)[A-Za-z0-9_.-]{1,15}$")]
MacAddress = Annotated[str, Meta(pattern=r"^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$")]
AsNumber = Annotated[int, Meta(ge=1, le=4294967295)]

DEFAULT_AS = 64512  # Calico's, where BGPConfiguration says nothing


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"as_number": "as"}):
    """A key that is not known is an error."""


class Subnet(_Strict, frozen=True):
    """A bridge, and the prefixes that are on-link on it."""

    name: Name
    prefixes: tuple[str, ...]


class RouterBgp(_Strict, frozen=True):
    """The router's BIRD: it learns from the hosts named and passes on what it learned from another AS."""

    peers: tuple[str, ...]
    as_number: AsNumber = DEFAULT_AS


class Router(_Strict, frozen=True):
    """A plain IP router with an interface in every subnet it has an address in; the default gateway there."""

    name: Name
    addresses: tuple[str, ...]
    bgp: RouterBgp | None = None


class Machine(_Strict, frozen=True):
    """A machine without tortie: only addresses and a default route.

    Machines with `etcd` form the etcd cluster that holds the lab's resources; without one a SQLite file holds them.
    """

    name: Name
    addresses: tuple[str, ...]
    etcd: bool = False


class Dhcp(_Strict, frozen=True):
    """The interface of a DHCP server as OpenStack makes it: it holds the workloads' subnet as a connected route."""

    interface: InterfaceName
    address: str


class Host(_Strict, frozen=True):
    """A machine with an agent and a BIRD."""

    name: Name
    addresses: tuple[str, ...]
    as_number: AsNumber | None = None
    route_reflector: str = ""  # cluster id; empty: no reflector
    labels: dict[str, str] = {}
    dhcp: Dhcp | None = None


class Tap(_Strict, frozen=True):
    """A workload behind a TAP. `gateway` is what a DHCP server would tell it, such as 10.65.0.1/16: the on-link
    subnet with the gateway inside; without one it uses the link-local gateway, as behind a veth."""

    interface: InterfaceName
    mac: MacAddress | None = None
    gateway: tuple[str, ...] = ()
    guest: Literal["namespace", "qemu"] = "namespace"


class Workload(_Strict, frozen=True):
    """Something with addresses of its own on a host: behind a veth, or a TAP if `tap` is given."""

    name: Name
    host: str
    addresses: tuple[str, ...]
    labels: dict[str, str] = {}
    tap: Tap | None = None

    @property
    def mac(self) -> str:
        """The guest's MAC behind a TAP; without one in the topology it follows from the name."""
        if self.tap and self.tap.mac:
            return self.tap.mac
        digits = hashlib.sha1(self.name.encode(), usedforsecurity=False).hexdigest()
        return ":".join(["fa", "16", "3e", digits[0:2], digits[2:4], digits[4:6]])


class Topology(_Strict, frozen=True):
    """A whole lab. `resources` are documents of projectcalico.org/v3, applied before any agent starts."""

    name: LabName
    subnets: tuple[Subnet, ...]
    hosts: tuple[Host, ...] = ()
    workloads: tuple[Workload, ...] = ()
    router: Router | None = None
    machines: tuple[Machine, ...] = ()
    bird_kernel_metric: Annotated[int, Meta(ge=0, le=4294967295)] | None = None
    resources: tuple[dict[str, Any], ...] = ()

    def subnet_of(self, address: str) -> Subnet | None:
        """The subnet on which `address` is on-link."""
        wanted = ip_address(address)
        for subnet in self.subnets:
            if any(wanted in ip_network(prefix) for prefix in subnet.prefixes):
                return subnet
        return None

    def on_link(self, address: str) -> str:
        """`address` with the length of its subnet's prefix, as an interface is configured."""
        subnet = self.subnet_of(address)
        assert subnet is not None, f"{address} was validated to lie in a subnet"
        (prefix,) = (ip_network(text) for text in subnet.prefixes if ip_address(address) in ip_network(text))
        return f"{address}/{prefix.prefixlen}"

    def gateway_of(self, address: str) -> str | None:
        """The router's address in the subnet and family of `address`."""
        for candidate in self.router.addresses if self.router else ():
            if self.subnet_of(candidate) == self.subnet_of(address) and family(candidate) == family(address):
                return candidate
        return None

    @property
    def etcd(self) -> tuple[Machine, ...]:
        """The members of the lab's etcd cluster."""
        return tuple(machine for machine in self.machines if machine.etcd)

    def host(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    def workload(self, name: str) -> Workload | None:
        return next((workload for workload in self.workloads if workload.name == name), None)

    def members(self) -> tuple[str, ...]:
        """Every name that `lab exec` takes, in the order of the file's sections."""
        router = (self.router.name,) if self.router else ()
        hosts = tuple(host.name for host in self.hosts)
        machines = tuple(machine.name for machine in self.machines)
        return (*hosts, *router, *machines, *(workload.name for workload in self.workloads))


def is_qemu(workload: Workload | None) -> bool:
    """A QEMU guest has a network of its own; it needs no namespace for it."""
    return bool(workload and workload.tap and workload.tap.guest == "qemu")


def family(address: str) -> int:
    """4 or 6, of an address or a prefix in text."""
    return 6 if ":" in address else 4


def parse(text: str, source: str) -> Topology:
    """Raises `InvalidResource` with every problem found and its path; `source` is how the user calls the file."""
    subject = f"topology {source}"
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidResource(subject, (Problem("", "", f"is not YAML: {error}"),)) from None
    try:
        topology = msgspec.convert(document, Topology)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        raise InvalidResource(subject, (Problem(path.strip("`."), "", reason),)) from None
    if problems := _problems(topology):
        raise InvalidResource(subject, tuple(problems))
    return topology


def renamed(topology: Topology, name: str) -> Topology:
    """The same lab under another name; raises `InvalidResource` for a name that cannot be."""
    return parse(render(msgspec.structs.replace(topology, name=name)), f"{topology.name}, renamed")


def render(topology: Topology) -> str:
    """The topology as a file that `parse` reads back as an equal value."""
    return yaml.safe_dump(msgspec.to_builtins(topology), sort_keys=False)


def _problems(topology: Topology) -> list[Problem]:
    problems = [*_name_problems(topology), *_subnet_problems(topology), *_workload_problems(topology)]
    for index, host in enumerate(topology.hosts):
        problems += _host_problems(f"hosts[{index}]", host)
    # What depends on other values is judged only where these are right: one mistake gives one message.
    if not problems:
        problems += [*_member_address_problems(topology), *_router_problems(topology)]
    return problems or list(_peer_problems(topology))


def _name_problems(topology: Topology) -> Iterator[Problem]:
    named: list[tuple[str, str]] = [("", "fabric")]
    for section in ("hosts", "machines", "workloads"):
        for index, member in enumerate(getattr(topology, section)):
            named.append((f"{section}[{index}].name", member.name))
    if topology.router:
        named.append(("router.name", topology.router.name))
    yield from _repeated(named, "is the name of something else in this lab")
    subnets = [(f"subnets[{index}].name", subnet.name) for index, subnet in enumerate(topology.subnets)]
    yield from _repeated(subnets, "is the name of another subnet")


def _repeated(entries: list[tuple[str, str]], reason: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for path, value in entries:
        if value in seen:
            yield Problem(path, value, reason)
        seen.add(value)


def _subnet_problems(topology: Topology) -> Iterator[Problem]:
    known: list[str] = []
    for index, subnet in enumerate(topology.subnets):
        for place, prefix in enumerate(subnet.prefixes):
            path = f"subnets[{index}].prefixes[{place}]"
            try:
                network = ip_network(prefix)
            except ValueError as error:
                yield Problem(path, prefix, f"is not a prefix: {error}")
                continue
            if str(network) != prefix:
                yield Problem(path, prefix, f"must be written {network}")
            for other in known:
                if family(other) == family(prefix) and network.overlaps(ip_network(other)):
                    yield Problem(path, prefix, f"overlaps {other}")
            known.append(prefix)


def _address_problems(path: str, address: str) -> Iterator[Problem]:
    try:
        canonical = str(ip_address(address))
    except ValueError:
        yield Problem(path, address, "must be an IPv4 or IPv6 address without a prefix length")
        return
    if canonical != address:
        yield Problem(path, address, f"must be written {canonical}")


def _member_address_problems(topology: Topology) -> Iterator[Problem]:
    """Hosts and machines have one interface: one subnet, at most one address of a family."""
    members = [(f"hosts[{index}]", host.addresses) for index, host in enumerate(topology.hosts)]
    members += [(f"machines[{index}]", machine.addresses) for index, machine in enumerate(topology.machines)]
    used: list[tuple[str, str]] = []
    for path, addresses in members:
        yield from _family_problems(f"{path}.addresses", addresses)
        subnets = set()
        for place, address in enumerate(addresses):
            where = f"{path}.addresses[{place}]"
            used.append((where, address))
            if wrong := list(_address_problems(where, address)):
                yield from wrong
            elif subnet := topology.subnet_of(address):
                subnets.add(subnet.name)
            else:
                yield Problem(where, address, "must lie in one of the subnets")
        if len(subnets) > 1:
            yield Problem(f"{path}.addresses", ", ".join(addresses), "must lie in one subnet")
    if topology.router:
        used += [(f"router.addresses[{place}]", address) for place, address in enumerate(topology.router.addresses)]
    yield from _repeated(used, "is used twice")


def _family_problems(path: str, addresses: tuple[str, ...]) -> Iterator[Problem]:
    families = [family(address) for address in addresses]
    if not families:
        yield Problem(path, "", "must hold at least one address")
    if len(families) != len(set(families)):
        yield Problem(path, ", ".join(addresses), "must hold at most one address of a family")


def _router_problems(topology: Topology) -> Iterator[Problem]:
    router = topology.router
    if router is None:
        return
    places = []
    for place, address in enumerate(router.addresses):
        path = f"router.addresses[{place}]"
        if wrong := list(_address_problems(path, address)):
            yield from wrong
        elif subnet := topology.subnet_of(address):
            places.append((path, f"{subnet.name}, IPv{family(address)}"))
        else:
            yield Problem(path, address, "must lie in one of the subnets")
    yield from _repeated(places, "must be the router's only address in its subnet and family")


def _peer_problems(topology: Topology) -> Iterator[Problem]:
    bgp = topology.router.bgp if topology.router else None
    for index, peer in enumerate(bgp.peers if bgp else ()):
        path = f"router.bgp.peers[{index}]"
        host = next((host for host in topology.hosts if host.name == peer), None)
        if host is None:
            yield Problem(path, peer, "must be the name of a host")
        elif not any(topology.gateway_of(address) for address in host.addresses):
            yield Problem(path, peer, "must be a host in a subnet of the router")


def _host_problems(path: str, host: Host) -> Iterator[Problem]:
    if host.route_reflector:
        try:
            known = family(str(ip_address(host.route_reflector))) == 4
        except ValueError:
            known = False
        if not known:
            yield Problem(f"{path}.route_reflector", host.route_reflector, "must be a cluster id such as 244.0.0.1")
    if host.dhcp:
        yield from _interface_address_problems(f"{path}.dhcp.address", host.dhcp.address)


def _interface_address_problems(path: str, address: str) -> Iterator[Problem]:
    try:
        canonical = str(ip_interface(address))
    except ValueError:
        canonical = ""
    if canonical != address:
        yield Problem(path, address, "must be an address with its prefix length, such as 10.65.0.1/16")


def _workload_problems(topology: Topology) -> Iterator[Problem]:
    hosts = {host.name for host in topology.hosts}
    used: list[tuple[str, str]] = []
    taps: list[tuple[str, str]] = []
    for index, workload in enumerate(topology.workloads):
        path = f"workloads[{index}]"
        if workload.host not in hosts:
            yield Problem(f"{path}.host", workload.host, "must be the name of a host")
        yield from _family_problems(f"{path}.addresses", workload.addresses)
        for place, address in enumerate(workload.addresses):
            used.append((f"{path}.addresses[{place}]", address))
            yield from _address_problems(f"{path}.addresses[{place}]", address)
        if workload.tap:
            taps.append((f"{path}.tap.interface", f"{workload.host}: {workload.tap.interface}"))
            yield from _gateway_problems(f"{path}.tap.gateway", workload, workload.tap)
    yield from _repeated(used, "is the address of another workload")
    yield from _repeated(taps, "is the TAP of another workload on this host")


def _gateway_problems(path: str, workload: Workload, tap: Tap) -> Iterator[Problem]:
    for place, gateway in enumerate(tap.gateway):
        where = f"{path}[{place}]"
        wrong = list(_interface_address_problems(where, gateway))
        yield from wrong
        if wrong:
            continue
        own = [address for address in workload.addresses if family(address) == family(gateway)]
        if not any(ip_address(address) in ip_interface(gateway).network for address in own):
            yield Problem(where, gateway, "must have an address of the workload in its subnet")
