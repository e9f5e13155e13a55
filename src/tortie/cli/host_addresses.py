"""The addresses of this host as iproute2 tells them; the command line has no netlink of its own."""

from __future__ import annotations

import json
import socket
import subprocess
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface
from typing import NamedTuple

from tortie.errors import TortieError

# Reserved (RFC 1112 section 4) and unassigned (RFC 4291 section 4): in no network, so only the default route leads
# there. Documentation addresses will not do: networks use them. Nothing is sent.
ELSEWHERE = {4: "240.0.0.1", 6: "4000::1"}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}

_TIMEOUT_S = 10.0


class Held(NamedTuple):
    """An address that an interface of this host holds."""

    address: IPv4Interface | IPv6Interface
    interface: str
    ifindex: int = 0  # the interface's, in the order of their making
    bridge: bool = False  # the interface is one
    secondary: bool = False  # there was another of the same subnet before it, as beside a virtual address
    temporary: bool = False  # IPv6's, for privacy (RFC 8981): another tomorrow


class HostError(TortieError):
    """The host could not be asked."""


def held_addresses() -> list[Held]:
    """All addresses of the host, with prefix lengths and interfaces."""
    try:
        done = subprocess.run(
            ["ip", "-json", "-details", "address", "show"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
        links = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise HostError(f"`ip -json address show` fails, so this host's addresses are unknown: {error}") from error
    return [
        Held(
            ip_interface(f"{found['local']}/{found['prefixlen']}"),
            link["ifname"],
            ifindex=link["ifindex"],
            bridge=link.get("linkinfo", {}).get("info_kind") == "bridge",
            secondary=bool(found.get("secondary")) and not found.get("temporary"),
            temporary=bool(found.get("temporary")),
        )
        for link in links
        for found in link.get("addr_info", ())
        if "local" in found
    ]


def source_towards(version: int, destination: str) -> IPv4Address | IPv6Address | None:
    """The address from which the kernel would send to an address or name; None without a route or an address of it."""
    try:
        with socket.socket(_FAMILIES[version], socket.SOCK_DGRAM) as probe:
            probe.connect((destination, 80))
            return ip_address(probe.getsockname()[0])
    except (OSError, UnicodeError):
        return None
