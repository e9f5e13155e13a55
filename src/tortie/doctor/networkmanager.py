"""NetworkManager: it may take a new interface for one of its own, with DHCP, addresses and routes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from tortie.doctor import ini
from tortie.doctor.finding import Finding, warning
from tortie.doctor.host import Host
from tortie.doctor.ini import Setting
from tortie.doctor.network import PREFIXES

PROCESS = "NetworkManager"
DROP_IN = "/etc/NetworkManager/conf.d/tortie.conf"
_MAIN = "etc/NetworkManager/NetworkManager.conf"
_OPERATORS = "etc/NetworkManager/conf.d"
_VENDORS = ("run/NetworkManager/conf.d", "usr/lib/NetworkManager/conf.d")

_FALSE = ("0", "no", "false")


def check(host: Host) -> Iterator[Finding]:
    if any(host.named(PROCESS)):
        names = [each.name for each in host.network.workloads]
        yield from managed(_settings(host.root), [*names, *(f"{prefix}0" for prefix in PREFIXES)])


def managed(settings: Iterable[Setting], names: Iterable[str]) -> Iterator[Finding]:
    """Interfaces that no setting leaves alone."""
    patterns = list(unmanaged(settings))
    left = [name for name in names if not any(fnmatchcase(name, pattern) for pattern in patterns)]
    if left:
        wanted = ";".join(f"interface-name:{prefix}*" for prefix in PREFIXES)
        yield warning(
            f"NetworkManager may take over workload interfaces, such as {left[0]}",
            "NetworkManager.conf: no unmanaged-devices for them",
            "it removes addresses, routes and rules that it did not make when it takes an interface, or starts",
            "tortie node init does it; by hand: "
            f"write to {DROP_IN}: [keyfile], and below it unmanaged-devices+={wanted}; then systemctl reload"
            " NetworkManager",
        )


def unmanaged(settings: Iterable[Setting]) -> Iterator[str]:
    """The patterns of names that NetworkManager leaves alone (NetworkManager.conf(5), Device List Format)."""
    listed: list[str] = []
    devices: dict[str, dict[str, str]] = {}
    for each in settings:
        if each.section == "keyfile" and each.key.rstrip("+") == "unmanaged-devices":
            listed = [*(listed if each.key.endswith("+") else []), each.value]
        elif each.section.startswith("device"):
            devices.setdefault(each.section, {})[each.key] = each.value
    listed += [
        device.get("match-device", "") for device in devices.values() if device.get("managed", "").lower() in _FALSE
    ]
    for value in listed:
        for spec in value.replace(",", ";").split(";"):
            kind, _, pattern = spec.strip().partition(":")
            if spec.strip() == "*":
                yield "*"
            elif kind == "interface-name":
                yield pattern.removeprefix("=")


def _settings(root: Path) -> Iterator[Setting]:
    """The vendors' files count first, then the main file, then the operator's drop-ins."""
    operators = root / _OPERATORS
    files = ini.drop_ins([operators, *(root / place for place in _VENDORS)], ".conf")
    vendors = [file for file in files if file.parent != operators]
    main = [root / _MAIN] if (root / _MAIN).is_file() else []
    for file in (*vendors, *main, *(file for file in files if file.parent == operators)):
        yield from ini.parse(file)
