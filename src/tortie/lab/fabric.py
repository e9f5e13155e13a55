"""The network of a lab as iproute2 commands: namespaces, bridges, links, addresses, default routes.

`render` is pure: the whole network of a topology is text that can be read and compared. `apply` hands the text to
`ip -batch`, the part across namespaces first, then each namespace's own part side by side.

* Namespace `fabric` holds a bridge `br-<subnet>` per subnet and a port `p-<member>` per attached machine.
* Hosts and machines have one interface, `eth0`; the router has `to-<subnet>` for each of its subnets.
* The agent makes the link of a veth workload; the lab makes both TAPs of a TAP workload, `pump` joins them.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface
from pathlib import Path
from typing import NamedTuple

from tortie.conventions import GATEWAY_V4, GATEWAY_V6
from tortie.kernel.netns import run_in
from tortie.lab.layout import FABRIC, Layout
from tortie.lab.process import Mark, inside, run, together
from tortie.lab.topology import Dhcp, Router, Tap, Topology, Workload, family, is_qemu

# A veth whose number equals its peer's passes for a device without peer, and the kernel may then take a second to
# notice its carrier (linkwatch_urgent_event in net/core/link_watch.c): the fabric's numbers are out of that way.
FIRST_PORT = 1000

_IP = ["ip", "-batch", "-"]


class Commands(NamedTuple):
    """Lines for `ip -batch`: `across` for the root namespace, then `within` each member's, in any order."""

    across: list[str]
    within: dict[str, list[str]]


def render(topology: Topology, layout: Layout) -> Commands:
    """The commands that make the topology's network where nothing of it exists yet."""
    plan = _Plan(topology, layout)
    plan.bridges()
    for host in topology.hosts:
        plan.machine(host.name, host.addresses)
        if host.dhcp:
            plan.dhcp(host.name, host.dhcp)
    for machine in topology.machines:
        plan.machine(machine.name, machine.addresses)
    if topology.router:
        plan.router(topology.router)
    for workload in topology.workloads:
        if workload.tap:
            plan.taps(workload, workload.tap)
    return plan.commands


class _Plan:
    """The commands so far, added to by each kind of member."""

    def __init__(self, topology: Topology, layout: Layout) -> None:
        self._topology = topology
        self._layout = layout
        self._ports = 0
        members = [FABRIC, *(name for name in topology.members() if not is_qemu(topology.workload(name)))]
        self.commands = Commands(
            across=[f"netns add {layout.namespace(member)}" for member in members],
            within={member: ["link set lo up"] for member in members},
        )

    def bridges(self) -> None:
        for subnet in self._topology.subnets:
            # Without a querier, snooping would in the end hold back neighbour solicitations.
            self._within(FABRIC, f"link add br-{subnet.name} type bridge mcast_snooping 0")
            self._within(FABRIC, f"link set br-{subnet.name} up")

    def machine(self, name: str, addresses: tuple[str, ...]) -> None:
        self._join(name, "eth0", f"p-{name}", self._subnet(addresses[0]))
        for address in addresses:
            self._address(name, "eth0", address)
            if gateway := self._topology.gateway_of(address):
                self._within(name, f"route add default via {gateway}")

    def dhcp(self, host: str, dhcp: Dhcp) -> None:
        # OpenStack makes this a dummy device, which not every kernel has: a veth that leads nowhere is the same.
        self._veth(host, dhcp.interface, f"d-{host}")
        self._within(FABRIC, f"link set d-{host} up")
        self._within(host, f"link set {dhcp.interface} up")
        self._within(host, f"addr add {dhcp.address} dev {dhcp.interface}")

    def router(self, router: Router) -> None:
        joined: set[str] = set()
        for address in router.addresses:
            subnet = self._subnet(address)
            if subnet not in joined:
                joined.add(subnet)
                self._join(router.name, f"to-{subnet}", f"r-{subnet}", subnet)
            self._address(router.name, f"to-{subnet}", address)

    def taps(self, workload: Workload, tap: Tap) -> None:
        self._within(workload.host, f"tuntap add dev {tap.interface} mode tap")
        self._within(workload.host, f"link set {tap.interface} up")
        if not is_qemu(workload):
            self._within(workload.name, "tuntap add dev eth0 mode tap", *guest_commands(workload))

    def _join(self, member: str, interface: str, port: str, subnet: str) -> None:
        self._veth(member, interface, port)
        self._within(FABRIC, f"link set {port} master br-{subnet} up")
        self._within(member, f"link set {interface} up")

    def _veth(self, member: str, interface: str, port: str) -> None:
        self._ports += 1
        near, far = self._layout.namespace(member), self._layout.namespace(FABRIC)
        self.commands.across.append(
            f"link add {port} index {FIRST_PORT + self._ports} netns {far} type veth peer name {interface} netns {near}"
        )

    def _address(self, member: str, interface: str, address: str) -> None:
        self._within(member, f"addr add {self._topology.on_link(address)} dev {interface}")

    def _subnet(self, address: str) -> str:
        subnet = self._topology.subnet_of(address)
        assert subnet is not None, f"{address} was validated to lie in a subnet"
        return subnet.name

    def _within(self, member: str, *lines: str) -> None:
        self.commands.within[member].extend(lines)


def guest_commands(workload: Workload) -> Iterator[str]:
    """What the guest behind a TAP does with its `eth0`, as its own DHCP client would; busybox can do it too."""
    assert workload.tap is not None
    yield f"link set eth0 address {workload.mac}"
    yield "link set eth0 up"
    told = {family(gateway): ip_interface(gateway) for gateway in workload.tap.gateway}
    for address in workload.addresses:
        version = family(address)
        if version in told:
            gateway = str(told[version].ip)
            yield f"addr add {address}/{told[version].network.prefixlen} dev eth0{_nodad(address)}"
        elif version == 4:
            gateway = str(GATEWAY_V4)
            yield f"addr add {address}/32 dev eth0"
            yield f"route add {gateway} dev eth0 scope link"
        else:
            gateway = str(GATEWAY_V6)
            yield f"addr add {address}/128 dev eth0{_nodad(address)}"
        yield f"route add default via {gateway} dev eth0"


async def apply(commands: Commands, layout: Layout) -> None:
    await _batch(_IP, commands.across, Mark(layout.lab, FABRIC, "ip"))
    for member in commands.within:
        run_in(str(layout.namespace_path(member)), _skip_duplicate_detection)
    await together(
        _batch(inside(layout.namespace(member), *_IP), lines, Mark(layout.lab, member, "ip"))
        for member, lines in commands.within.items()
    )


def forward(layout: Layout, router: str) -> None:
    """Makes a member forward packets of both families."""

    def write() -> None:
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")

    run_in(str(layout.namespace_path(router)), write)


def _skip_duplicate_detection() -> None:
    # A router asks for neighbours from its link-local address alone: without one it drops packets for a second.
    for setting in Path("/proc/sys/net/ipv6/conf").glob("*/accept_dad"):
        if setting.parent.name not in ("all", "default"):
            setting.write_text("0")


async def _batch(argv: list[str], lines: list[str], mark: Mark) -> None:
    await run(argv, mark, text="".join(f"{line}\n" for line in lines))


def _nodad(address: str) -> str:
    return " nodad" if family(address) == 6 else ""
