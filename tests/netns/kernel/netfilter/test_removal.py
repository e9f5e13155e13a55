"""A table taken away under a flood of packets that it lets pass."""

from __future__ import annotations

import re
import subprocess

from tests.netns.conftest import NetnsFactory
from tests.netns.kernel.netfilter.nft import INET, TABLE
from tortie.kernel.netfilter import table
from tortie.kernel.netfilter.removal import remove
from tortie.kernel.netfilter.socket import NetfilterSocket

REMOVALS = 100
CLOSED = f"""
table inet {TABLE} {{
    chain known {{ accept; }}
    map arrival {{ type iface_index : verdict; elements = {{ "up0" : goto known, "up1" : goto known }} }}
    chain arriving {{
        type filter hook prerouting priority -401;
        iif vmap @arrival
        iifname "up*" drop
    }}
}}
"""


def test_no_packet_meets_what_is_left_of_a_table_that_goes(netns: NetnsFactory) -> None:
    router, first, second = netns("router"), netns("first"), netns("second")
    for number, end in enumerate((first, second)):
        router.run(f"ip link add up{number} type veth peer name eth0 netns {end.name}; ip link set up{number} up")
        router.run(f"ip addr add 192.0.2.{number * 128 + 1}/25 dev up{number}; sysctl -qw net.ipv4.ip_forward=1")
        end.run(f"ip addr add 192.0.2.{number * 128 + 2}/25 dev eth0; ip link set eth0 up")
        end.run(f"ip route add default via 192.0.2.{number * 128 + 1}")
    command = ["ip", "netns", "exec", first.name, "ping", "-q", "-f", "192.0.2.130"]
    flood = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        with NetfilterSocket.open_in(router.path) as sock:
            for _ in range(REMOVALS):
                router.run(f"nft '{CLOSED}'")
                remove(sock, INET, TABLE)
            assert table.dump(sock, INET) == []
    finally:
        flood.send_signal(2)
        told, _ = flood.communicate(timeout=10)
    found = re.search(r"(\d+) packets transmitted, (\d+) received", told)
    assert found is not None, told
    sent, received = map(int, found.groups())
    # The last one may be under way.
    assert sent - received <= 1, told
