"""One eBPF map: keys and values as the bytes that the program sees."""

from __future__ import annotations

import enum
import os
import struct
from types import TracebackType
from typing import NamedTuple, Self

from tortie.errors import Gone, KernelError
from tortie.kernel.bpf import pin
from tortie.kernel.bpf.syscall import (
    INFO_BY_FD,
    MAP_CREATE,
    MAP_DELETE,
    MAP_LOOKUP,
    MAP_LOOKUP_BATCH,
    MAP_UPDATE,
    MAP_UPDATE_BATCH,
    address,
    bpf,
    object_name,
)

_CHUNK = 1024  # entries per batch call

_CREATE = struct.Struct("=IIIIIII16s")
_ELEMENT = struct.Struct("=IIQQQ")  # map, pad, key, value, flags
_BATCH = struct.Struct("=QQQQIIQQ")  # in, out, keys, values, count, map, element flags, flags
_COUNT_OFFSET = 32
_INFO = struct.Struct("=IIIIII16s")  # type, id, key size, value size, entries, flags, name


class MapType(enum.IntEnum):
    """The kinds in use (enum bpf_map_type)."""

    HASH = 1
    ARRAY = 2
    LRU_HASH = 9
    LPM_TRIE = 11


class MapSpec(NamedTuple):
    """The shape of a map: what must be equal for a program to use it."""

    type: int
    key_bytes: int
    value_bytes: int
    max_entries: int
    flags: int = 0


class Map:
    """An open map; closing it destroys it unless it is pinned or a program uses it."""

    def __init__(self, descriptor: int, spec: MapSpec, name: str) -> None:
        self.descriptor = descriptor
        self.spec = spec
        self.name = name

    @classmethod
    def create(cls, spec: MapSpec, name: str) -> Self:
        attributes = bytearray(_CREATE.pack(*spec, 0, 0, object_name(name)))
        return cls(bpf(MAP_CREATE, attributes, f"create map {name}"), spec, name)

    @classmethod
    def open_pinned(cls, path: str) -> Self:
        """The map pinned there, or `Gone`."""
        descriptor = pin.get(path)
        try:
            info = bytearray(_INFO.size)
            query = bytearray(struct.pack("=IIQ", descriptor, len(info), address(info)))
            bpf(INFO_BY_FD, query, f"look at map {path}")
        except KernelError:
            os.close(descriptor)
            raise
        kind, _, key_bytes, value_bytes, max_entries, flags, name = _INFO.unpack(info)
        spec = MapSpec(kind, key_bytes, value_bytes, max_entries, flags)
        return cls(descriptor, spec, name.rstrip(b"\0").decode("ascii", "replace"))

    def close(self) -> None:
        os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def pin(self, path: str) -> None:
        """Gives the map a name in a bpffs; `Exists` if the name is taken."""
        pin.pin(self.descriptor, path)

    def put(self, key: bytes, value: bytes) -> None:
        """Creates or overwrites one entry, which a program sees whole or not at all (in a hash)."""
        self._element(MAP_UPDATE, key, bytearray(value), "write")

    def get(self, key: bytes) -> bytes | None:
        value = bytearray(self.spec.value_bytes)
        try:
            self._element(MAP_LOOKUP, key, value, "read")
        except Gone:
            return None
        return bytes(value)

    def delete(self, key: bytes) -> None:
        """Removes one entry; one that is not there is no error."""
        try:
            self._element(MAP_DELETE, key, bytearray(), "delete")
        except Gone:
            return

    def put_all(self, entries: dict[bytes, bytes]) -> None:
        """Creates or overwrites the entries, a thousand per call. When it raises, some may be written."""
        rows = list(entries.items())
        for key, value in rows:
            self._check_sizes(key, value)
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            keys = bytearray(b"".join(key for key, _ in chunk))
            values = bytearray(b"".join(value for _, value in chunk))
            attributes = bytearray(_BATCH.pack(0, 0, address(keys), address(values), len(chunk), self.descriptor, 0, 0))
            bpf(MAP_UPDATE_BATCH, attributes, f"write {len(chunk)} entries of map {self.name}")

    def items(self) -> dict[bytes, bytes]:
        """All entries of a hash, array or trie. Entries that change meanwhile may be seen or missed."""
        found: dict[bytes, bytes] = {}
        key_bytes, value_bytes = self.spec.key_bytes, self.spec.value_bytes
        keys, values = bytearray(key_bytes * _CHUNK), bytearray(value_bytes * _CHUNK)
        # The kernel's place in the map: a bucket number or a key.
        place, next_place = bytearray(max(4, key_bytes)), bytearray(max(4, key_bytes))
        first, last = True, False
        while not last:
            attributes = bytearray(
                _BATCH.pack(
                    0 if first else address(place),
                    address(next_place),
                    address(keys),
                    address(values),
                    _CHUNK,
                    self.descriptor,
                    0,
                    0,
                )
            )
            try:
                bpf(MAP_LOOKUP_BATCH, attributes, f"read map {self.name}")
            except Gone:
                last = True  # ENOENT comes with the last entries
            (count,) = struct.unpack_from("=I", attributes, _COUNT_OFFSET)
            for i in range(count):
                key = bytes(keys[i * key_bytes : (i + 1) * key_bytes])
                found[key] = bytes(values[i * value_bytes : (i + 1) * value_bytes])
            place[:] = next_place
            first = False
        return found

    def _element(self, command: int, key: bytes, value: bytearray, verb: str) -> None:
        self._check_sizes(key, value if command != MAP_DELETE else None)
        owned = bytearray(key)
        attributes = bytearray(_ELEMENT.pack(self.descriptor, 0, address(owned), address(value), 0))
        bpf(command, attributes, f"{verb} entry {key.hex()} of map {self.name}")

    def _check_sizes(self, key: bytes, value: bytes | bytearray | None) -> None:
        # The kernel reads as many bytes as the map was made for, whatever we own.
        if len(key) != self.spec.key_bytes or (value is not None and len(value) != self.spec.value_bytes):
            raise ValueError(f"map {self.name}: entry {key.hex()} has not the size of {self.spec}")
