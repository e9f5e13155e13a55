"""The ARP/NDP responder: one eBPF program on every governed interface, and what it knows, in two maps.

The kernel's own proxy ARP is silent without a route to the target and answers the guest's own address when that
is routed elsewhere (measured); hence a program of ours. It is pinned with its maps, so it goes on answering
while no agent runs, and the next agent adopts it.

Invariants:
* The maps' layout is `_ABI`; another layout is another pin directory, so two versions never share a map.
* A filter is attached only after the interface's answer is in the map; without an answer the program passes
  everything on.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from importlib import resources
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple, TypeVar

from tortie.dataplane.l3.rows import Address, Asked, AskedKey
from tortie.errors import Gone, KernelError, TortieError, Unsupported
from tortie.kernel.bpf import pin
from tortie.kernel.bpf.elf import parse
from tortie.kernel.bpf.load import load
from tortie.kernel.bpf.map import Map
from tortie.kernel.bpf.program import Program
from tortie.kernel.netlink import tc
from tortie.kernel.netlink.socket import NetlinkSocket

_ABI = "v1"
_OBJECT = "responder.bpf.o"
_PROGRAM = "responder"
_ANSWERS = "endpoint"
_ASKED = "address"

# Our place among the filters of an interface; others run before (lower) or after it.
_PRIORITY = 116
_HANDLE = 116
_FILTER_NAME = "tortie_responder"

_ASKED_KEY = struct.Struct("=I16s")
_MAPPED_V4 = bytes(10) + b"\xff\xff"  # RFC 4291 section 2.5.5.2


Key = TypeVar("Key", int, AskedKey)


class Responder(NamedTuple):
    """The program and its maps, open."""

    program: Program
    program_id: int
    answers: Map
    asked: Map

    def close(self) -> None:
        """What is attached and pinned goes on."""
        for each in (self.program, self.answers, self.asked):
            each.close()


def open_responder(bpffs: Path) -> Responder:
    """Adopts what an agent before this one pinned, or loads and pins it anew.

    An equal program (by tag) is kept, so a restart changes nothing in the kernel; another one takes the old maps
    over. Raises KernelError where the kernel cannot: proxy ARP stands in then.
    """
    directory = bpffs / _ABI
    pin.mount(str(bpffs))
    directory.mkdir(mode=0o700, exist_ok=True)
    adopted = {name: table for name in (_ANSWERS, _ASKED) if (table := _open_map(directory / name)) is not None}
    loaded = load(parse(_read_object()), adopted)
    for name, table in loaded.maps.items():
        if name not in adopted:
            table.pin(str(directory / name))
    fresh = loaded.programs[_PROGRAM]
    program = _open_program(directory / _PROGRAM)
    if program is None or program.info().tag != fresh.info().tag:
        pin.unpin(str(directory / _PROGRAM))
        fresh.pin(str(directory / _PROGRAM))
        program, fresh = fresh, program or fresh
    if fresh is not program:
        fresh.close()
    return Responder(program, program.info().id, loaded.maps[_ANSWERS], loaded.maps[_ASKED])


class AnswerTable:
    """Interface -> MAC that the responder answers with."""

    def __init__(self, table: Map) -> None:
        self._map = table

    def read(self, wanted: Collection[int]) -> Mapping[int, str]:
        return {
            int.from_bytes(key, "little"): ":".join(f"{byte:02x}" for byte in value[:6])
            for key, value in self._map.items().items()
        }

    def put(self, rows: Mapping[int, str]) -> Mapping[int, TortieError]:
        size = self._map.spec.value_bytes
        return _put(self._map, {i: (_ifindex(i), _mac(mac).ljust(size, b"\0")) for i, mac in rows.items()})

    def delete(self, keys: Collection[int]) -> Mapping[int, TortieError]:
        for ifindex in keys:
            self._map.delete(_ifindex(ifindex))
        return {}


class AskedTable:
    """Address somebody may ask for -> what to do about it."""

    def __init__(self, table: Map) -> None:
        self._map = table

    def read(self, wanted: Collection[AskedKey]) -> Mapping[AskedKey, Asked | int]:
        rows: dict[AskedKey, Asked | int] = {}
        for key, value in self._map.items().items():
            ifindex, packed = _ASKED_KEY.unpack(key)
            address = ip_address(packed[12:] if packed.startswith(_MAPPED_V4) else packed)
            rows[AskedKey(ifindex, address)] = int.from_bytes(value, "little")
        return rows

    def put(self, rows: Mapping[AskedKey, Asked]) -> Mapping[AskedKey, TortieError]:
        return _put(self._map, {key: (_asked(key), int(value).to_bytes(4, "little")) for key, value in rows.items()})

    def delete(self, keys: Collection[AskedKey]) -> Mapping[AskedKey, TortieError]:
        for key in keys:
            self._map.delete(_asked(key))
        return {}


class FilterTable:
    """Interface -> id of the program at our place of its ingress hook."""

    def __init__(self, sock: NetlinkSocket, responder: Responder) -> None:
        self._socket = sock
        self._responder = responder

    def read(self, wanted: Collection[int]) -> Mapping[int, int]:
        """Of these interfaces only: each is a request of its own."""
        rows: dict[int, int] = {}
        for ifindex in wanted:
            ours = self._there(ifindex)
            if ours is not None and ours.name == _FILTER_NAME:
                rows[ifindex] = ours.program_id
        return rows

    def put(self, rows: Mapping[int, int]) -> Mapping[int, TortieError]:
        failed: dict[int, TortieError] = {}
        for ifindex in rows:
            try:
                descriptor = self._responder.program.descriptor
                tc.claim(self._socket, ifindex, tc.Hook.INGRESS, _PRIORITY, _HANDLE, _FILTER_NAME, descriptor)
            except KernelError as error:
                failed[ifindex] = error
        return failed

    def delete(self, keys: Collection[int]) -> Mapping[int, TortieError]:
        """The hooks themselves stay: somebody else may have come to use them."""
        failed: dict[int, TortieError] = {}
        for ifindex in keys:
            try:
                there = self._there(ifindex)
                if there is not None and there.name == _FILTER_NAME:
                    tc.delete_filter(self._socket, ifindex, tc.Hook.INGRESS, _PRIORITY, _HANDLE)
            except KernelError as error:
                failed[ifindex] = error
        return failed

    def _there(self, ifindex: int) -> tc.Filter | None:
        return _at_our_place(self._socket, ifindex)


def is_attached(sock: NetlinkSocket, ifindex: int) -> bool:
    """A responder of ours is on the interface, of whatever version."""
    there = _at_our_place(sock, ifindex)
    return there is not None and there.name == _FILTER_NAME


def detach(sock: NetlinkSocket, ifindex: int) -> None:
    """Takes our responder off the interface, and the hooks with it unless somebody else has something there."""
    tc.delete_filter(sock, ifindex, tc.Hook.INGRESS, _PRIORITY, _HANDLE)
    if not any(tc.filters(sock, ifindex, hook) for hook in tc.Hook):
        tc.delete_clsact(sock, ifindex)


def pins(bpffs: Path) -> list[Path]:
    """What is pinned of this version and others, files before their directory."""
    return [each for directory in sorted(bpffs.glob("v*")) for each in (*sorted(directory.iterdir()), directory)]


def _at_our_place(sock: NetlinkSocket, ifindex: int) -> tc.Filter | None:
    return tc.at(sock, ifindex, tc.Hook.INGRESS, _PRIORITY, _HANDLE)


def _read_object() -> bytes:
    path = resources.files(__package__).joinpath(_OBJECT)
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise Unsupported(f"the eBPF object {_OBJECT} is not installed: build the package with clang") from error


def _open_map(path: Path) -> Map | None:
    try:
        return Map.open_pinned(str(path))
    except Gone:
        return None


def _open_program(path: Path) -> Program | None:
    try:
        return Program.open_pinned(str(path))
    except Gone:
        return None


def _put(table: Map, rows: Mapping[Key, tuple[bytes, bytes]]) -> Mapping[Key, TortieError]:
    failed: dict[Key, TortieError] = {}
    for key, (packed, value) in rows.items():
        try:
            table.put(packed, value)
        except KernelError as error:
            failed[key] = error
    return failed


def _ifindex(ifindex: int) -> bytes:
    return ifindex.to_bytes(4, "little")


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _asked(key: AskedKey) -> bytes:
    address: Address = key.address
    packed = address.packed
    return _ASKED_KEY.pack(key.ifindex, _MAPPED_V4 + packed if len(packed) == 4 else packed)
