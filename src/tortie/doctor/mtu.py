"""Sizes of packets: what a workload may send must fit the uplinks."""

from __future__ import annotations

from collections.abc import Iterator

from tortie.doctor.finding import Finding, some, warning
from tortie.doctor.host import Host
from tortie.doctor.network import Network


def check(host: Host) -> Iterator[Finding]:
    yield from sizes(host.network)


def sizes(network: Network) -> Iterator[Finding]:
    for uplink in network.uplinks:
        larger = [each for each in network.workloads if each.mtu > uplink.mtu]
        if larger:
            largest = max(each.mtu for each in larger)
            yield warning(
                f"{uplink.name} takes packets of {uplink.mtu} bytes, and workloads send up to {largest}",
                f"mtu of {some([each.name for each in larger])}",
                "what is larger is fragmented or refused with an ICMP message: where that is filtered, connections"
                " open and then hang",
                f"ip link set {uplink.name} mtu {largest} if the network carries it; else `tortie attach` with"
                f" `--mtu {uplink.mtu}`, and the guest's own setting for a TAP",
            )
