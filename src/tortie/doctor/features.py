"""What this kernel cannot do for tortie, and what goes missing by that."""

from __future__ import annotations

import platform
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from tortie.doctor.finding import Finding, Result, Unseen, note, some, warning
from tortie.doctor.host import Host
from tortie.errors import KernelError
from tortie.kernel import modules
from tortie.kernel.netlink import tc
from tortie.kernel.netlink.link import Link
from tortie.kernel.netlink.socket import NetlinkSocket

# A table that outlives `nft flush ruleset` needs an owner, and one that outlives its owner needs this kernel.
PERSISTENT_TABLES = (6, 9)
RESPONDER = "tortie_responder"


def check(host: Host) -> Iterator[Result]:
    release = platform.release()
    # Of what is built in only these tell.
    told_by = (f"lib/modules/{release}/modules.builtin", f"boot/config-{release}", "proc/config.gz")
    if any((host.root / file).is_file() for file in told_by):
        yield from missing(modules.known(host.root, release))
    else:
        yield Unseen("what the kernel is made of", f"there is none of /{', /'.join(told_by)}")
    yield from tables(release)
    yield from responder(host.network.workloads, _answering(host.network.workloads))


def missing(known: Collection[str]) -> Iterator[Finding]:
    for name, option, without in modules.USED:
        if name not in known:
            yield warning(
                f"the kernel has no {name}",
                option,
                without,
                f"a kernel with {option}, or the package of the distribution with more modules",
            )


def tables(release: str) -> Iterator[Finding]:
    version = tuple(int(number) for number in re.findall("[0-9]+", release)[:2])
    if version < PERSISTENT_TABLES:
        yield note(
            "a table of nftables cannot be kept from others",
            f"Linux {release}",
            "policy by nftables is gone after `nft flush ruleset`, as the restart of nftables.service does it, until"
            " the agent has repaired it",
            "Linux 6.9 or newer; until then take `flush ruleset` out of /etc/nftables.conf",
        )


def responder(workloads: Sequence[Link], answering: Mapping[int, bool]) -> Iterator[Finding]:
    """`answering` says of interfaces whether tortie's eBPF program answers ARP there."""
    silent = [each.name for each in workloads if not answering.get(each.ifindex, True)]
    if silent:
        yield warning(
            f"no eBPF program answers ARP on {len(silent)} of {len(workloads)} workload interfaces",
            some(silent),
            "proxy_arp stands in, where an agent set it: it is silent without a route to what is asked for, such as a"
            " default route, and answers for the workload's own address where its route leads elsewhere",
            "tortie status tells the reason; mount -t bpf bpf /sys/fs/bpf, and a package that was built with clang",
        )


def _answering(workloads: Sequence[Link]) -> dict[int, bool]:
    found = {}
    with NetlinkSocket() as sock:
        for each in workloads:
            try:
                filters = tc.filters(sock, each.ifindex, tc.Hook.INGRESS)
            except KernelError:
                continue  # it vanished meanwhile
            found[each.ifindex] = any(one.name == RESPONDER for one in filters)
    return found
