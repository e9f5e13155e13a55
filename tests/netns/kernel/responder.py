"""The responder's program and maps for tests, loaded from the object of the package."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import NamedTuple

from tests.netns.kernel.frames import Ip, mac_bytes
from tortie.kernel.bpf.elf import parse
from tortie.kernel.bpf.load import load
from tortie.kernel.bpf.map import Map
from tortie.kernel.bpf.program import Program

OWN = 1
HELD = 2
ANY_INTERFACE = 0


class Responder(NamedTuple):
    program: Program
    endpoints: Map
    addresses: Map

    def add_endpoint(self, ifindex: int, mac: str) -> None:
        self.endpoints.put(struct.pack("=I", ifindex), mac_bytes(mac))

    def add_address(self, ifindex: int, address: Ip, kind: int) -> None:
        packed = address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed
        self.addresses.put(struct.pack("=I", ifindex) + packed, struct.pack("=I", kind))


@contextmanager
def loaded() -> Iterator[Responder]:
    data = resources.files("tortie.dataplane.l3").joinpath("responder.bpf.o").read_bytes()
    result = load(parse(data), {})
    try:
        yield Responder(result.programs["responder"], result.maps["endpoint"], result.maps["address"])
    finally:
        result.close()
