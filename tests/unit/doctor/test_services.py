"""systemd-networkd, NetworkManager and udev, by the files that configure them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.doctor.build import link
from tortie.doctor import ini, networkd, networkmanager, udev
from tortie.doctor.finding import Finding
from tortie.doctor.host import Host
from tortie.doctor.network import Network
from tortie.doctor.processes import Process

NETWORK = Network(links=(link(3, "cali1"),), workloads=(link(3, "cali1"),))
CALI, TAP = "interface-name:cali*", "interface-name:tap*"
NO = "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n"
OUR_LINK = "[Match]\nOriginalName=cali* tap*\n\n[Link]\nMACAddressPolicy=none\n"
VENDOR_LINK = "[Match]\nOriginalName=*\n\n[Link]\nNamePolicy=keep kernel\nMACAddressPolicy=persistent\n"


class Place(Host):
    """A host with these files and processes, and one workload."""

    def __init__(self, root: Path, files: dict[str, str], *names: str) -> None:
        super().__init__(root=root)
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
        self._names = names

    @property
    def network(self) -> Network:
        return NETWORK

    @property
    def processes(self) -> tuple[Process, ...]:
        return tuple(Process(number, name) for number, name in enumerate(self._names, 1))


def test_drop_ins_hide_each_other_by_name_and_count_by_name(tmp_path: Path) -> None:
    for name in ("etc/b.conf", "usr/a.conf", "usr/b.conf", "usr/c.other"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = ini.drop_ins([tmp_path / "etc", tmp_path / "missing", tmp_path / "usr"], ".conf")
    assert found == [tmp_path / "usr/a.conf", tmp_path / "etc/b.conf"]


def test_settings_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("# no\n;no\n[One]\n a = b=c \n\n[Two]\nd=\n")
    assert [each[1:] for each in ini.parse(tmp_path / "a")] == [("One", "a", "b=c"), ("Two", "d", "")]


@pytest.mark.parametrize(
    ("files", "wrong"),
    [
        ({}, "ManageForeignRoutes and ManageForeignRoutingPolicyRules"),
        ({"etc/systemd/networkd.conf": NO}, ""),
        ({"usr/lib/systemd/networkd.conf.d/a.conf": NO}, ""),
        ({"etc/systemd/networkd.conf": "[Network]\nManageForeignRoutes=no\n"}, "ManageForeignRoutingPolicyRules"),
        (
            {
                "usr/lib/systemd/networkd.conf.d/a.conf": NO,
                "etc/systemd/networkd.conf.d/z.conf": "[Network]\nManageForeignRoutes=yes\n",
            },
            "ManageForeignRoutes",
        ),
        (
            {
                "usr/lib/systemd/networkd.conf": NO,  # hidden by the operator's
                "etc/systemd/networkd.conf": "",
            },
            "ManageForeignRoutes and ManageForeignRoutingPolicyRules",
        ),
    ],
)
def test_foreign_routes_of_networkd(tmp_path: Path, files: dict[str, str], wrong: str) -> None:
    found = list(networkd.check(Place(tmp_path, files, "systemd-network")))
    expected = f"systemd-networkd removes what it did not make: {wrong} not set to no"
    assert [each.what for each in found] == ([expected] if wrong else [])


@pytest.mark.parametrize(
    ("files", "configured"),
    [
        ({"80-vendor.network": "[Match]\nName=vz-*\n"}, False),
        ({"10-all.network": "[Match]\nName=*\n[Network]\nDHCP=yes\n"}, True),
        ({"10-all.network": "[Match]\nName=!eth0 !lo\n"}, True),
        ({"10-all.network": "[Match]\nName=*\nType=ether\n"}, False),  # nobody knows what it matches
        (
            {"00-ours.network": "[Match]\nName=cali*\n[Link]\nUnmanaged=yes\n", "10-all.network": "[Match]\nName=*"},
            False,
        ),
        (
            {"10-all.network": "[Match]\nName=*\n", "20-ours.network": "[Match]\nName=cali*\n[Link]\nUnmanaged=yes"},
            True,
        ),
    ],
)
def test_files_of_networkd_for_workloads(tmp_path: Path, files: dict[str, str], configured: bool) -> None:
    placed = {f"etc/systemd/network/{name}": content for name, content in files.items()}
    host = Place(tmp_path, {**placed, "etc/systemd/networkd.conf": NO}, "systemd-network")
    found = [each.what for each in networkd.check(host)]
    assert found == (["systemd-networkd configures workload interfaces, such as cali1"] if configured else [])


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({}, "cali1"),
        ({"etc/NetworkManager/NetworkManager.conf": "[keyfile]\nunmanaged-devices=interface-name:cali*\n"}, "tap0"),
        (
            {"etc/NetworkManager/conf.d/a.conf": f"[keyfile]\nunmanaged-devices={CALI};{TAP}\n"},
            "",
        ),
        (
            {
                "usr/lib/NetworkManager/conf.d/a.conf": "[keyfile]\nunmanaged-devices=interface-name:cali*\n",
                "etc/NetworkManager/conf.d/b.conf": "[keyfile]\nunmanaged-devices+=interface-name:tap*\n",
            },
            "",
        ),
        (
            {
                "usr/lib/NetworkManager/conf.d/a.conf": "[keyfile]\nunmanaged-devices=interface-name:cali*\n",
                "etc/NetworkManager/conf.d/b.conf": "[keyfile]\nunmanaged-devices=interface-name:tap*\n",
            },
            "cali1",
        ),
        ({"etc/NetworkManager/conf.d/a.conf": "[device-tortie]\nmatch-device=*\nmanaged=0\n"}, ""),
    ],
)
def test_interfaces_that_networkmanager_leaves_alone(tmp_path: Path, files: dict[str, str], left: str) -> None:
    found = [each.what for each in networkmanager.check(Place(tmp_path, files, "NetworkManager"))]
    assert found == ([f"NetworkManager may take over workload interfaces, such as {left}"] if left else [])


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ({}, ""),
        ({"usr/lib/systemd/network/99-default.link": VENDOR_LINK}, "cali* tap*"),
        (
            {
                "usr/lib/systemd/network/99-default.link": VENDOR_LINK,
                "etc/systemd/network/00-tortie.link": OUR_LINK,
            },
            "",
        ),
        (
            {
                "usr/lib/systemd/network/99-default.link": VENDOR_LINK,
                "etc/systemd/network/00-cali.link": "[Match]\nOriginalName=cali*\n[Link]\nMACAddressPolicy=none\n",
            },
            "tap*",
        ),
    ],
)
def test_macs_that_udev_changes(tmp_path: Path, files: dict[str, str], names: str) -> None:
    found = [(each.severity, each.what) for each in udev.check(Place(tmp_path, files, "systemd-udevd"))]
    assert found == ([("note", f"udev changes the MAC address of new interfaces {names}")] if names else [])


def test_what_does_not_run_is_not_asked(tmp_path: Path) -> None:
    host = Place(tmp_path, {"usr/lib/systemd/network/99-default.link": VENDOR_LINK}, "bird")
    found: list[Finding] = [*networkd.check(host), *networkmanager.check(host), *udev.check(host)]
    assert found == []
