"""Who listens on a port, and by which number one namespace knows another."""

from __future__ import annotations

import os
import socket
import subprocess
from subprocess import PIPE

from tests.netns.conftest import NetnsFactory
from tortie.kernel import listening
from tortie.kernel import netns as kernel_netns
from tortie.kernel.netlink import link, namespace


def test_listeners_of_one_namespace_alone(netns: NetnsFactory) -> None:
    here, elsewhere = netns("a"), netns("b")
    assert here.call(lambda: listening.listeners(179)) == []
    with here.call(lambda: socket.create_server(("::", 179), family=socket.AF_INET6)):
        [found] = here.call(lambda: listening.listeners(179))
        assert found.pid == os.getpid()
        assert str(found) == f"{found.name} (pid {found.pid})"
        assert here.call(lambda: listening.listeners(180)) == []
        assert elsewhere.call(lambda: listening.listeners(179)) == []


def test_the_number_of_a_peers_namespace(netns: NetnsFactory) -> None:
    here, there, stranger = netns("a"), netns("b"), netns("c")
    here.run(f"ip link add out type veth peer name in netns {there.name}")
    with here.netlink() as sock:
        wanted = link.get(sock, "out").peer_netns_id
        numbers = []
        for each in (there, stranger):
            descriptor = os.open(each.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                numbers.append(namespace.number(sock, descriptor))
            finally:
                os.close(descriptor)
    assert wanted is not None
    assert numbers == [wanted, None]


def test_known_namespaces_come_once(netns: NetnsFactory) -> None:
    made = netns("a")
    with subprocess.Popen(
        ["ip", "netns", "exec", made.name, "sh", "-c", "echo; read end"], stdin=PIPE, stdout=PIPE
    ) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()  # so it is inside
        paths = list(kernel_netns.known())
        busy.communicate()
    assert made.path in paths
    assert f"/proc/{busy.pid}/ns/net" not in paths
