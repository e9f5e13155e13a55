"""Maps, programs and pins in a real kernel."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from tortie.errors import Exists, Gone, KernelError, Refused
from tortie.kernel import libc
from tortie.kernel.bpf import pin
from tortie.kernel.bpf.elf import ObjectFile, parse
from tortie.kernel.bpf.load import load
from tortie.kernel.bpf.map import Map, MapSpec, MapType
from tortie.kernel.bpf.program import SCHED_CLS, Program

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root")

NO_PREALLOCATION = 1
SPEC = MapSpec(MapType.HASH, 4, 8, 10_000, NO_PREALLOCATION)

# r0 = 7; exit
RETURN_7 = bytes.fromhex("b7000000070000009500000000000000")
# r0 = *(u64 *)(r10 + 0); exit: reads past the stack
BAD = bytes.fromhex("79a00000000000009500000000000000")


def entry(number: int) -> tuple[bytes, bytes]:
    return struct.pack("=I", number), struct.pack("=Q", number * number)


@pytest.fixture
def table() -> Iterator[Map]:
    with Map.create(SPEC, "test_map") as table:
        yield table


@pytest.fixture
def bpffs(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "bpf"
    pin.mount(str(path))
    yield path
    libc.umount(str(path))


@pytest.fixture
def responder() -> ObjectFile:
    return parse(resources.files("tortie.dataplane.l3").joinpath("responder.bpf.o").read_bytes())


class TestMap:
    def test_an_entry_lives_and_dies(self, table: Map) -> None:
        key, value = entry(3)
        assert table.get(key) is None
        table.put(key, value)
        assert table.get(key) == value
        table.put(key, bytes(8))
        assert table.get(key) == bytes(8)
        table.delete(key)
        assert table.get(key) is None
        table.delete(key)

    @pytest.mark.parametrize("count", [0, 1, 1023, 1024, 1025, 5000])
    def test_all_entries_are_written_and_read(self, table: Map, count: int) -> None:
        entries = dict(map(entry, range(count)))
        table.put_all(entries)
        assert table.items() == entries

    @pytest.mark.parametrize("flags", [0, NO_PREALLOCATION])
    @pytest.mark.parametrize("key_bytes", [4, 20])
    def test_whatever_the_kind_of_hash(self, flags: int, key_bytes: int) -> None:
        with Map.create(MapSpec(MapType.HASH, key_bytes, 6, 3000, flags), "test_map") as table:
            entries = {i.to_bytes(key_bytes, "little"): i.to_bytes(6, "little") for i in range(3000)}
            table.put_all(entries)
            assert table.items() == entries

    def test_an_array_has_all_its_entries_from_the_start(self) -> None:
        with Map.create(MapSpec(MapType.ARRAY, 4, 8, 3, 0), "test_map") as table:
            table.put(*entry(2))
            assert table.items() == {struct.pack("=I", i): entry(i)[1] if i == 2 else bytes(8) for i in range(3)}

    def test_a_full_map_refuses_and_keeps_what_it_has(self) -> None:
        with Map.create(SPEC._replace(max_entries=10), "small") as table:
            entries = dict(map(entry, range(10)))
            table.put_all(entries)
            with pytest.raises(KernelError, match="small"):
                table.put(*entry(11))
            with pytest.raises(KernelError, match="write 1 entries of map small"):
                table.put_all(dict([entry(12)]))
            assert table.items() == entries

    def test_a_key_or_value_of_the_wrong_size_never_reaches_the_kernel(self, table: Map) -> None:
        with pytest.raises(ValueError, match="test_map"):
            table.put(bytes(3), bytes(8))
        with pytest.raises(ValueError, match="test_map"):
            table.put(bytes(4), bytes(9))
        with pytest.raises(ValueError, match="test_map"):
            table.put_all({bytes(4): bytes(7)})

    def test_a_shape_that_cannot_be_is_refused(self) -> None:
        with pytest.raises(Refused, match="create map odd"):
            Map.create(SPEC._replace(key_bytes=0), "odd")


class TestPin:
    def test_mounting_twice_is_once(self, bpffs: Path) -> None:
        pin.mount(str(bpffs))
        pin.mount(str(bpffs / "below"))
        mounts = Path("/proc/self/mounts").read_text()
        assert mounts.count(f" {bpffs} bpf ") == 1
        assert f" {bpffs}/below " not in mounts

    def test_a_map_survives_its_descriptor(self, bpffs: Path) -> None:
        path = str(bpffs / "map")
        with Map.create(SPEC, "test_map") as table:
            table.pin(path)
            table.put(*entry(5))
        with Map.open_pinned(path) as again:
            assert (again.spec, again.name) == (SPEC, "test_map")
            assert again.items() == dict([entry(5)])
        pin.unpin(path)
        with pytest.raises(Gone, match="open pin"):
            Map.open_pinned(path)
        pin.unpin(path)

    def test_a_program_survives_its_descriptor(self, bpffs: Path) -> None:
        path = str(bpffs / "program")
        with Program.load(RETURN_7, "seven", "GPL") as program:
            program.pin(path)
            info = program.info()
        with Program.open_pinned(path) as again, Program.by_id(info.id) as by_id:
            assert again.info() == by_id.info() == info
        pin.unpin(path)

    def test_a_name_that_is_taken_is_not_taken_over(self, bpffs: Path, table: Map) -> None:
        path = str(bpffs / "map")
        table.pin(path)
        with pytest.raises(Exists):
            table.pin(path)

    def test_pins_live_in_a_bpffs_alone(self, tmp_path: Path, table: Map) -> None:
        with pytest.raises(Refused, match="pin "):
            table.pin(str(tmp_path / "map"))


class TestProgram:
    def test_runs_on_a_packet(self) -> None:
        with Program.load(RETURN_7, "seven", "GPL") as program:
            assert program.test_run(bytes(60)) == (7, bytes(60))
            assert program.info().type == SCHED_CLS

    def test_equal_code_has_an_equal_tag(self) -> None:
        with Program.load(RETURN_7, "one", "GPL") as one, Program.load(RETURN_7, "two", "GPL") as two:
            assert one.info().tag == two.info().tag
            assert one.info().id != two.info().id

    def test_the_verifiers_reason_is_in_the_error(self) -> None:
        with pytest.raises(Refused, match=r"(?s)^load program bad: .*invalid.*stack") as caught:
            Program.load(BAD, "bad", "GPL")
        assert caught.value.errno

    def test_an_id_that_is_not_there_is_gone(self) -> None:
        with pytest.raises(Gone, match="open program 2147483647"):
            Program.by_id(2**31 - 1)


class TestLoad:
    def test_maps_are_made_as_the_object_says(self, responder: ObjectFile) -> None:
        loaded = load(responder, {})
        try:
            assert {name: table.spec for name, table in loaded.maps.items()} == responder.maps
            assert list(loaded.programs) == ["responder"]
        finally:
            loaded.close()

    def test_an_adopted_map_is_used(self, responder: ObjectFile) -> None:
        """The old process's entry decides what the new program does."""
        frame = bytes.fromhex("ffffffffffff 020000000018 0806 0001 0800 06 04 0001") + bytes(20)
        first = load(responder, {})
        try:
            old = first.maps["endpoint"]
            old.put(struct.pack("=I", 1), b"\xee" * 6)
            second = load(responder, {"endpoint": Map(os.dup(old.descriptor), old.spec, old.name)})
        finally:
            first.close()
        try:
            assert second.programs["responder"].test_run(frame).verdict == 2
        finally:
            second.close()

    def test_an_adopted_map_of_another_shape_is_refused(self, responder: ObjectFile) -> None:
        with Map.create(SPEC, "endpoint") as other:
            with pytest.raises(Refused, match="map endpoint is MapSpec"):
                load(responder, {"endpoint": other})
            assert other.items() == {}  # still open

    def test_a_failure_leaves_no_descriptor(self, responder: ObjectFile) -> None:
        broken = responder.programs["responder"]._replace(code=BAD, references=())
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        with pytest.raises(Refused):
            load(responder._replace(programs={"good": responder.programs["responder"], "bad": broken}), {})
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
