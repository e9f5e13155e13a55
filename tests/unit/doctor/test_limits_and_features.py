"""Full tables, sizes of packets, and what a kernel lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.doctor.build import link
from tortie.doctor import features, limits, mtu
from tortie.doctor.finding import Unseen
from tortie.doctor.host import Host
from tortie.doctor.network import Network
from tortie.kernel.modules import USED


@pytest.mark.parametrize(
    ("entries", "limit", "expected"),
    [
        (74, 100, []),
        (75, 100, ["warning"]),
        (94, 100, ["warning"]),
        (95, 100, ["error"]),
        (None, 100, []),  # this kernel does not tell
        (75, None, []),
        (5, 0, []),
    ],
)
def test_fullness(entries: int | None, limit: int | None, expected: list[str]) -> None:
    table = limits.Filled("tracked connections", "netfilter/nf_conntrack_max", entries, limit, "")
    assert [str(each.severity) for each in limits.fullness(table)] == expected


def test_a_full_table_names_its_limit() -> None:
    table = limits.Filled("tracked connections", "netfilter/nf_conntrack_max", 900, 1000, "")
    (found,) = limits.fullness(table)
    assert found.what == "the table of tracked connections is 90 % full"
    assert found.where == "net.netfilter.nf_conntrack_max = 1000, 900 in use"
    assert found.do.startswith("sysctl -w net.netfilter.nf_conntrack_max=4000")


def test_an_uplink_that_is_too_small() -> None:
    network = Network(
        workloads=(link(3, "cali1"), link(4, "cali2", mtu=1400), link(5, "cali3", mtu=9000)),
        uplinks=(link(2, "eth0", mtu=1450), link(6, "eth1", mtu=9000)),
    )
    (found,) = mtu.sizes(network)
    assert found.what == "eth0 takes packets of 1450 bytes, and workloads send up to 9000"
    assert found.where == "mtu of cali1, cali3"


@pytest.mark.parametrize(
    ("release", "kept"), [("6.9.0", True), ("6.18.44-fc", True), ("6.8.12", False), ("5.10", False)]
)
def test_tables_that_can_be_kept_from_others(release: str, kept: bool) -> None:
    assert [str(each.severity) for each in features.tables(release)] == ([] if kept else ["note"])


def test_missing_parts_are_named_with_what_goes_missing() -> None:
    known = {module.name for module in USED} - {"cls_bpf"}
    (found,) = features.missing(known)
    assert (found.what, found.where) == ("the kernel has no cls_bpf", "CONFIG_NET_CLS_BPF")
    assert "proxy_arp" in found.why


def test_a_kernel_that_tells_nothing_lacks_nothing(tmp_path: Path) -> None:
    class Bare(Host):
        network = Network()

    told, *_ = features.check(Bare(root=tmp_path))
    assert isinstance(told, Unseen)
    assert told.what == "what the kernel is made of"


def test_interfaces_without_the_responder() -> None:
    workloads = (link(3, "cali1"), link(4, "cali2"), link(5, "gone"))
    (found,) = features.responder(workloads, {3: True, 4: False})
    assert found.what == "no eBPF program answers ARP on 1 of 3 workload interfaces"
    assert found.where == "cali2"
