"""The network of a topology as iproute2 commands."""

from __future__ import annotations

from tortie.lab.fabric import guest_commands, render
from tortie.lab.layout import Layout
from tortie.lab.topology import Tap, Workload, parse

TOPOLOGY = """
name: x
subnets:
  - {name: rack, prefixes: [192.0.2.0/24, "2001:db8::/64"]}
  - {name: far, prefixes: [198.51.100.0/25]}
router: {name: gateway, addresses: [192.0.2.1, "2001:db8::1", 198.51.100.1]}
machines:
  - {name: internet, addresses: [198.51.100.80]}
hosts:
  - {name: a, addresses: [192.0.2.10, "2001:db8::10"], dhcp: {interface: ns-1, address: 10.65.0.1/16}}
workloads:
  - {name: w, host: a, addresses: [10.65.0.21]}
  - {name: v, host: a, addresses: [10.65.0.22], tap: {interface: tap0, mac: "fa:16:3e:00:00:01"}}
  - {name: q, host: a, addresses: [10.65.0.23], tap: {interface: tap1, guest: qemu}}
"""

ACROSS = """\
netns add tl-x-fabric
netns add tl-x-a
netns add tl-x-gateway
netns add tl-x-internet
netns add tl-x-w
netns add tl-x-v
link add p-a index 1001 netns tl-x-fabric type veth peer name eth0 netns tl-x-a
link add d-a index 1002 netns tl-x-fabric type veth peer name ns-1 netns tl-x-a
link add p-internet index 1003 netns tl-x-fabric type veth peer name eth0 netns tl-x-internet
link add r-rack index 1004 netns tl-x-fabric type veth peer name to-rack netns tl-x-gateway
link add r-far index 1005 netns tl-x-fabric type veth peer name to-far netns tl-x-gateway
"""

WITHIN = {
    "fabric": """\
link set lo up
link add br-rack type bridge mcast_snooping 0
link set br-rack up
link add br-far type bridge mcast_snooping 0
link set br-far up
link set p-a master br-rack up
link set d-a up
link set p-internet master br-far up
link set r-rack master br-rack up
link set r-far master br-far up
""",
    "a": """\
link set lo up
link set eth0 up
addr add 192.0.2.10/24 dev eth0
route add default via 192.0.2.1
addr add 2001:db8::10/64 dev eth0
route add default via 2001:db8::1
link set ns-1 up
addr add 10.65.0.1/16 dev ns-1
tuntap add dev tap0 mode tap
link set tap0 up
tuntap add dev tap1 mode tap
link set tap1 up
""",
    "gateway": """\
link set lo up
link set to-rack up
addr add 192.0.2.1/24 dev to-rack
addr add 2001:db8::1/64 dev to-rack
link set to-far up
addr add 198.51.100.1/25 dev to-far
""",
    "internet": """\
link set lo up
link set eth0 up
addr add 198.51.100.80/25 dev eth0
route add default via 198.51.100.1
""",
    "w": "link set lo up\n",
    "v": """\
link set lo up
tuntap add dev eth0 mode tap
link set eth0 address fa:16:3e:00:00:01
link set eth0 up
addr add 10.65.0.22/32 dev eth0
route add 169.254.1.1 dev eth0 scope link
route add default via 169.254.1.1 dev eth0
""",
}


def test_a_topology_becomes_these_commands() -> None:
    commands = render(parse(TOPOLOGY, "test"), Layout("x"))
    assert "".join(f"{line}\n" for line in commands.across) == ACROSS
    assert {member: "".join(f"{line}\n" for line in lines) for member, lines in commands.within.items()} == WITHIN


def test_a_guest_follows_its_dhcp_server_in_one_family_and_the_link_local_gateway_in_the_other() -> None:
    tap = Tap(interface="tap0", mac="fa:16:3e:00:00:01", gateway=("10.65.0.1/16",))
    workload = Workload(name="v", host="a", addresses=("10.65.0.22", "2001:db8:65::22"), tap=tap)
    assert list(guest_commands(workload)) == [
        "link set eth0 address fa:16:3e:00:00:01",
        "link set eth0 up",
        "addr add 10.65.0.22/16 dev eth0",
        "route add default via 10.65.0.1 dev eth0",
        "addr add 2001:db8:65::22/128 dev eth0 nodad",
        "route add default via fe80::ecee:eeff:feee:eeee dev eth0",
    ]
