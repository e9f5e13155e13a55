"""What clang made of one `.bpf.c`: its maps and programs, read out of the ELF file. Pure; nothing is loaded.

A map is a `struct map_spec` of five u32 (type, key size, value size, entries, flags) in the section `maps`,
so the file says its own shapes without BTF. The only relocations are references of a program to these maps:
no global variables, no subprograms that are not inlined.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from tortie.errors import KernelError
from tortie.kernel.bpf.map import MapSpec

_MAPS = "maps"
_LICENCE = "license"

_EM_BPF = 247
_SHT_SYMTAB = 2
_SHT_REL = 9
_SHF_EXECINSTR = 4
_STT_FUNC = 2
_R_BPF_64_64 = 1
_PSEUDO_MAP_FD = 1

_FILE_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQ")
_MAP_SPEC = struct.Struct("<IIIII")
_LOAD_IMMEDIATE = 0x18  # BPF_LD | BPF_IMM | BPF_DW


class MapReference(NamedTuple):
    """The instruction at `offset` of a program loads the address of a map."""

    offset: int
    map: str


class ProgramCode(NamedTuple):
    name: str
    code: bytes
    references: tuple[MapReference, ...]

    def linked(self, descriptors: dict[str, int]) -> bytes:
        """The instructions with every map replaced by its descriptor."""
        code = bytearray(self.code)
        for reference in self.references:
            # In the second byte the high half is the source register, which says what the constant is.
            code[reference.offset + 1] = (code[reference.offset + 1] & 0x0F) | (_PSEUDO_MAP_FD << 4)
            struct.pack_into("<i", code, reference.offset + 4, descriptors[reference.map])
        return bytes(code)


class ObjectFile(NamedTuple):
    maps: dict[str, MapSpec]
    programs: dict[str, ProgramCode]
    licence: str


class _Section(NamedTuple):
    name: str
    type: int
    flags: int
    link: int
    info: int
    data: bytes


class _Symbol(NamedTuple):
    name: str
    type: int
    section: int
    value: int
    size: int


def parse(data: bytes) -> ObjectFile:
    """Reads an object file; a `KernelError` says what is wrong with one that is damaged or uses more."""
    try:
        return _parse(data)
    except (struct.error, IndexError, OverflowError, ValueError) as error:
        raise KernelError(f"eBPF object is damaged: {error}") from error


def _parse(data: bytes) -> ObjectFile:
    sections = _sections(data)
    symbols = _symbols(data, sections)
    maps: dict[str, MapSpec] = {}
    programs: dict[str, ProgramCode] = {}
    for symbol in symbols:
        if not 0 < symbol.section < len(sections):
            continue
        section = sections[symbol.section]
        if section.name == _MAPS and symbol.name:
            maps[symbol.name] = MapSpec(*_MAP_SPEC.unpack_from(section.data, symbol.value))
        elif section.flags & _SHF_EXECINSTR and symbol.type == _STT_FUNC:
            code = section.data[symbol.value : symbol.value + symbol.size]
            if len(code) != symbol.size:
                raise ValueError(f"program {symbol.name} runs past its section")
            references = _references(sections, symbols, symbol)
            programs[symbol.name] = ProgramCode(symbol.name, code, references)
    licence = next((section.data for section in sections if section.name == _LICENCE), b"")
    return ObjectFile(maps, programs, licence.rstrip(b"\0").decode("ascii"))


def _sections(data: bytes) -> list[_Section]:
    ident, _, machine, _, _, _, table, _, _, _, _, size, count, names = _FILE_HEADER.unpack_from(data)
    if ident[:6] != b"\x7fELF\x02\x01" or machine != _EM_BPF or size != _SECTION_HEADER.size:
        raise ValueError("no 64-bit little-endian eBPF ELF file")
    headers = [_SECTION_HEADER.unpack_from(data, table + i * size) for i in range(count)]
    names_offset = headers[names][4]
    return [
        _Section(_string(data, names_offset + name), kind, flags, link, info, data[offset : offset + length])
        for name, kind, flags, _, offset, length, link, info, _, _ in headers
    ]


def _symbols(data: bytes, sections: list[_Section]) -> list[_Symbol]:
    table = next((section for section in sections if section.type == _SHT_SYMTAB), None)
    if table is None:
        raise ValueError("no symbols")
    strings = sections[table.link].data
    return [
        _Symbol(_string(strings, name), info & 0x0F, section, value, size)
        for name, info, _, section, value, size in _SYMBOL.iter_unpack(table.data)
    ]


def _references(sections: list[_Section], symbols: list[_Symbol], program: _Symbol) -> tuple[MapReference, ...]:
    references = []
    for section in sections:
        if section.type != _SHT_REL or section.info != program.section:
            continue
        for place, info in _RELOCATION.iter_unpack(section.data):
            offset = place - program.value
            if not 0 <= offset < program.size:
                continue
            target = symbols[info >> 32]
            if info & 0xFFFFFFFF != _R_BPF_64_64 or sections[target.section].name != _MAPS:
                raise ValueError(f"program {program.name} refers to {target.name!r}, which is no map")
            if sections[program.section].data[place] != _LOAD_IMMEDIATE:
                raise ValueError(f"program {program.name} refers to {target.name!r} in an odd way")
            references.append(MapReference(offset, target.name))
    return tuple(references)


def _string(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode()
