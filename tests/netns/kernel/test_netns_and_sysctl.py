"""Namespaces by name, settings inside them, and the devices made there."""

from __future__ import annotations

import os
import secrets
import threading
from pathlib import Path

import pytest

from tests.netns.conftest import NetnsFactory
from tests.netns.kernel.oracle import ip, veth, wait_link
from tortie.errors import Busy, Exists, Gone, Refused
from tortie.kernel import libc, sysctl, tap
from tortie.kernel import netns as kernel_netns
from tortie.kernel.netlink import link
from tortie.kernel.netlink.link import VethEnd
from tortie.kernel.netlink.socket import NetlinkSocket


class TestNamespace:
    def test_ip_netns_sees_what_is_made_and_removed(self, netns: NetnsFactory) -> None:
        a = netns("a")
        assert a.name in a.run("ip netns list")
        a.run("ip link add inside type veth peer name other")
        assert "inside" in {row["ifname"] for row in ip(a, "link show")}
        kernel_netns.delete(a.name)
        assert not Path(a.path).exists()
        assert a.path not in Path("/proc/self/mounts").read_text()
        kernel_netns.delete(a.name)

    def test_a_name_that_is_taken_is_not_taken_over(self, netns: NetnsFactory) -> None:
        a = netns("a")
        before = kernel_netns.identify(a.path)
        with pytest.raises(Exists, match=a.name):
            kernel_netns.create(a.name)
        assert kernel_netns.identify(a.path) == before

    def test_a_name_without_its_mount_is_removed_too(self, netns: NetnsFactory) -> None:
        netns("a")  # needs root, and makes the directory
        name = f"tt-{secrets.token_hex(3)}-file"
        Path(kernel_netns.named(name)).touch()
        kernel_netns.delete(name)
        assert not Path(kernel_netns.named(name)).exists()

    def test_a_failure_half_way_leaves_no_name(self, netns: NetnsFactory, monkeypatch: pytest.MonkeyPatch) -> None:
        netns("a")  # needs root
        mount = libc.mount

        def failing(source: str, target: str, filesystem: str, flags: int = 0) -> None:
            if source == "/proc/thread-self/ns/net":
                raise PermissionError(1, "Operation not permitted")
            mount(source, target, filesystem, flags)

        monkeypatch.setattr(libc, "mount", failing)
        name = f"tt-{secrets.token_hex(3)}-half"
        with pytest.raises(Refused, match=f"create network namespace {name}"):
            kernel_netns.create(name)
        assert not Path(kernel_netns.named(name)).exists()

    def test_identity_is_the_namespace_not_the_name(self, netns: NetnsFactory) -> None:
        a, b = netns("a"), netns("b")
        identity = kernel_netns.identify(a.path)
        descriptor = os.open(a.path, os.O_RDONLY)
        try:
            assert kernel_netns.identify(descriptor) == identity
        finally:
            os.close(descriptor)
        assert a.call(lambda: kernel_netns.identify("/proc/thread-self/ns/net")) == identity
        assert kernel_netns.identify(b.path) != identity
        assert kernel_netns.identify("/proc/self/ns/net") != identity

    def test_the_caller_stays_where_it_was(self, netns: NetnsFactory) -> None:
        before = kernel_netns.identify("/proc/thread-self/ns/net")
        a = netns("a")
        assert a.call(threading.get_ident) != threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            a.call(lambda: 1 // 0)
        assert kernel_netns.identify("/proc/thread-self/ns/net") == before

    def test_a_path_that_is_no_namespace(self, tmp_path: Path) -> None:
        with pytest.raises(Gone, match="enter network namespace /no/such"):
            kernel_netns.run_in("/no/such", int)
        file = tmp_path / "file"
        file.touch()
        if os.geteuid() == 0:
            with pytest.raises(Refused, match="enter network namespace"):
                kernel_netns.run_in(str(file), int)
        with pytest.raises(Gone):
            kernel_netns.identify("/no/such")

    def test_a_socket_stays_in_its_namespace(self, netns: NetnsFactory) -> None:
        a, b = netns("a"), netns("b")
        with a.netlink() as in_a, NetlinkSocket.open_in(b.path) as in_b:
            veth(in_a)
            assert {row.name for row in link.dump(in_a)} == {"lo", "host0", "guest0"}
            assert {row.name for row in link.dump(in_b)} == {"lo"}
            assert {row.name for row in b.call(lambda: link.dump(in_a))} == {"lo", "host0", "guest0"}


class TestSysctl:
    def test_an_interface_name_may_have_dots(self, netns: NetnsFactory) -> None:
        a = netns("a")
        with a.netlink() as sock:
            link.create_veth(sock, VethEnd("eth0.10"), VethEnd("b"))
        path = "ipv4/conf/eth0.10/rp_filter"

        def write() -> str:
            sysctl.write(path, "2")
            return sysctl.read(path)

        assert a.call(write) == "2"
        assert a.run("cat /proc/sys/net/ipv4/conf/eth0.10/rp_filter") == "2\n"
        with pytest.raises(Gone):
            sysctl.read(path)  # not in this namespace

    def test_what_is_not_there_is_gone(self, netns: NetnsFactory) -> None:
        a = netns("a")
        with pytest.raises(Gone, match="read sysctl net/ipv4/conf/nobody/rp_filter"):
            a.call(lambda: sysctl.read("ipv4/conf/nobody/rp_filter"))
        with pytest.raises(Gone, match="write sysctl net/ipv4/conf/nobody/rp_filter=1"):
            a.call(lambda: sysctl.write("ipv4/conf/nobody/rp_filter", "1"))

    def test_a_value_that_the_kernel_does_not_take_is_refused(self, netns: NetnsFactory) -> None:
        a = netns("a")
        with pytest.raises(Refused, match="forwarding=many: Invalid argument"):
            a.call(lambda: sysctl.write("ipv4/conf/lo/forwarding", "many"))


class TestTap:
    def test_has_a_carrier_while_it_is_held(self, netns: NetnsFactory) -> None:
        a = netns("a")
        descriptor = a.call(lambda: tap.open_tap("tap0"))
        with a.netlink() as sock:
            try:
                link.change(sock, link.get(sock, "tap0").ifindex, up=True)
                wait_link(a, "tap0", lambda found: found.running)
                assert link.get(sock, "tap0").kind == "tun"
                with pytest.raises(Busy, match="open TAP tap0"):
                    a.call(lambda: tap.open_tap("tap0"))
            finally:
                os.close(descriptor)
            with pytest.raises(Gone):
                link.get(sock, "tap0")

    def test_a_kept_one_lives_on_without_carrier(self, netns: NetnsFactory) -> None:
        a = netns("a")
        descriptor = a.call(lambda: tap.open_tap("tap0"))
        tap.keep(descriptor)
        with a.netlink() as sock:
            link.change(sock, link.get(sock, "tap0").ifindex, up=True)
            os.close(descriptor)
            wait_link(a, "tap0", lambda found: not found.running)
            descriptor = a.call(lambda: tap.open_tap("tap0"))
            try:
                wait_link(a, "tap0", lambda found: found.running)
            finally:
                os.close(descriptor)

    def test_a_name_of_something_else_is_refused(self, netns: NetnsFactory) -> None:
        with pytest.raises(Refused):
            netns("a").call(lambda: tap.open_tap("lo"))
