"""A BIRD that the host runs anyway, and that includes our part: what it must have, and what our part cannot do.

The lines it must have are written in the user guide; what BIRD says of its protocols shows whether they are there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import msgspec

from tortie.bgp.replies import Channel, Protocol
from tortie.intent.bgp import BgpIntent, BgpProblem

_UP = "UP"


def left_out(intent: BgpIntent) -> tuple[BgpIntent, tuple[BgpProblem, ...]]:
    """The intent without sessions that need more than an include may hold, and why."""
    impossible = tuple(
        BgpProblem(
            peer.source,
            f"no session with {peer.address}: spec.reachableBy needs a static route, which an included configuration"
            " does not make: write it into BIRD's own, and take the field away",
        )
        for peer in intent.peers
        if peer.reachable_by is not None
    )
    peers = tuple(peer for peer in intent.peers if peer.reachable_by is None)
    return msgspec.structs.replace(intent, peers=peers), impossible


def lacking(protocols: Iterable[Protocol], versions: Iterable[int], routed: Collection[int]) -> Iterator[str]:
    """What the host's BIRD lacks, for the IP versions that this node speaks BGP in.

    `routed` are those in which the kernel holds routes of workloads: BIRD does not say whether it is to learn them.
    """
    protocols = tuple(protocols)
    if not any(each.kind == "Device" and each.state == "up" for each in protocols):
        yield "it has no `protocol device`, so it knows no interface"
    for version in versions:
        if not any(_channels(protocols, "Direct", version)):
            yield f"it has no `protocol direct` with ipv{version}, so it finds no next hop"
        kernel = list(_channels(protocols, "Kernel", version))
        if not kernel:
            yield f"it has no `protocol kernel` with ipv{version}, so no route gets in or out"
        elif version in routed and not any(_imported(protocols, version)):
            yield f"its `protocol kernel` must say `learn;`: it has none of the IPv{version} workloads' routes"
        for channel in kernel:
            wanted = f"tortie_from_kernel{version}"
            if channel.input_filter != wanted:
                yield f"its `protocol kernel` must say `import filter {wanted};` in ipv{version}"
            if channel.output_filter == "REJECT":
                yield f"its `protocol kernel` must say `export where source = RTS_BGP;` in ipv{version}"


def _imported(protocols: Iterable[Protocol], version: int) -> Iterator[int]:
    for each in protocols:
        if each.kind == "Kernel" and any(channel.name == f"ipv{version}" for channel in each.channels):
            yield each.imported


def _channels(protocols: Iterable[Protocol], kind: str, version: int) -> Iterator[Channel]:
    for each in protocols:
        if each.kind == kind:
            yield from (one for one in each.channels if one.name == f"ipv{version}" and one.state == _UP)
