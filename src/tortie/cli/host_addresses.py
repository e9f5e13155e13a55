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
_ELSEWHERE = {4: (socket.AF_INET, "240.0.0.1"), 6: (socket.AF_INET6, "4000::1")}

_TIMEOUT_S = 10.0


class Held(NamedTuple):
    """An address that an interface of this host holds."""

    address: IPv4Interface | IPv6Interface
    interface: str


class HostError(TortieError):
    """The host could not be asked."""


def held_addresses() -> list[Held]:
    """All addresses of the host, with prefix lengths and interfaces."""
    try:
        done = subprocess.run(
            ["ip", "-json", "address", "show"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
        links = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise HostError(f"`ip -json address show` fails, so this host's addresses are unknown: {error}") from error
    return [
        Held(ip_interface(f"{found['local']}/{found['prefixlen']}"), link["ifname"])
        for link in links
        for found in link.get("addr_info", ())
        if "local" in found
    ]


def default_source(version: int) -> IPv4Address | IPv6Address | None:
    """The address from which this host speaks to the world by its default route; None without such a route."""
    family, elsewhere = _ELSEWHERE[version]
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            return ip_address(probe.getsockname()[0])
    except OSError:
        return None
