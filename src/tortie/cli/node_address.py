"""Which of its addresses a host takes for its node: the kernel's own choice, or one of Calico's detection methods.

Invariants:
* Nothing chosen by itself is a bridge's, a virtual address (a second one of its subnet) or a single one (/32, /128),
  nor of an interface that Calico leaves out too. What a user names is taken: an interface also if it is a bridge, and
  any address with --ip.
* What was passed over is told with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import NamedTuple

from tortie.cli.host_addresses import Held, HostError, source_towards
from tortie.datastore.etcd.members import Members
from tortie.errors import UsageError

Address = IPv4Address | IPv6Address

# Calico's default exclusions, and interfaces of workloads and tunnels.
_LEFT_OUT = re.compile(
    r"^(docker|cbr|dummy|podman|virbr|lxcbr|veth|lo|br-|cali|tap|tun|tunl|flannel|kube-ipvs|cni|vxlan\.calico"
    r"|vxlan-v6\.calico|wireguard\.cali|wg-v6\.cali|nodelocaldns)"
)
METHODS = "first-found, interface=REGEX,..., skip-interface=REGEX,..., cidr=CIDR,... or can-reach=DESTINATION"


class Chosen(NamedTuple):
    held: Held
    why: str


class Destination(NamedTuple):
    """Whom the node speaks to."""

    address: str  # or a name
    words: str


class Method(NamedTuple):
    """A detection method, as `parse_method` understood it."""

    kind: str
    patterns: tuple[re.Pattern[str], ...] = ()
    argument: str = ""


def parse_method(text: str) -> Method | None:
    """None for an empty text: the kernel's choice. Raises UsageError."""
    kind, _, argument = text.partition("=")
    words = [word.strip() for word in argument.split(",") if word.strip()]
    try:
        match kind:
            case "":
                return None
            case "first-found" if not argument:
                return Method(kind)
            case "interface" | "skip-interface" if words:
                return Method(kind, tuple(map(re.compile, words)), argument)
            case "cidr" if words:
                return Method(kind, (), ",".join(str(ip_network(word, strict=False)) for word in words))
            case "can-reach" if argument:
                return Method(kind, (), argument)
            case "kubernetes-internal-ip":
                raise UsageError(f"{kind} asks Kubernetes for the address, which is not there: {METHODS}")
    except (ValueError, re.error) as error:
        raise UsageError(f"method {text!r}: {error}") from error
    raise UsageError(f"method {text!r} is none: {METHODS}")


def kernels_choice(version: int, held: Sequence[Held], destinations: Iterable[Destination]) -> Chosen:
    """The address from which the kernel speaks to the first of the destinations that is reached from a fit one."""
    passed_over = []
    for destination in destinations:
        found = _holder(source_towards(version, destination.address), held)
        if found is not None and (reason := _unfit(found) or _left_out(found)):
            passed_over.append(f"{found.address} on {found.interface}, {destination.words}: {reason}")
        elif found is not None:
            return Chosen(_lasting(found, held), destination.words)
    raise HostError(_nothing(version, passed_over, "it has no route to anybody"))


def detect(version: int, method: Method, held: Sequence[Held]) -> Chosen:
    """The address by one of Calico's methods."""
    if method.kind == "can-reach":
        found = _holder(source_towards(version, method.argument), held)
        if found is None or (reason := _unfit(found)):
            why = f"{found.address}: {reason}" if found else f"no route to {method.argument}"
            raise HostError(_nothing(version, [why], ""))
        return Chosen(_lasting(found, held), f"can-reach={method.argument}")
    passed_over = []
    # As Calico: the interface that was made last comes first.
    for each in sorted(held, key=lambda each: -each.ifindex):
        if each.address.version == version and _is_meant(method, each):
            if reason := _unfit(each) or _second(each) or _by_default(method, each):
                passed_over.append(f"{each.address} on {each.interface}: {reason}")
            else:
                return Chosen(each, method.kind + (f"={method.argument}" if method.argument else ""))
    raise HostError(_nothing(version, passed_over, "no address fits the method"))


def _is_meant(method: Method, each: Held) -> bool:
    matches = any(pattern.search(each.interface) for pattern in method.patterns)
    match method.kind:
        case "interface":
            return matches
        case "skip-interface":
            return not matches
        case "cidr":
            return any(each.address.ip in ip_network(word) for word in method.argument.split(","))
    return True


def _by_default(method: Method, each: Held) -> str:
    return _left_out(each) if method.kind in ("first-found", "skip-interface") else ""


def _unfit(each: Held) -> str:
    address = each.address
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        return "other hosts do not reach it"
    if address.network.prefixlen == address.max_prefixlen:
        return "a single address, as virtual ones are"
    return ""


def _second(each: Held) -> str:
    if each.temporary:
        return "a temporary address"
    return "the second of its subnet, as virtual ones are" if each.secondary else ""


def _left_out(each: Held) -> str:
    if each.bridge:
        return "a bridge"
    return "no interface towards other hosts, by its name" if _LEFT_OUT.match(each.interface) else ""


def _holder(source: Address | None, held: Iterable[Held]) -> Held | None:
    return next((each for each in held if each.address.ip == source), None)


def _lasting(found: Held, held: Iterable[Held]) -> Held:
    """For a temporary address the lasting one of the same subnet."""
    if not found.temporary:
        return found
    same = (found.interface, found.address.network)
    lasting = (each for each in held if (each.interface, each.address.network) == same and not each.temporary)
    return next(lasting, found)


def _nothing(version: int, passed_over: Sequence[str], otherwise: str) -> str:
    option = "--ip" if version == 4 else "--ip6"
    reasons = "; ".join(passed_over) or otherwise
    do = f"give {option} CIDR or {option}-autodetection-method"
    return f"no IPv{version} address to take for this node ({reasons}): {do}"


def store_destinations(url: str) -> Iterator[Destination]:
    """The servers of an etcd that its URL names."""
    if url.startswith("etcd"):
        for server in Members(url).named:
            host = server.rpartition(":")[0].strip("[]")
            yield Destination(host, f"towards the datastore {host}")
