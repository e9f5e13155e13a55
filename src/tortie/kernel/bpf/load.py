"""Loading an object file: maps made or taken over, then programs linked to them."""

from __future__ import annotations

from typing import NamedTuple

from tortie.errors import KernelError, Refused
from tortie.kernel.bpf.elf import ObjectFile
from tortie.kernel.bpf.map import Map
from tortie.kernel.bpf.program import Program


class Loaded(NamedTuple):
    """What an object file became in the kernel. Attached and pinned parts stay when it is closed."""

    maps: dict[str, Map]
    programs: dict[str, Program]

    def close(self) -> None:
        for program in self.programs.values():
            program.close()
        for table in self.maps.values():
            table.close()


def load(object_file: ObjectFile, adopted: dict[str, Map]) -> Loaded:
    """Loads every program of the file, on `adopted` maps where given (pins of an earlier process) and new
    ones else.

    `Refused` if an adopted map has another shape than the file says: its content means something else. On
    failure only what was made here is closed.
    """
    for name, table in adopted.items():
        wanted = object_file.maps.get(name)
        if table.spec != wanted:
            raise Refused(f"load eBPF object: map {name} is {table.spec}, not {wanted}")
    maps = dict(adopted)
    programs: dict[str, Program] = {}
    try:
        for name, spec in object_file.maps.items():
            if name not in maps:
                maps[name] = Map.create(spec, name)
        descriptors = {name: table.descriptor for name, table in maps.items()}
        for name, program in object_file.programs.items():
            programs[name] = Program.load(program.linked(descriptors), name, object_file.licence)
    except KernelError:
        made = {name: table for name, table in maps.items() if name not in adopted}
        Loaded(made, programs).close()
        raise
    return Loaded(maps, programs)
