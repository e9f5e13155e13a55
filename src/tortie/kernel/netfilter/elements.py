"""Elements of sets and maps: added, deleted and listed by the hundred thousand.

A message holds at most 64 KiB of them, so many elements are several changes, of one transaction all the same.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from operator import itemgetter
from typing import NamedTuple

from tortie.errors import Busy
from tortie.kernel.netfilter import verdict
from tortie.kernel.netfilter.change import CREATE, Change, Operation, change, head, wire_type
from tortie.kernel.netfilter.expression import data as packed_data
from tortie.kernel.netfilter.message import GENERIC, be32, element, nest, number, parse_list
from tortie.kernel.netfilter.rule import Figures, figures
from tortie.kernel.netfilter.sets import Set
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netfilter.statement import Counter
from tortie.kernel.netfilter.verdict import Verdict
from tortie.kernel.netlink.message import (
    ATTRIBUTE,
    DUMP_INTERRUPTED,
    Message,
    attribute,
    malformed,
    parse_attributes,
    text,
)
from tortie.kernel.netlink.socket import DUMP_ATTEMPTS

_SET = 2
_ELEMENTS = 3
_KEY = 1
_DATA = 2
_FLAGS = 3
_USERDATA = 6
_EXPRESSION = 7
_KEY_END = 10
_VALUE = 1
_VERDICT = 2

_INTERVAL_END = 1

# To nft: no end follows, this interval goes on to the last key there is (libnftnl, NFTNL_UDATA_SET_ELEM_FLAGS).
_OPEN = attribute(_USERDATA, struct.pack("=BBI", 1, 4, 1))

# Ends put together in one step.
_INTERVALS_APIECE = 1000

# The length of an attribute has 16 bits.
_CHUNK_BYTES = 0xFFFF - 4


class Element(NamedTuple):
    """`key` is one key, or with `last` the first of an interval; `data` is what a map holds for it.

    Of a concatenation (`datatype.concatenate`) each field is an interval of its own. One with `counted` counts the
    packets that were looked up and are it, from there on (since Linux 5.7).
    """

    key: bytes
    last: bytes | None = None
    data: bytes | Verdict | None = None
    counted: Figures | None = None


def add(wanted: Set, elements: Iterable[Element]) -> list[Change]:
    """One that is there already is no error, unless its data differs or it overlaps another (`Exists`, `Refused`)."""
    return list(_chunks(Operation.NEW_ELEMENTS, CREATE, wanted, elements))


def delete(wanted: Set, elements: Iterable[Element]) -> list[Change]:
    """By their keys; `Gone` if one is not there."""
    keys = (one if one.data is None else Element(one.key, one.last) for one in elements)
    return list(_chunks(Operation.DELETE_ELEMENTS, 0, wanted, keys))


def dump(sock: NetfilterSocket, wanted: Set) -> list[Element]:
    """All elements: of a hash in any order, of intervals of one field by their keys."""
    return [one for piece in walk(sock, wanted) for one in piece]


def walk(sock: NetfilterSocket, wanted: Set) -> Iterator[list[Element]]:
    """The same in steps that are small, however many there are: at first without any, while they are listed.

    `Busy` if others' changes interrupt each attempt, or if the socket does something else meanwhile.
    """
    asked = head(wanted.family, wanted.table) + text(_SET, wanted.name)
    doing = f"list elements of {wanted.table} {wanted.name}"
    kind = wire_type(Operation.GET_ELEMENTS)
    for _ in range(DUMP_ATTEMPTS):
        listed: list[Message] = []
        with suppress(Busy):
            for piece in sock.walk(kind, asked, lambda message: message, doing):
                listed += piece
                yield []
            if not any(message.flags & DUMP_INTERRUPTED for message in listed):
                break
    else:
        raise Busy(f"{doing}: interrupted {DUMP_ATTEMPTS} times by changes")
    if wanted.interval and not wanted.concatenated_intervals:
        yield from _intervals(map(_parse_ends, listed))
    else:
        yield from map(_parse, listed)


def encode(wanted: Set, one: Element) -> bytes:
    """As the kernel takes it: of one field with intervals two entries, its begin and what comes behind its end."""
    data = b"" if one.data is None else _encode_data(one.data)
    if one.counted is not None:
        data += _FROM_ZERO if one.counted == _NOTHING else _counter(one.counted)
    if not wanted.interval:
        return element(packed_data(_KEY, one.key), data)
    last = one.key if one.last is None else one.last
    if wanted.concatenated_intervals:
        return element(packed_data(_KEY, one.key), data, packed_data(_KEY_END, last))
    behind = _successor(last)
    if behind is None:
        return element(packed_data(_KEY, one.key), data, _OPEN)
    end = element(packed_data(_KEY, behind), be32(_FLAGS, _INTERVAL_END))
    return element(packed_data(_KEY, one.key), data) + end


def _counter(begin: Figures) -> bytes:
    """In an attribute of its own, where a rule has a list of expressions."""
    return attribute(_EXPRESSION, Counter(*begin).encode()[ATTRIBUTE.size :])


# Most begin so.
_NOTHING = Figures(0, 0)
_FROM_ZERO = _counter(_NOTHING)


def _encode_data(value: bytes | Verdict) -> bytes:
    return nest(_DATA, value.encode(_VERDICT)) if isinstance(value, Verdict) else packed_data(_DATA, value)


def _chunks(operation: Operation, flags: int, wanted: Set, elements: Iterable[Element]) -> Iterator[Change]:
    name = text(_SET, wanted.name)
    # Of plain sets all but the key itself is the same for each, and they are the large ones.
    plain = not wanted.interval and not wanted.data
    heads: dict[int, tuple[bytes, bytes]] = {}
    chunk: list[bytes] = []
    size = 0
    for one in elements:
        if plain:
            opening, padding = heads.get(len(one.key)) or heads.setdefault(len(one.key), _around_key(len(one.key)))
            packed = opening + one.key + padding
        else:
            packed = encode(wanted, one)
        if size + len(packed) > _CHUNK_BYTES:
            yield change(operation, flags, wanted.family, wanted.table, name, nest(_ELEMENTS, *chunk))
            chunk, size = [], 0
        chunk.append(packed)
        size += len(packed)
    if chunk:
        yield change(operation, flags, wanted.family, wanted.table, name, nest(_ELEMENTS, *chunk))


def _around_key(length: int) -> tuple[bytes, bytes]:
    whole = element(packed_data(_KEY, bytes(length)))
    return whole[: -(length + -length % 4)], bytes(-length % 4)


def _successor(key: bytes) -> bytes | None:
    number_behind = int.from_bytes(key, "big") + 1
    return None if number_behind >> 8 * len(key) else number_behind.to_bytes(len(key), "big")


def _predecessor(key: bytes) -> bytes:
    return (int.from_bytes(key, "big") - 1).to_bytes(len(key), "big")


def _parse(message: Message) -> list[Element]:
    listed = parse_attributes(message.payload, GENERIC.size).get(_ELEMENTS, b"")
    return _parse_plain(listed) or [_parse_one(entry)[0] for entry in parse_list(listed)]


def _parse_ends(message: Message) -> list[tuple[Element, bool]]:
    listed = parse_attributes(message.payload, GENERIC.size).get(_ELEMENTS, b"")
    return [_parse_one(entry) for entry in parse_list(listed)]


_PLAIN = struct.Struct("=6H")  # length and type of the entry, of its key, of the key's value


def _parse_plain(listed: bytes) -> list[Element] | None:
    """The entries, if all are a key alone and of one length: a fraction of the time that looking closely takes."""
    if len(listed) < _PLAIN.size:
        return None
    heads = _PLAIN.unpack_from(listed)
    entry, _, outer, kind, inner, value = heads
    padded = (inner + 3) & ~3
    if (entry, outer, kind, value) != (padded + 8, padded + 4, _KEY, _VALUE) or len(listed) % entry or inner < 4:
        return None
    rows = list(struct.iter_unpack(f"=6H{padded - 4}s", listed))
    if any(row[:6] != heads for row in rows):
        return None
    return [Element(row[6][: inner - 4]) for row in rows]


def _parse_one(entry: bytes) -> tuple[Element, bool]:
    """The entry, and whether it is only the end of an interval."""
    attributes = parse_attributes(entry)
    data: bytes | Verdict | None = None
    if _DATA in attributes:
        inner = attributes.nested(_DATA)
        data = inner[_VALUE] if _VALUE in inner else verdict.parse(inner.nested(_VERDICT))
    key = attributes.nested(_KEY).get(_VALUE)
    if key is None:
        raise malformed("an element without a key")
    last = attributes.nested(_KEY_END).get(_VALUE)
    counted = next(iter(figures(attributes.get(_EXPRESSION, b""))), None)
    return Element(key, last, data, counted), bool(number(attributes, _FLAGS) & _INTERVAL_END)


def _intervals(pieces: Iterable[list[tuple[Element, bool]]]) -> Iterator[list[Element]]:
    """Begins and ends put together; where one interval ends and the next begins at one key, the end comes first."""
    found: list[tuple[bytes, bool, Element]] = []
    for piece in pieces:
        found += [(one.key, not is_end, one) for one, is_end in piece]
        yield []
    found.sort(key=itemgetter(0, 1))
    begun: Element | None = None
    entries = iter(found)
    while some := list(islice(entries, _INTERVALS_APIECE)):
        intervals = []
        for key, is_begin, one in some:
            if begun is not None:
                intervals.append(begun._replace(last=_predecessor(key)))
            begun = one if is_begin else None
        yield intervals
    if begun is not None:
        yield [begun._replace(last=b"\xff" * len(begun.key))]
