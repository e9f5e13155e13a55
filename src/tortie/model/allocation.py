"""What IPAM keeps in the datastore: blocks of addresses, whose they are, what each owner holds, and its settings.

These values are no resources: no metadata, no kind, and a key that says what the value does not (see `keys`). Their
form is Calico's (libcalico-go/lib/backend/model). `from_store` reads one, and raises InvalidResource for what others
could not work with either; `to_store` writes it with every field that is not known here. Numbers stay whole, beyond
53 bits too. How addresses are given out and taken back is IPAM's matter and not this module's.

Invariants of a block, without which Calico's programs crash or lose addresses: each address is either free, and then
once in the queue of free ones, or it has an owner; each owner's entry has an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta

from tortie.errors import InvalidResource, Problem, Sort
from tortie.model.addresses import Network, parse_strict_network
from tortie.model.codec import stand_in
from tortie.model.judge import read
from tortie.model.schema import Spec
from tortie.model.understood import understood
from tortie.model.write import rendered

# Host bits of the largest blocks that a pool may have: /20 and /116.
_MAX_HOST_BITS = 12
_ORDINAL = re.compile(r"[0-9]{1,4}")

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Small = Annotated[int, Meta(ge=0, le=2**31 - 1)]


def _read_uint64(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**64:
        raise ValueError(f"must be a whole number from 0 to {2**64 - 1}")
    return value


if TYPE_CHECKING:
    BlockCidr = Network
    UInt64 = int
else:
    UInt64 = stand_in("UInt64", int, read=_read_uint64, write=int)
    BlockCidr = stand_in("BlockCidr", *Network.__args__, read=parse_strict_network, rewrites=True)


class Attribute(Spec, frozen=True, kw_only=True):
    """The owner of one or more addresses of a block."""

    handle_id: str = msgspec.field(default="", name="handle_id")
    """The handle that the addresses stand under."""

    secondary: dict[str, str] = {}
    """Who has them, in words that nobody but people and reports reads: node, pod, namespace, type, timestamp ..."""

    alternate_owner_attrs: dict[str, str] = {}
    """Who gets them when a live migration ends."""

    released_at: str = ""
    """When they were released, RFC 3339: they cool down, and have no owner."""

    @property
    def handle(self) -> str:
        """The handle as it counts: some old ones end in a carriage return and more, which nobody looks at."""
        return self.handle_id.partition("\r")[0]


class Block(Spec, frozen=True, kw_only=True):
    """Some addresses in a row, mostly given out by one host. An address is named by its ordinal in the block.

    Source: libcalico-go/lib/backend/model/block.go
    """

    cidr: BlockCidr
    """The addresses, without host bits."""

    affinity: str = ""
    """`host:<node>` or `virtual:load-balancer`. Empty: nobody's, and deleted with its last address."""

    affinity_claim_time: str = msgspec.field(default="", name="affinity_claim_time")
    """When it was claimed, RFC 3339: an empty block younger than a minute is not taken away."""

    allocations: tuple[Small | None, ...] = ()
    """For each ordinal the index of its owner in attributes; None: free."""

    unallocated: tuple[Small, ...] = ()
    """The free ordinals: taken from the front, returned to the end."""

    attributes: tuple[Attribute, ...] = ()
    """The owners."""

    sequence_number: UInt64 = 0
    """One more with each write of the block. It starts with the time of creation, in nanoseconds since 1970."""

    sequence_number_for_allocation: dict[str, UInt64] = {}
    """By ordinal, in decimal: the block's sequence number when the address was given out, before that write."""

    deleted: bool = False
    """Always false in etcd."""

    @property
    def size(self) -> int:
        return self.cidr.num_addresses

    @property
    def owner(self) -> tuple[str, str] | None:
        """The two parts of the affinity, such as ("host", "node-1")."""
        kind, separator, name = self.affinity.partition(":")
        return (kind, name) if separator else None


class Affinity(Spec, frozen=True, kw_only=True):
    """How far a host's claim to a block is; host and block stand in the key.

    Source: libcalico-go/lib/backend/model/block_affinity.go
    """

    state: Literal["", "pending", "confirmed", "pendingDeletion"] = ""
    """Only confirmed blocks are announced. Empty counts as confirmed: old releases knew no state."""

    deleted: bool = False
    """Always false in etcd."""

    @property
    def is_confirmed(self) -> bool:
        return self.state in ("", "confirmed")


class Handle(Spec, frozen=True, kw_only=True):
    """Where the addresses of one owner are; its id stands in the key. Never empty: the last address takes it away.

    Source: libcalico-go/lib/backend/model/ipam_handle.go
    """

    block: dict[str, Count] = {}
    """By block, as a prefix: how many addresses. It may count too many after a crash, and never too few."""

    deleted: bool = False
    """Always false in etcd."""


class IpamConfig(Spec, frozen=True, kw_only=True):
    """How addresses are given out. Where there is none in the datastore, `NO_CONFIG` counts.

    Source: libcalico-go/lib/backend/model/ipam_config.go
    """

    strict_affinity: bool = msgspec.field(default=False, name="strict_affinity")
    """A host gives out addresses of its own blocks alone, and borrows none. Default: false."""

    auto_allocate_blocks: bool = msgspec.field(default=False, name="auto_allocate_blocks")
    """A host takes new blocks when it needs them. Default: false."""

    max_blocks_per_host: Count = 0
    """How many blocks a host may have. Default: 0, which stands for 20."""

    ip_cooldown_seconds: Count = 0
    """Seconds before a released address is given out again. Default: 0."""

    kube_virt_vm_address_persistence: Literal["Enabled", "Disabled"] | None = None
    """Whether a KubeVirt machine keeps its addresses. Default: Enabled."""


NO_CONFIG = IpamConfig(auto_allocate_blocks=True)

Value = TypeVar("Value", Block, Affinity, Handle, IpamConfig)

# Fields that Calico writes even when they say nothing.
_ALWAYS: dict[type, dict[str, Any]] = {
    Block: {
        "affinity": None,
        "allocations": [],
        "unallocated": [],
        "attributes": [],
        "sequenceNumber": 0,
        "sequenceNumberForAllocation": {},
        "deleted": False,
    },
    Affinity: {"state": "", "deleted": False},
    Handle: {"block": {}, "deleted": False},
    IpamConfig: {},
}


class Stored(msgspec.Struct, Generic[Value], frozen=True, kw_only=True):
    """A value beside the document that it was read from."""

    value: Value
    document: Mapping[str, Any] = {}
    revision: int = 0  # modification revision in the store, 0 when not from a store


def from_store(kind: type[Value], data: bytes, revision: int = 0) -> Stored[Value]:
    """The value that the bytes say; raises InvalidResource with everything that is wrong with it."""
    try:
        # Releases that knew no state of an affinity stored nothing.
        document = msgspec.json.decode(data) if data or kind is not Affinity else {}
        body = understood(document, kind)
        value, problems = read(body, kind, "", body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidResource(kind.__name__, (Problem("", "", f"is not JSON: {error}", Sort.TYPE),)) from error
    except RecursionError:
        reason = "is nested too deeply to be read"
        raise InvalidResource(kind.__name__, (Problem("", "", reason, Sort.TYPE),)) from None
    if isinstance(value, Block) and not problems:
        problems += block_problems(value)
    if isinstance(value, Handle):
        problems += _handle_problems(value)
    if value is None or problems:
        raise InvalidResource(kind.__name__, tuple(problems))
    return Stored(value=value, document=document, revision=revision)


def to_store(stored: Stored[Value]) -> bytes:
    """The bytes to store: the value, and what its document holds besides."""
    return msgspec.json.encode({**_ALWAYS[type(stored.value)], **rendered(stored.value, stored.document)})


def block_problems(block: Block) -> Iterator[Problem]:
    """How the block breaks the invariants."""
    if block.cidr.max_prefixlen - block.cidr.prefixlen > _MAX_HOST_BITS:
        yield Problem("cidr", str(block.cidr), f"must have at most {2**_MAX_HOST_BITS} addresses")
        return
    if len(block.allocations) != block.size:
        reason = f"must have an item for each of the {block.size} addresses"
        yield Problem("allocations", f"{len(block.allocations)} items", reason)
    used = [index for index in block.allocations if index is not None]
    for ordinal, index in enumerate(block.allocations):
        if index is not None and index >= len(block.attributes):
            reason = f"must be an index of attributes, of which there are {len(block.attributes)}"
            yield Problem(f"allocations[{ordinal}]", str(index), reason)
    for index in sorted(set(range(len(block.attributes))) - set(used)):
        yield Problem(f"attributes[{index}]", "", "must be the owner of an address")
    yield from _queue_problems(block)
    for index, attribute in enumerate(block.attributes):
        if attribute.released_at and _time(attribute.released_at) is None:
            yield Problem(f"attributes[{index}].releasedAt", attribute.released_at, _TIME_WORDS)
    if block.affinity_claim_time and _time(block.affinity_claim_time) is None:
        yield Problem("affinity_claim_time", block.affinity_claim_time, _TIME_WORDS)
    for ordinal_text in block.sequence_number_for_allocation:
        if not _ORDINAL.fullmatch(ordinal_text) or int(ordinal_text) >= block.size:
            yield Problem(
                f"sequenceNumberForAllocation.{ordinal_text}", ordinal_text, "must be an ordinal of the block"
            )


def _queue_problems(block: Block) -> Iterator[Problem]:
    seen: set[int] = set()
    for place, ordinal in enumerate(block.unallocated):
        path = f"unallocated[{place}]"
        if ordinal >= block.size:
            yield Problem(path, str(ordinal), f"must be an ordinal below {block.size}")
        elif ordinal in seen:
            yield Problem(path, str(ordinal), "must be there once")
        elif ordinal < len(block.allocations) and block.allocations[ordinal] is not None:
            yield Problem(path, str(ordinal), "must not be allocated too")
        seen.add(ordinal)
    for ordinal, index in enumerate(block.allocations[: block.size]):
        if index is None and ordinal not in seen:
            yield Problem(f"allocations[{ordinal}]", "null", "must be in unallocated, being free")


def released_after(block: Block, now: datetime) -> Iterator[Problem]:
    """The owners that were released later than now, which is a clock's fault; `now` has a time zone."""
    for index, attribute in enumerate(block.attributes):
        released = _time(attribute.released_at)
        if released is not None and released > now:
            yield Problem(f"attributes[{index}].releasedAt", attribute.released_at, "must not be in the future")


_TIME_WORDS = "must be a time such as 2026-08-22T13:33:20Z"


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else None


def _handle_problems(handle: Handle) -> Iterator[Problem]:
    for text in handle.block:
        try:
            parse_strict_network(text)
        except ValueError as error:
            yield Problem(f"block.{text}", text, str(error))
