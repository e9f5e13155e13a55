"""Reading what clang made, with the responder as the specimen."""

from __future__ import annotations

import contextlib
import struct
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.errors import KernelError
from tortie.kernel.bpf import elf
from tortie.kernel.bpf.map import MapSpec

OBJECT = resources.files("tortie.dataplane.l3").joinpath("responder.bpf.o").read_bytes()


def test_maps_and_programs_are_found() -> None:
    found = elf.parse(OBJECT)
    assert found.maps == {
        "endpoint": MapSpec(1, 4, 6, 65536, 1),
        "address": MapSpec(1, 20, 4, 262144, 1),
    }
    assert list(found.programs) == ["responder"]
    assert found.licence == "Apache-2.0"
    assert len(found.programs["responder"].code) % 8 == 0


def test_a_reference_is_linked_to_the_descriptor_of_its_map() -> None:
    program = elf.parse(OBJECT).programs["responder"]
    assert {reference.map for reference in program.references} == {"endpoint", "address"}
    code = program.linked({"endpoint": 11, "address": 22})
    for reference in program.references:
        operation, registers, _, descriptor = struct.unpack_from("<BBhi", code, reference.offset)
        assert operation == 0x18
        assert registers >> 4 == 1
        assert descriptor == {"endpoint": 11, "address": 22}[reference.map]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "unpack"),
        (b"\x7fELF" + bytes(100), "no 64-bit little-endian eBPF"),
        (OBJECT[:18] + b"\x3e\x00" + OBJECT[20:], "no 64-bit little-endian eBPF"),
    ],
    ids=["empty", "zeros", "x86-64 code"],
)
def test_no_such_object_is_our_error(data: bytes, reason: str) -> None:
    with pytest.raises(KernelError, match=reason):
        elf.parse(data)


@given(st.integers(0, len(OBJECT) - 1))
def test_a_truncated_object_never_raises_anything_but_our_error(length: int) -> None:
    with contextlib.suppress(KernelError):
        elf.parse(OBJECT[:length])


@given(st.lists(st.tuples(st.integers(0, len(OBJECT) - 1), st.integers(0, 255)), min_size=1, max_size=20))
def test_nor_does_a_damaged_one(damage: list[tuple[int, int]]) -> None:
    data = bytearray(OBJECT)
    for offset, value in damage:
        data[offset] = value
    with contextlib.suppress(KernelError):
        elf.parse(bytes(data))
