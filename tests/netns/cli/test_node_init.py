"""node init on a host with real interfaces and routes."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.netns.conftest import Namespace, NetnsFactory

Tortie = Callable[..., str]


@pytest.fixture
def host(netns: NetnsFactory) -> Namespace:
    namespace = netns("host")
    namespace.run(
        "ip link add eth0 type veth peer name far0; ip link add eth1 type veth peer name far1;"
        "for each in eth0 far0 eth1 far1; do ip link set $each up; done;"
        "ip address add 10.0.0.5/8 dev eth1; ip address add 172.18.203.125/24 dev eth0;"
        "ip address add 172.18.203.126/24 dev eth0; ip -6 address add fd00:18::125/64 dev eth0 nodad"
    )
    return namespace


@pytest.fixture
def tortie(host: Namespace, tmp_path: Path) -> Tortie:
    def run(words: str, check: bool = True) -> str:
        settings = f"TORTIE_NODE=node125 TORTIE_DATASTORE=sqlite://{tmp_path}/store.db"
        return host.run(f"{settings} {shlex.quote(sys.executable)} -m tortie {words} 2>&1", check=check)

    return run


def bgp_of(tortie: Tortie) -> Any:
    return json.loads(tortie("get node node125 -o json"))["spec"]["bgp"]


def test_the_source_of_the_default_route_with_its_prefix_length(host: Namespace, tortie: Tortie) -> None:
    host.run("ip route add default via 172.18.203.1 dev eth0")
    created = tortie("node init")
    assert created == "Node(node125) created: 172.18.203.125/24 on eth0 (by the default route), AS of the cluster\n"
    assert bgp_of(tortie) == {"ipv4Address": "172.18.203.125/24"}
    assert tortie("node init") == "Node(node125) unchanged: 172.18.203.125/24 on eth0, AS of the cluster\n"


def test_a_source_that_the_route_names(host: Namespace, tortie: Tortie) -> None:
    host.run("ip route add default via 10.0.0.1 dev eth1 src 172.18.203.126")
    tortie("node init")
    assert bgp_of(tortie) == {"ipv4Address": "172.18.203.126/24"}


def test_ipv6_where_there_is_no_ipv4(host: Namespace, tortie: Tortie) -> None:
    host.run("ip -6 route add default via fd00:18::1 dev eth0")
    tortie("node init")
    assert bgp_of(tortie) == {"ipv6Address": "fd00:18::125/64"}


def test_no_default_route(tortie: Tortie) -> None:
    said = tortie("node init", check=False)
    assert said.startswith(
        "Error: no IPv4 address to take for this node (it has no route to anybody): give --ip CIDR or"
    )


def test_a_bare_address_gets_the_prefix_length_of_its_interface(tortie: Tortie) -> None:
    tortie("node init --ip 10.0.0.5 --ip6 fd00:18::125")
    assert bgp_of(tortie) == {"ipv4Address": "10.0.0.5/8", "ipv6Address": "fd00:18::125/64"}


def test_a_bridge_and_virtual_addresses_are_passed_over(host: Namespace, tortie: Tortie) -> None:
    """As on a host of containers with a fail-over address, by all ways of looking."""
    host.run("ip link add br7 type bridge && ip link set br7 up && ip address add 192.0.2.1/24 dev br7")
    host.run("ip address add 198.51.100.7/32 dev eth0 && ip route add default via 192.0.2.9 dev br7")
    said = tortie("node init", check=False)
    assert "192.0.2.1/24 on br7, by the default route: a bridge" in said
    host.run("ip route replace default via 172.18.203.1 dev eth0 src 198.51.100.7")
    said = tortie("node init", check=False)
    assert "198.51.100.7/32 on eth0, by the default route: a single address" in said
    assert "172.18.203.125/24 on eth0" in tortie("node init --ip-autodetection-method interface=eth0")
    said = tortie("node init --ip autodetect --ip-autodetection-method can-reach=10.1.2.3")
    assert "10.0.0.5/8 on eth1 (can-reach=10.1.2.3)" in said
    said = tortie("node init --ip autodetect --ip-autodetection-method cidr=192.0.2.0/24")
    assert "192.0.2.1/24 on br7" in said  # it was named


def test_the_way_to_the_datastore_beats_the_default_route(host: Namespace, tmp_path: Path) -> None:
    host.run("ip route add default via 172.18.203.1 dev eth0")
    code = (
        "from tortie.cli.node_address import kernels_choice, store_destinations;"
        "from tortie.cli.host_addresses import held_addresses;"
        "print(kernels_choice(4, held_addresses(), store_destinations('etcd://10.9.9.9:2379,172.18.203.9:2379')))"
    )
    said = host.run(f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}")
    assert "10.0.0.5/8" in said
    assert "towards the datastore 10.9.9.9" in said


def test_a_host_is_prepared_once_and_a_reset_takes_it_back(netns: NetnsFactory, tmp_path: Path) -> None:
    """The files of a host of its own: another /etc, and other processes."""
    files = [tmp_path / "etc" / each for each in ("sysctl.d", "systemd/network", "systemd/networkd.conf.d")]
    for directory in files:
        directory.mkdir(parents=True)
    (files[0] / "foreign.conf").write_text("net.ipv4.ip_forward = 0\n")
    config = tmp_path / "tortie.toml"
    config.write_text(
        f'node = "a"\ndatastore = "sqlite://{tmp_path}/store.db"\nstate_dir = "{tmp_path}/state"\n'
        f'run_dir = "{tmp_path}/run"\nbird_socket = "{tmp_path}/bird.ctl"\nbird_config = "{tmp_path}/bird.conf"\n'
        f'bpffs = "{tmp_path}/bpf"\n'
    )
    host = netns("host")
    host.run("sysctl -qw net.ipv4.ip_forward=0")

    def tortie(words: str) -> str:
        inside = f"mount --bind {tmp_path}/etc /etc && exec {sys.executable} -m tortie -c {config} {words}"
        # Process 1 of a host is in the host's network namespace.
        return host.run(f"unshare --mount --pid --fork --mount-proc sh -c {shlex.quote(inside)} 2>&1")

    listed = tortie("node init --ip 10.0.0.5/24 --dry-run")
    assert "write /etc/sysctl.d/99-tortie.conf: " in listed
    assert "    +net/ipv4/ip_forward = 1\n" in listed
    assert not (tmp_path / "store.db").exists()
    assert sorted(path.name for directory in files for path in directory.iterdir()) == ["foreign.conf"]

    assert "Node(a) created: " in tortie("node init --ip 10.0.0.5/24 --yes")
    assert "net/ipv4/ip_forward = 1\n" in (files[0] / "99-tortie.conf").read_text()
    assert host.run("sysctl -n net.ipv4.ip_forward") == "0\n"  # the agent's to set
    assert "write /etc" not in tortie("node init --yes")

    host.run(f"sysctl -q -p {files[0]}/99-tortie.conf")  # as the next boot does
    said = tortie("node reset --yes")
    assert "\nremoved\n" in said
    assert "/etc/sysctl.d/99-tortie.conf\n" in said
    assert host.run("sysctl -n net.ipv4.ip_forward") == "0\n"
    assert [path.name for path in tmp_path.joinpath("etc").rglob("*") if path.is_file()] == ["foreign.conf"]
