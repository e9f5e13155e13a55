"""A workload that sends what it must not: nothing of it reaches another workload, the world or the host.

attacker 10.65.0.1 ──┐                                  ┌── world 10.99.0.9, another host's workload
                     ├── host-a, 172.18.203.5, an agent ─┤
victim   10.65.0.2 ──┘                                  └── (uplink)
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from itertools import count, groupby
from typing import NamedTuple

import pytest

from tests.netns.agent.crafted import (
    DESTINATION,
    FRAGMENT,
    GRE,
    HOP_BY_HOP,
    HOST_END,
    IPIP,
    IPV6_INSIDE,
    ROUTING,
    behind,
    datagram,
    fragments,
    frame,
    icmp,
    ip,
    syn,
    tagged,
    udp,
)
from tests.netns.agent.running import RunningAgent
from tests.netns.agent.test_life import Ping
from tests.netns.agent.test_policy import BACKENDS, store, use
from tests.netns.conftest import Namespace, NetnsFactory
from tests.netns.kernel.frames import (
    ARP_REPLY,
    ARP_REQUEST,
    ArpFrame,
    advertisement,
    arp_request,
    ethernet,
    solicitation,
)

UDP, TCP, ICMP, ICMPV6 = socket.IPPROTO_UDP, socket.IPPROTO_TCP, socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6
ALL_PACKETS = 0x0003  # ETH_P_ALL
OUTGOING = 4  # PACKET_OUTGOING
DEADLINE_S = 5.0

A4, A6, LOCAL = "10.65.0.1", "fd00:65::1", "fe80::1:1"
B4, B6 = "10.65.0.2", "fd00:65::2"
W4, W6 = "10.99.0.9", "fd00:99::9"
H4, H6 = "172.18.203.5", "fd00:1::5"
OTHERS4, OTHERS6 = "10.65.0.77", "fd00:65::77"
ALL_NODES, GATEWAY = "ff02::1", "fe80::ecee:eeff:feee:eeee"
OPEN_PORT, CLOSED_PORT = 80, 81


class Scene:
    """The attacker's wire, and everybody who might hear of what it sends."""

    def __init__(self, agent: RunningAgent, attacker: Namespace, victim: Namespace, world: Namespace) -> None:
        self.agent = agent
        self.attacker = attacker
        self.victim = victim
        self._open = ExitStack()
        self._wire = self._packet_socket(attacker, "eth0")
        self.mac = self._wire.getsockname()[4].hex(":")
        self._ears = {
            "victim": self._packet_socket(victim, "eth0"),
            "world": self._packet_socket(world, "eth0"),
            **{f"host {number}": self._host_socket(number) for number in (UDP, TCP, ICMP, GRE, IPIP, IPV6_INSIDE)},
            **{f"host6 {number}": self._host_socket(number, socket.AF_INET6) for number in (UDP, TCP, ICMPV6, IPIP)},
        }
        page = agent.call("GET", "/v1/packets?kind=drop")
        self._number, self._counter = page["number"], page["counter"]

    def close(self) -> None:
        self._open.close()

    def _packet_socket(self, namespace: Namespace, interface: str) -> socket.socket:
        made = namespace.call(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PACKETS)))
        made.bind((interface, ALL_PACKETS))
        return self._open.enter_context(made)

    def _host_socket(self, protocol: int, family: int = socket.AF_INET) -> socket.socket:
        """Hears what came past all rules; raw sockets need no port."""
        made = self.agent.namespace.call(lambda: socket.socket(family, socket.SOCK_RAW, protocol))
        return self._open.enter_context(made)

    def send(self, *frames: bytes) -> None:
        for each in frames:
            self._wire.send(each)

    def send_as_victim(self, *packets: bytes) -> None:
        wire = self._ears["victim"]
        for each in packets:
            wire.send(frame(each, wire.getsockname()[4].hex(":")))

    def hears(self, mark: bytes, final: bytes) -> set[str]:
        """Who heard the mark before the final one, which the victim surely hears."""
        found: set[str] = set()
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            ready, _, _ = select.select(list(self._ears.values()), [], [], 0.1)
            done = False
            for name, ear in self._ears.items():
                if ear in ready:
                    data, address = ear.recvfrom(65536)
                    if len(address) > 2 and address[2] == OUTGOING and ear.family == socket.AF_PACKET:
                        continue
                    if mark in data:
                        found.add(name)
                    done |= name == "victim" and final in data
            if done:
                return found | self._rest(mark)
        raise AssertionError("the victim never heard what is allowed")

    def _rest(self, mark: bytes) -> set[str]:
        """What waits already: the kernel hands over within the sending."""
        found = set()
        for name, ear in self._ears.items():
            while select.select([ear], [], [], 0)[0]:
                data, address = ear.recvfrom(65536)
                if mark in data and not (ear.family == socket.AF_PACKET and address[2] == OUTGOING):
                    found.add(name)
        return found

    def reasons(self, *again: bytes) -> set[str]:
        """Why packets were dropped since the last time; sent again, since of much not all is told."""
        found: set[str] = set()
        deadline = time.monotonic() + DEADLINE_S
        for turn in count():
            path = f"/v1/packets?kind=drop&since={self._number}&counter={self._counter}&wait_s={0.1 if again else 0}"
            page = self.agent.call("GET", path)
            self._number = page["number"]
            found.update(event["reason"] for event in page["events"])
            # What is told of while one page is being asked for is on the next one.
            if turn and (found or not again or time.monotonic() > deadline):
                return found
            if not found:
                self.send(*again)
        raise AssertionError


class Attack(NamedTuple):
    """What is sent, with `MARK` in it, and why it ends; no reason: the kernel itself forwards no such thing."""

    name: str
    frames: list[bytes]
    reason: str = ""
    heard_by: frozenset[str] = frozenset()


def victim_policy(agent: RunningAgent) -> None:
    ports = {"ports": [OPEN_PORT]}
    ingress = [
        *({"action": "Allow", "protocol": name, "destination": ports} for name in ("TCP", "UDP")),
        {"action": "Allow", "protocol": "ICMP"},
        {"action": "Allow", "protocol": "ICMPv6"},
    ]
    store(
        agent,
        "GlobalNetworkPolicy",
        "globalnetworkpolicies",
        "default.victim",
        {"order": 1, "selector": "n == 'victim'", "types": ["Ingress"], "ingress": ingress},
    )
    closed = {"ports": [CLOSED_PORT]}
    egress = [{"action": "Deny", "protocol": name, "destination": closed} for name in ("TCP", "UDP")]
    store(
        agent,
        "GlobalNetworkPolicy",
        "globalnetworkpolicies",
        "default.attacker",
        {"order": 1, "selector": "n == 'attacker'", "types": ["Egress"], "egress": [*egress, {"action": "Allow"}]},
    )


@pytest.fixture
def scene(agent: RunningAgent, netns: NetnsFactory, request: pytest.FixtureRequest) -> Iterator[Scene]:
    attacker, victim, world = netns("attacker"), netns("victim"), netns("world")
    host = agent.namespace
    host.run(f"ip link add up0 type veth peer name eth0 netns {world.name} && ip link set up0 up")
    host.run("ip addr add 172.18.203.5/24 dev up0; ip -6 addr add fd00:1::5/64 dev up0 nodad")
    world.run(f"ip link set eth0 up; ip addr add 172.18.203.9/24 dev eth0; ip addr add {W4}/32 dev eth0")
    world.run(f"ip -6 addr add fd00:1::9/64 dev eth0 nodad; ip -6 addr add {W6}/128 dev eth0 nodad")
    world.run(f"ip route add 10.65.0.0/24 via {H4}; ip -6 route add fd00:65::/64 via {H6}")
    host.run(f"ip route add {W4}/32 via 172.18.203.9; ip -6 route add {W6}/128 via fd00:1::9")
    agent.attach("w1", netns=attacker.path, addresses=[A4, A6], labels={"n": "attacker"})
    agent.attach("w2", netns=victim.path, addresses=[B4, B6], labels={"n": "victim"})
    for address in (W4, W6):  # what comes first would wait for the neighbour's MAC
        host.run(f"ping -c 1 -W 5 {address}")
    use(agent, getattr(request, "param", "nftables"))
    victim_policy(agent)
    made = Scene(agent, attacker, victim, world)
    yield made
    made.close()


GROUP_MAC = "33:33:00:00:00:01"
MARK = b"tortie: an attack"
FINAL = b"tortie: the last"


def spoofing(mac: str) -> Iterator[Attack]:
    ports, to = (1000, OPEN_PORT), {4: (B4, W4, H4), 6: (B6, W6, H6)}
    for source in (OTHERS4, B4, H4, W4, "127.0.0.1", "169.254.1.1", "224.0.0.1"):
        packets = [datagram(source, each, ports, MARK) for each in to[4]]
        yield Attack(f"from {source}", [frame(each, mac) for each in packets], "spoofed-address")
    for source in (OTHERS6, B6, H6, W6, "::ffff:10.65.0.2", "::"):
        packets = [datagram(source, each, ports, MARK) for each in to[6]]
        yield Attack(f"from {source}", [frame(each, mac) for each in packets], "spoofed-address")
    yield Attack("to the victim from a link's own address", [frame(datagram(LOCAL, B6, ports, MARK), mac)])
    # Where an IPv4 header has its protocol and source, these have TCP or UDP, and the attacker's own address.
    for source in ("2006:0:a41:1::", "2011:0:a41:1::"):
        packets = [datagram(source, each, ports, MARK) for each in to[6]]
        yield Attack(f"from {source}", [frame(each, mac) for each in packets], "spoofed-address")
    for source, target in ((A4, B4), (A6, B6), (A4, H4)):
        packet = datagram(source, target, ports, MARK)
        yield Attack("with another's MAC", [frame(packet, "02:00:00:00:00:55")], "spoofed-mac")
    packet = datagram(OTHERS4, B4, ports, MARK)
    yield Attack("behind a tag for priority alone", [tagged(packet, mac, 0)], "spoofed-address")
    allowed = datagram(A4, B4, ports, MARK)
    yield Attack("in a VLAN", [tagged(allowed, mac, 5), tagged(allowed, mac, 0, 5), tagged(allowed, mac, 5, 0)])
    pieces = fragments(OTHERS4, B4, UDP, udp(OTHERS4, B4, ports, MARK), [8])
    yield Attack("in fragments", [frame(each, mac) for each in pieces], "spoofed-address")
    inside = ip(A4, B4, UDP, udp(A4, B4, ports, MARK))
    yield Attack("from the host's MAC", [frame(inside, HOST_END)], "spoofed-mac")


def impostors(mac: str) -> Iterator[Attack]:
    """Who says that he is a router, a DHCP server or a DNS server."""
    dns = [frame(datagram(source, B4, (53, 1000), MARK), mac) for source in (H4, W4)]
    yield Attack("DNS in the name of others", dns, "spoofed-address")
    for source, target in ((A4, B4), (A4, "255.255.255.255"), (A4, W4)):
        yield Attack("DHCP", [frame(datagram(source, target, (67, 68), MARK), mac)], "dhcp-server")
    for source, target in ((A6, B6), (LOCAL, ALL_NODES), (A6, W6)):
        yield Attack("DHCPv6", [frame(datagram(source, target, (547, 546), MARK), mac)], "dhcp-server")
    for number, kind in (("router-advertisement", 134), ("redirect", 137)):
        message = icmp(LOCAL, ALL_NODES, kind, MARK)
        yield Attack(number, [frame(ip(LOCAL, ALL_NODES, ICMPV6, message, hops=255), mac, GROUP_MAC)], number)
        for headers in ([HOP_BY_HOP], [DESTINATION], [DESTINATION, FRAGMENT], [HOP_BY_HOP, ROUTING, DESTINATION]):
            packet = behind(headers, LOCAL, ALL_NODES, ICMPV6, message, hops=255)
            yield Attack(f"{number} behind {headers}", [frame(packet, mac, GROUP_MAC)], number)
        pieces = fragments(LOCAL, ALL_NODES, ICMPV6, icmp(LOCAL, ALL_NODES, kind, MARK), [8])
        yield Attack(f"{number} in fragments", [frame(each, mac, GROUP_MAC) for each in pieces], number)
        yield Attack(f"{number} to one", [frame(ip(A6, B6, ICMPV6, icmp(A6, B6, kind, MARK), hops=255), mac)], number)
    for target in (B4, H4):
        yield Attack("ICMP redirect", [frame(ip(A4, target, ICMP, icmp(A4, target, 5, MARK)), mac)], "redirect")


def around_port_rules(mac: str, port: int, reason: str, heard_by: frozenset[str]) -> Iterator[Attack]:
    """The same for a port that is closed and for one that is open, so that it is seen to work at all."""
    ports = (1000, port)
    for source, target in ((A4, B4), (A6, B6)):
        whole = udp(source, target, ports, 3 * MARK)
        for cuts in ([8], [8, 16], [16], [24]):
            pieces = [frame(each, mac) for each in fragments(source, target, UDP, whole, cuts)]
            yield Attack(f"{source} in fragments {cuts}", pieces, reason, heard_by)
            yield Attack(f"{source} in fragments {cuts}, the last first", pieces[::-1], reason, heard_by)
        segment = syn(source, target, ports, 3 * MARK)
        # Of IPv6 the kernel wants the whole header in the first fragment (RFC 7112).
        pieces = [frame(each, mac) for each in fragments(source, target, TCP, segment, [8 if source == A4 else 24])]
        yield Attack(f"{source} of TCP in fragments", pieces, reason, heard_by)
    whole = udp(A6, B6, ports, MARK)
    for headers in (
        *([HOP_BY_HOP], [ROUTING], [DESTINATION], [FRAGMENT], [DESTINATION] * 6),
        [HOP_BY_HOP, DESTINATION, ROUTING, FRAGMENT, DESTINATION],
    ):
        yield Attack(f"behind {headers}", [frame(behind(headers, A6, B6, UDP, whole), mac)], reason, heard_by)


def tunnels(mac: str) -> Iterator[Attack]:
    inside, inside6 = datagram(OTHERS4, B4, (1000, OPEN_PORT), MARK), datagram(OTHERS6, B6, (1000, OPEN_PORT), MARK)
    vxlan = struct.pack("!II", 0x08 << 24, 1 << 8) + ethernet(HOST_END, mac, 0x0800, inside)
    for target in (B4, W4, H4):
        yield Attack("IPIP", [frame(ip(A4, target, IPIP, inside), mac)], "tunnel")
        yield Attack("VXLAN", [frame(datagram(A4, target, (1000, 4789), vxlan), mac)], "tunnel")
    pieces = fragments(A4, B4, UDP, udp(A4, B4, (1000, 4789), vxlan), [8])
    yield Attack("VXLAN in fragments", [frame(each, mac) for each in pieces], "tunnel")
    whole = udp(A6, B6, (1000, 4789), vxlan)
    yield Attack("VXLAN by IPv6", [frame(behind([DESTINATION], A6, B6, UDP, whole), mac)], "tunnel")
    yield Attack("IPv4 in IPv6", [frame(ip(A6, B6, IPIP, inside), mac)], "tunnel")
    yield Attack("IPv6 in IPv4, to the host", [frame(ip(A4, H4, IPV6_INSIDE, inside6), mac)], "endpoint-to-host")
    gre = struct.pack("!HH", 0, 0x0800) + inside
    yield Attack("GRE, to the host", [frame(ip(A4, H4, GRE, gre), mac)], "endpoint-to-host")
    yield Attack("GRE", [frame(ip(A4, B4, GRE, gre), mac)], "tier-default")
    yield Attack("IPv6 in IPv4", [frame(ip(A4, B4, IPV6_INSIDE, inside6), mac)], "tier-default")


def to_the_host(mac: str) -> Iterator[Attack]:
    for port in (22, 53, 179, 2379, 9091):
        scanned = [ip(A4, H4, TCP, syn(A4, H4, (1000, port), MARK)), datagram(A6, H6, (1000, port), MARK)]
        yield Attack(f"port {port}", [frame(each, mac) for each in scanned], "endpoint-to-host")
    for source, target in ((A4, "169.254.1.1"), (LOCAL, GATEWAY), (A4, "255.255.255.255")):
        yield Attack(f"{target}", [frame(datagram(source, target, (1000, 22), MARK), mac)], "endpoint-to-host")
    yield Attack("loopback", [frame(datagram(A4, "127.0.0.1", (1000, 22), MARK), mac)])
    # Loose source route (RFC 791): to the host, and on to the victim.
    route = bytes((131, 7, 4)) + socket.inet_aton(B4) + b"\0"
    routed = ip(A4, H4, UDP, udp(A4, H4, (1000, OPEN_PORT), MARK), options=route)
    yield Attack("by the host, as the packet says", [frame(routed, mac)])


@pytest.mark.parametrize("scene", BACKENDS, indirect=True)
def test_nothing_that_a_workload_must_not_send_arrives(scene: Scene) -> None:
    mac, wrong, number = scene.mac, [], 0
    attacks = (
        *spoofing(mac),
        *impostors(mac),
        *around_port_rules(mac, OPEN_PORT, "", frozenset({"victim"})),
        *around_port_rules(mac, CLOSED_PORT, "policy", frozenset()),
        *tunnels(mac),
        *to_the_host(mac),
    )
    for reason, group in groupby(sorted(attacks, key=reason_of), key=reason_of):
        for attack in group:
            number += 1
            final = FINAL + f" {number} ".encode()
            scene.send(*attack.frames, frame(datagram(A4, B4, (1001, OPEN_PORT), final), mac))
            heard_by = scene.hears(MARK, final)
            if heard_by != attack.heard_by:
                wrong.append(f"{attack.name}: heard by {sorted(heard_by)}")
        said = scene.reasons(*(attack.frames if reason else ()))
        if said != ({reason} if reason else set()):
            wrong.append(f"{reason or 'nothing'} expected, told: {sorted(said)}")
    assert not wrong, f"{len(wrong)} of {number}:\n" + "\n".join(wrong)


def reason_of(attack: Attack) -> str:
    return attack.reason


@pytest.mark.parametrize("scene", BACKENDS, indirect=True)
@pytest.mark.parametrize(("source", "world"), [(B4, W4), (B6, W6)])
def test_nobody_finishes_what_another_began(scene: Scene, source: str, world: str) -> None:
    """The kernel puts fragments together before it looks who sent them, whatever interface they came by."""
    whole = udp(source, world, (1000, OPEN_PORT), b"." * 20 + MARK)
    first, last = fragments(source, world, UDP, whole, [24])
    scene.send(frame(last, scene.mac))
    scene.send_as_victim(first)
    scene.send(frame(datagram(A4, B4, (1001, OPEN_PORT), FINAL), scene.mac))
    assert "world" not in scene.hears(MARK, FINAL)
    assert scene.reasons(frame(last, scene.mac)) == {"spoofed-address"}
    scene.send_as_victim(first, last)
    scene.send(frame(datagram(A4, B4, (1001, OPEN_PORT), FINAL + b"2"), scene.mac))
    assert "world" in scene.hears(MARK, FINAL + b"2")


def test_forged_neighbours_change_nothing(scene: Scene) -> None:
    host, mac = scene.agent.namespace, scene.mac
    everybody = "ff:ff:ff:ff:ff:ff"
    before = neighbours(host)
    assert B4 in before
    for claimed in (B4, "172.18.203.9", H4, "169.254.1.1", OTHERS4):
        claim, target = ip_address(claimed), ip_address(H4)
        for to in (HOST_END, everybody):
            scene.send(ArpFrame(to, mac, ARP_REPLY, mac, claim, HOST_END, target).packed())
            scene.send(ArpFrame(to, mac, ARP_REQUEST, mac, claim, "00:00:00:00:00:00", target).packed())
            scene.send(ArpFrame(to, mac, ARP_REQUEST, mac, claim, "00:00:00:00:00:00", claim).packed())
    own = ArpFrame(HOST_END, mac, ARP_REPLY, "02:00:00:00:00:55", ip_address(A4), HOST_END, ip_address(H4))
    scene.send(own.packed())
    for forged in (B6, "fd00:1::9", H6, OTHERS6, A6):
        for listener in (B6, ALL_NODES, H6):
            to_mac = GROUP_MAC if listener == ALL_NODES else HOST_END
            answer = advertisement("02:00:00:00:00:55", ip_address(forged), to_mac, ip_address(listener))
            scene.send(answer._replace(source=mac, ip_source=ip_address(A6)).packed())
    scene.send(frame(datagram(A4, B4, (1001, OPEN_PORT), FINAL), mac))
    scene.hears(MARK, FINAL)
    assert neighbours(host) == before
    assert "02:00:00:00:00:55" not in scene.victim.run("ip neigh")
    scene.victim.run(f"ping -c 1 -W 2 {W4}; ping -c 1 -W 2 {W6}")
    scene.attacker.run(f"ping -c 1 -W 2 {B4}")


def test_a_workload_cannot_fill_the_table_of_neighbours(scene: Scene) -> None:
    """The kernel has one for all, of 1024 entries: who fills it cuts the host off from new ones."""
    host = scene.agent.namespace
    before = len(neighbours(host))
    option = struct.pack("!BB6s", 1, 1, bytes.fromhex(scene.mac.replace(":", "")))
    for number in range(200):
        source = f"fe80::2:{number:x}"
        for target, to in (("ff02::2", "33:33:00:00:00:02"), (GATEWAY, HOST_END)):
            asked = ip(source, target, ICMPV6, icmp(source, target, 133, option), hops=255)
            scene.send(frame(asked, scene.mac, to))
        scene.send(solicitation(scene.mac, ip_address(source), ip_address(GATEWAY)).packed())
        scene.send(arp_request(scene.mac, ip_address(f"10.65.7.{number}"), ip_address(H4)).packed())
        for target in (GATEWAY, B6, W6, "2001:db8::1"):
            scene.send(frame(ip(source, target, ICMPV6, icmp(source, target, 128, MARK)), scene.mac))
    scene.send(frame(datagram(A4, B4, (1001, OPEN_PORT), FINAL), scene.mac))
    scene.hears(MARK, FINAL)
    assert len(neighbours(host)) - before < 10


def neighbours(host: Namespace) -> dict[str, str]:
    """Their MACs by address and interface."""
    found = {}
    for line in host.run("ip -4 neigh show; ip -6 neigh show").splitlines():
        words = line.split()
        if "lladdr" in words:
            found[words[0]] = f"{words[2]} {words[words.index('lladdr') + 1]}"
    return found


def test_dhcp_is_admitted_one_way(scene: Scene) -> None:
    """A client that has no address yet, and one that renews; what a server would say is not heard (see above)."""
    asked = [
        frame(datagram("0.0.0.0", "255.255.255.255", (68, 67), MARK), scene.mac, "ff:ff:ff:ff:ff:ff"),
        frame(datagram(A4, H4, (68, 67), MARK), scene.mac),
        frame(datagram(LOCAL, GATEWAY, (546, 547), MARK), scene.mac),
    ]
    for number, each in enumerate(asked):
        final = FINAL + f" {number}".encode()
        scene.send(each, frame(datagram(A4, B4, (1001, OPEN_PORT), final), scene.mac))
        assert scene.hears(MARK, final) == ({"host 17"} if number < 2 else {"host6 17"})


NEW_FLOWS = 2000


def test_a_flood_of_new_flows_holds_nobody_else_up(scene: Scene) -> None:
    """Far below the limit of connections, which is the machine's; half of them are denied."""
    ping = Ping(scene.victim, W4, 2000)
    for number in range(NEW_FLOWS):
        port = OPEN_PORT if number % 2 else CLOSED_PORT
        scene.send(frame(datagram(A4, B4, (2000 + number, port), MARK), scene.mac))
    assert ping.lost() == 0
    spec = {"order": 2, "selector": "n == 'news'"}
    store(scene.agent, "GlobalNetworkPolicy", "globalnetworkpolicies", "default.news", spec)
