"""systemd-networkd: unless told not to, it removes routes and rules that it did not make from the links it manages.

That happens when it starts and when a link is configured anew, and takes the routes of BIRD and of tortie alike
(networkd.conf(5), ManageForeignRoutes).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from tortie.doctor import ini
from tortie.doctor.finding import Finding, warning
from tortie.doctor.host import Host
from tortie.doctor.ini import Setting
from tortie.doctor.network import PREFIXES

PROCESS = "systemd-network"  # 15 characters of systemd-networkd
PLACES = ("etc/systemd", "run/systemd", "usr/local/lib/systemd", "usr/lib/systemd")
UNMANAGED = "/etc/systemd/network/00-tortie.network"
DROP_IN = "/etc/systemd/networkd.conf.d/tortie.conf"

_FOREIGN = ("ManageForeignRoutes", "ManageForeignRoutingPolicyRules")
_NO = ("no", "false", "off", "0", "n", "f")


def check(host: Host) -> Iterator[Finding]:
    if not any(host.named(PROCESS)):
        return
    places = [host.root / place for place in PLACES]
    main = [place / "networkd.conf" for place in places]
    yield from foreign(ini.settings(main, [place / "networkd.conf.d" for place in places], ".conf"))
    names = [each.name for each in host.network.workloads] or [f"{prefix}0" for prefix in PREFIXES]
    networks = ini.drop_ins([place / "network" for place in places], ".network")
    yield from matched([ini.parse(file) for file in networks], names)


def foreign(settings: Iterable[Setting]) -> Iterator[Finding]:
    """Settings in the order in which they count; the last one of a key wins."""
    values = {each.key: each for each in settings if each.section == "Network"}
    managed = [key for key in _FOREIGN if key not in values or values[key].value.lower() not in _NO]
    if managed:
        said = values.get(managed[0])
        yield warning(
            f"systemd-networkd removes what it did not make: {' and '.join(managed)} not set to no",
            f"{said.file}: {managed[0]}={said.value}" if said else "networkd.conf: not set, which means yes",
            "when it restarts, or reconfigures a link, BGP's and workloads' routes by that link are gone until they are"
            " repaired",
            "tortie node init does it; by hand: "
            f"write to {DROP_IN}: [Network], and below it {' and '.join(f'{key}=no' for key in managed)}; then"
            " systemctl restart systemd-networkd",
        )


def matched(networks: Iterable[list[Setting]], names: Iterable[str]) -> Iterator[Finding]:
    """Files in their order: the first one that matches an interface configures it."""
    files = list(networks)
    for name in names:
        for settings in files:
            if settings and _matches(settings, name):
                if not any(each.key == "Unmanaged" and each.value.lower() not in _NO for each in settings):
                    yield warning(
                        f"systemd-networkd configures workload interfaces, such as {name}",
                        str(settings[0].file),
                        "it may put addresses on them, take the agent's away and set them down",
                        "tortie node init does it; by hand: "
                        f"write to {UNMANAGED}: [Match] Name={' '.join(f'{prefix}*' for prefix in PREFIXES)}, and"
                        " [Link] Unmanaged=yes; then networkctl reload",
                    )
                    return
                break


def _matches(settings: list[Setting], name: str) -> bool:
    """By name alone: what else a file asks of a link is not known of one to come, and counts as missing."""
    conditions = [each for each in settings if each.section == "Match"]
    if not conditions or any(each.key != "Name" for each in conditions):
        return False
    patterns = conditions[-1].value.split()
    if patterns and patterns[0].startswith("!"):
        return not any(fnmatchcase(name, pattern.removeprefix("!")) for pattern in patterns)
    return any(fnmatchcase(name, pattern) for pattern in patterns)
