"""What a caller may ask, checked before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

import msgspec

from tortie.errors import UsageError
from tortie.model.addresses import Mac
from tortie.model.kinds.profile import DEFAULT_ALLOW_NAME
from tortie.model.names import host_interface_name

Address = IPv4Address | IPv6Address

ORCHESTRATOR = "tortie"
GUEST_INTERFACE = "eth0"  # the endpoint part of a veth's identity, and its name inside the workload

# Ethernet's ceiling and IPv6's floor (RFC 8200 section 5); below it the kernel drops IPv6 from the interface.
_MTU = range(1280, 65536)


class AttachRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Attach a workload by a veth into `netns` (a path), or by the existing TAP device `tap`."""

    name: str
    namespace: str = "default"
    netns: str = ""
    tap: str = ""
    mac: str = ""
    addresses: tuple[str, ...] = ()
    labels: Mapping[str, str] = {}
    profiles: tuple[str, ...] = (DEFAULT_ALLOW_NAME,)
    mtu: int = 0  # 0: that of the uplink
    node: str = ""  # which the caller believes to be on; empty: whichever the agent is
    wait: bool = False  # also wait for a TAP without carrier
    timeout_s: float = 30.0

    @property
    def endpoint(self) -> str:
        return self.tap or GUEST_INTERFACE

    @property
    def interface(self) -> str:
        """The host end."""
        return self.tap or host_interface_name(self.namespace, self.name, GUEST_INTERFACE)

    @property
    def guest_mac(self) -> str:
        """In lower case with colons; empty when the caller gave none."""
        try:
            return str(Mac.from_json(self.mac)) if self.mac else ""
        except ValueError as error:
            raise UsageError(f"MAC {self.mac!r} {error}") from error

    def check(self) -> tuple[Address, ...]:
        """The addresses, parsed; raises UsageError for what can be told wrong without looking at the host.

        Names and labels are left to the endpoint's own validation.
        """
        if not self.namespace or "/" in self.namespace:
            raise UsageError(f"namespace {self.namespace!r} must be a name without a slash")
        if bool(self.netns) == bool(self.tap):
            raise UsageError("give either a network namespace (--netns) or a TAP device (--tap), and not both")
        if self.tap and not self.mac:
            raise UsageError(f"a TAP needs the MAC of its guest (--mac): {self.tap}'s gateway MAC derives from it")
        if self.mac and int(self.guest_mac[:2], 16) & 1:
            raise UsageError(f"MAC {self.mac} is a multicast address: a workload needs a unicast one")
        if self.mtu and self.mtu not in _MTU:
            raise UsageError(f"MTU {self.mtu} is outside {_MTU.start}..{_MTU.stop - 1}")
        if not self.addresses:
            raise UsageError("give the workload at least one address (--address)")
        addresses = tuple(_parse(text) for text in self.addresses)
        if len(set(addresses)) != len(addresses):
            raise UsageError(f"an address is given twice: {', '.join(self.addresses)}")
        return addresses


class DetachRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Detach all interfaces of a workload from this host."""

    name: str
    namespace: str = "default"
    node: str = ""
    timeout_s: float = 30.0


class AttachResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was done; `waiting` is empty once the kernel routes the workload."""

    endpoint: str  # name of the WorkloadEndpoint
    interface: str
    mac: str
    addresses: tuple[str, ...]
    waiting: str = ""
    warnings: tuple[str, ...] = ()


def _parse(text: str) -> Address:
    try:
        address = ip_address(text.removesuffix("/32" if "." in text else "/128"))
    except ValueError as error:
        raise UsageError(f"address {text!r} is not a single IPv4 or IPv6 address") from error
    if address.is_multicast or address.is_loopback or address.is_unspecified or address.is_link_local:
        raise UsageError(f"address {address} cannot be a workload's: it is not routed between hosts")
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        raise UsageError(f"address {address} is an IPv4 address in IPv6 clothes: give {address.ipv4_mapped}")
    return address
