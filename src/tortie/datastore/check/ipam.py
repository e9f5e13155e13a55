"""Blocks, affinities and handles that do not agree with each other, with the pools or with who uses addresses.

What is legal after a crash is no problem: a handle may count too many addresses, an affinity may be pending. What
loses an address, or gives one out twice, is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_network

from tortie.datastore.check.addresses import pools, tunnels, used
from tortie.datastore.check.facts import Facts
from tortie.datastore.check.findings import Finding, notice, problem
from tortie.model import keys
from tortie.model.addresses import Network
from tortie.model.allocation import Block, released_after
from tortie.model.keys import AffinityKey, BlockKey, HandleKey
from tortie.model.resource import Resource, ResourceKey

Address = IPv4Address | IPv6Address


def check(facts: Facts, now: datetime) -> Iterator[Finding]:
    for key, block in facts.blocks.items():
        yield from _block_findings(facts, key, block, now)
    yield from _affinity_findings(facts)
    yield from _handle_findings(facts)
    yield from _use_findings(facts)
    yield from _config_findings(facts)


def _block_findings(facts: Facts, key: BlockKey, block: Block, now: datetime) -> Iterator[Finding]:
    if block.cidr != key.cidr:
        yield problem(key.path, "cidr", f"is {block.cidr}, and the key says {key.cidr}")
    if block.affinity and not block.owner:
        yield problem(key.path, "affinity", f"{block.affinity} is neither host:NODE nor virtual:NAME")
    if block.owner and _affinity_key(block) not in facts.affinities:
        yield problem(key.path, "affinity", f"{block.affinity} has it, and no affinity of that name says so")
    if not block.affinity and not any(index is not None for index in block.allocations):
        yield problem(key.path, "", "is empty and nobody's, and should be deleted")
    around = {pool: cidr for pool, cidr in pools(facts).items() if _is_within(key.cidr, cidr)}
    if not around:
        yield problem(key.path, "cidr", "lies in no pool: its addresses are not announced, and cannot be released")
    for pool in around:
        resource = facts.resources[pool]
        size = getattr(resource.spec, "block_size", None) if isinstance(resource, Resource) else None
        if size not in (None, key.cidr.prefixlen):
            yield problem(key.path, "cidr", f"{pool} has blocks of /{size}: an address is not found in another")
    for fault in released_after(block, now):
        yield problem(key.path, fault.path, f"{fault.reason} (got {fault.value})")


def _affinity_findings(facts: Facts) -> Iterator[Finding]:
    for key, affinity in facts.affinities.items():
        block = facts.blocks.get(BlockKey(key.cidr))
        broken = BlockKey(key.cidr).path in facts.broken
        if key.owner == "host" and not facts.exists(node := ResourceKey("Node", "", key.host)):
            yield problem(key.path, "", f"is of {node}, which does not exist: its addresses are lost to the pool")
        if not affinity.is_confirmed:
            yield notice(key.path, "state", f"is {affinity.state}: somebody claims the block now, or died claiming it")
        elif block is None and not broken:
            yield problem(key.path, "", f"there is no block {key.cidr}")
        elif block is not None and block.affinity != f"{key.owner}:{key.host}":
            yield problem(key.path, "", f"the block {key.cidr} is of {block.affinity or 'nobody'}")


def _handle_findings(facts: Facts) -> Iterator[Finding]:
    counted: dict[str, Counter[Network]] = {}
    for key, block in facts.blocks.items():
        for address, handle in _allocated(block):
            counted.setdefault(handle, Counter())[key.cidr] += 1
            if HandleKey(handle) not in facts.handles and HandleKey(handle).path not in facts.broken:
                yield problem(key.path, "allocations", f"{address} stands under handle {handle}, which does not exist")
    for handle_key, value in facts.handles.items():
        found = counted.get(handle_key.handle_id, Counter())
        if not found:
            yield problem(handle_key.path, "", "has no address")
            continue
        told = {ip_network(text): number for text, number in value.block.items()}
        for cidr, number in found.items():
            if told.get(cidr, 0) < number:
                yield problem(handle_key.path, f"block.{cidr}", f"counts {told.get(cidr, 0)} addresses of {number}")
        for cidr, number in told.items():
            if number > found[cidr]:
                yield notice(handle_key.path, f"block.{cidr}", f"counts {number} addresses, there are {found[cidr]}")


def _use_findings(facts: Facts) -> Iterator[Finding]:
    in_use = {address: (key, path) for address, key, path in used(facts) if key.kind == "WorkloadEndpoint"}
    of_tunnels = set(tunnels(facts))
    given: set[Address] = set()
    for key, block in facts.blocks.items():
        for address, handle in _allocated(block, also_without_handle=True):
            given.add(address)
            if address not in in_use and address not in of_tunnels:
                who = f" under handle {handle}" if handle else ""
                yield problem(key.path, "allocations", f"{address} is given out{who}, and nobody has it")
    covered = [key.cidr for key in facts.blocks]
    for address, (endpoint, path) in in_use.items():
        if address not in given and any(address in cidr for cidr in covered if cidr.version == address.version):
            reason = f"{address} is free by its block, so that it may be given to another too"
            yield problem(endpoint, path, reason)


def _config_findings(facts: Facts) -> Iterator[Finding]:
    stored, key = facts.ipam_config, ResourceKey("IPAMConfiguration", "", "default")
    resource = facts.resources.get(key)
    if stored is not None and not stored.auto_allocate_blocks:
        yield notice(keys.IPAM_CONFIG, "auto_allocate_blocks", "is false: hosts take no new blocks")
    if not isinstance(resource, Resource):
        return
    effective = stored.strict_affinity if stored else False
    if resource.spec.strict_affinity != effective:
        reason = f"is {_word(resource.spec.strict_affinity)}, and {keys.IPAM_CONFIG}, which counts, {_word(effective)}"
        yield problem(key, "spec.strictAffinity", reason)


def _allocated(block: Block, *, also_without_handle: bool = False) -> Iterator[tuple[Address, str]]:
    """The addresses that are given out, and the handles that they stand under; not those that cool down."""
    for ordinal, index in enumerate(block.allocations):
        if index is None:
            continue
        owner = block.attributes[index]
        if not owner.released_at and (owner.handle or also_without_handle):
            yield block.cidr[ordinal], owner.handle


def _affinity_key(block: Block) -> AffinityKey | None:
    owner = block.owner
    if owner is None:
        return None
    return AffinityKey("host" if owner[0] == "host" else "virtual", owner[1], block.cidr)


def _is_within(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and inner.overlaps(outer) and inner.prefixlen >= outer.prefixlen


def _word(value: bool) -> str:
    return "true" if value else "false"
