"""Which files of the system tortie wants on a host, by what the host has. Pure.

What they say is what `tortie doctor` asks for, at the places that it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from tortie.doctor import networkd, networkmanager, udev
from tortie.doctor.network import PREFIXES

SYSCTLS = Path("/etc/sysctl.d/99-tortie.conf")  # behind /etc/sysctl.conf, which is 99-sysctl.conf to systemd
PATHS = (
    *map(Path, (networkd.DROP_IN, networkd.UNMANAGED, udev.LINK_FILE, networkmanager.DROP_IN)),
    SYSCTLS,
)

_NAMES = " ".join(f"{prefix}*" for prefix in PREFIXES)


class Service(Enum):
    """What may take interfaces, addresses, routes or MACs away, and how it hears of a new file."""

    NETWORKD = ("systemctl", "restart", "systemd-networkd")  # a reload does not read networkd.conf again
    UDEV = ("udevadm", "control", "--reload")
    NETWORK_MANAGER = ("systemctl", "reload", "NetworkManager")


class Wanted(NamedTuple):
    path: Path
    why: str
    body: str
    service: Service | None = None  # who has to hear of it


def wanted(services: frozenset[Service], sysctls: Mapping[str, str]) -> Iterator[Wanted]:
    """`services` are installed; `sysctls` is what the agent sets for the host as a whole, below net."""
    if Service.NETWORKD in services:
        yield Wanted(
            Path(networkd.DROP_IN),
            "systemd-networkd leaves routes and rules alone that it did not make",
            "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n",
            Service.NETWORKD,
        )
        yield Wanted(
            Path(networkd.UNMANAGED),
            "systemd-networkd leaves the interfaces of workloads alone",
            f"[Match]\nName={_NAMES}\n\n[Link]\nUnmanaged=yes\n",
            Service.NETWORKD,
        )
    if Service.NETWORK_MANAGER in services:
        devices = ";".join(f"interface-name:{prefix}*" for prefix in PREFIXES)
        yield Wanted(
            Path(networkmanager.DROP_IN),
            "NetworkManager leaves the interfaces of workloads alone",
            f"[keyfile]\nunmanaged-devices+={devices}\n",
            Service.NETWORK_MANAGER,
        )
    if Service.UDEV in services:
        yield Wanted(
            Path(udev.LINK_FILE),
            "udev does not change the MACs of workloads' interfaces",
            f"[Match]\nOriginalName={_NAMES}\n\n[Link]\nMACAddressPolicy=none\n",
            Service.UDEV,
        )
    yield Wanted(
        SYSCTLS,
        "what sets sysctls at boot, and whenever a package asks for it, does not undo what the agent sets",
        "".join(f"net/{path} = {value}\n" for path, value in sysctls.items()),
    )
