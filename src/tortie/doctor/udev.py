"""udev: it gives a new interface whose MAC the kernel chose another one, after its maker and the agent have seen it.

The first .link file that matches decides (systemd.link(5)); the one of the distribution matches everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from tortie.doctor import ini
from tortie.doctor.finding import Finding, note
from tortie.doctor.host import Host
from tortie.doctor.ini import Setting
from tortie.doctor.network import PREFIXES
from tortie.doctor.networkd import PLACES

PROCESSES = ("systemd-udevd", "(udev-worker)", "udevd")
LINK_FILE = "/etc/systemd/network/00-tortie.link"


def check(host: Host) -> Iterator[Finding]:
    if not any(host.named(*PROCESSES)):
        return
    files = ini.drop_ins([host.root / place / "network" for place in PLACES], ".link")
    yield from persistent([ini.parse(file) for file in files])


def persistent(files: Iterable[list[Setting]]) -> Iterator[Finding]:
    """Files in their order."""
    files = list(files)
    hit = {}
    for prefix in PREFIXES:
        file = next((settings for settings in files if settings and _matches(settings, f"{prefix}0")), None)
        policy = [each for each in file or () if (each.section, each.key) == ("Link", "MACAddressPolicy")]
        if policy and policy[-1].value == "persistent":
            hit[prefix] = policy[-1]
    if hit:
        names = " ".join(f"{prefix}*" for prefix in hit)
        yield note(
            f"udev changes the MAC address of new interfaces {names}",
            f"{next(iter(hit.values())).file}: MACAddressPolicy=persistent",
            "a TAP that a hypervisor makes gets another MAC a moment later; the agent sets its own again, and the"
            " guest may have learnt the wrong one in between",
            "tortie node init does it; by hand: "
            f"write to {LINK_FILE}: [Match] OriginalName={names}, and [Link] MACAddressPolicy=none",
        )


def _matches(settings: list[Setting], name: str) -> bool:
    conditions = [each for each in settings if each.section == "Match"]
    if not conditions or any(each.key != "OriginalName" for each in conditions):
        return False
    return any(fnmatchcase(name, pattern) for pattern in conditions[-1].value.split())
