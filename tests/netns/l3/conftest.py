"""Hosts with a real l3 sink."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.netns.conftest import Namespace, NetnsFactory
from tests.netns.l3.host import Host
from tortie.kernel import libc
from tortie.kernel.bpf import pin

HostFactory = Callable[[Namespace], Host]


@pytest.fixture
def bpffs(tmp_path: Path) -> Iterator[Path]:
    """A bpffs of the test's own."""
    path = tmp_path / "bpf"
    pin.mount(str(path))
    yield path
    libc.umount(str(path), libc.MNT_DETACH)


@pytest.fixture
def l3_host(bpffs: Path, tmp_path: Path) -> Iterator[HostFactory]:
    """`l3_host(namespace)` makes a sink there; a second call for it is the next agent, with the same pins."""
    made: list[Host] = []

    def make(namespace: Namespace) -> Host:
        host = Host(namespace, bpffs, tmp_path / "state")
        made.append(host)
        return host

    yield make
    for host in made:
        host.close()


@pytest.fixture
def host(netns: NetnsFactory, l3_host: HostFactory) -> Host:
    """A host with an uplink `up0` (172.18.203.5/24) and a default route by it."""
    namespace = netns("host")
    namespace.run(
        "ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up"
        " && ip addr add 172.18.203.5/24 dev up0 && ip route add default via 172.18.203.1"
    )
    return l3_host(namespace)
