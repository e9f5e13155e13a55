"""One eBPF program in the kernel: loaded, opened, looked at, tried on a packet."""

from __future__ import annotations

import os
import struct
from types import TracebackType
from typing import NamedTuple, Self

from tortie.errors import KernelError
from tortie.kernel.bpf import pin
from tortie.kernel.bpf.syscall import (
    INFO_BY_FD,
    PROGRAM_BY_ID,
    PROGRAM_LOAD,
    PROGRAM_TEST_RUN,
    address,
    bpf,
    object_name,
)

SCHED_CLS = 3  # BPF_PROG_TYPE_SCHED_CLS

_LOG_BYTES = 1024 * 1024
_LOG_TAIL = 2000  # characters of the verifier's log that an error shows: the complaint is at the end

# type, instructions, their address, licence, log level, log size, log address, kernel version, flags, name
_LOAD = struct.Struct("=IIQQIIQII16s")
_INFO = struct.Struct("=II8s")  # type, id, tag
# program, verdict, sizes in and out, data in and out, repeat, duration
_TEST_RUN = struct.Struct("=IIIIQQII")


class ProgramInfo(NamedTuple):
    type: int
    id: int
    tag: str  # hash of the instructions; equal tags are the same code


class Outcome(NamedTuple):
    """What a program made of a packet: its return value, and the packet afterwards."""

    verdict: int
    packet: bytes


class Program:
    """An open program; closing it unloads it unless it is pinned or attached."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def load(cls, code: bytes, name: str, licence: str) -> Self:
        """Has the verifier take a classifier; an error's message ends with the verifier's own reason."""
        instructions = bytearray(code)
        licence_text = bytearray(licence.encode() + b"\0")

        def attempt(log: bytearray) -> int:
            log_level = 1 if log else 0
            attributes = bytearray(
                _LOAD.pack(
                    SCHED_CLS,
                    len(code) // 8,
                    address(instructions),
                    address(licence_text),
                    log_level,
                    len(log),
                    address(log),
                    0,
                    0,
                    object_name(name),
                )
            )
            return bpf(PROGRAM_LOAD, attributes, f"load program {name}")

        try:
            return cls(attempt(log=bytearray()))
        except KernelError:
            # Writing the log makes a load several times slower, so it is asked for only now.
            log = bytearray(_LOG_BYTES)
            try:
                return cls(attempt(log))
            except KernelError as error:
                text = log.partition(b"\0")[0].decode("ascii", "replace").strip()
                raise type(error)(f"{error}\n{text[-_LOG_TAIL:]}" if text else str(error), error.errno) from error

    @classmethod
    def open_pinned(cls, path: str) -> Self:
        """The program pinned there, or `Gone`."""
        return cls(pin.get(path))

    @classmethod
    def by_id(cls, number: int) -> Self:
        """The program of that id, or `Gone`."""
        return cls(bpf(PROGRAM_BY_ID, bytearray(struct.pack("=III", number, 0, 0)), f"open program {number}"))

    def close(self) -> None:
        os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def pin(self, path: str) -> None:
        """Gives the program a name in a bpffs; `Exists` if the name is taken."""
        pin.pin(self.descriptor, path)

    def info(self) -> ProgramInfo:
        info = bytearray(_INFO.size)
        query = bytearray(struct.pack("=IIQ", self.descriptor, len(info), address(info)))
        bpf(INFO_BY_FD, query, "look at a program")
        kind, number, tag = _INFO.unpack(info)
        return ProgramInfo(kind, number, tag.hex())

    def test_run(self, packet: bytes) -> Outcome:
        """Runs the program on a frame as if it came in by the loopback; redirects are returned, not done."""
        data = bytearray(packet)
        result = bytearray(len(packet) + 256)  # room for a program that makes the packet longer
        attributes = bytearray(
            _TEST_RUN.pack(self.descriptor, 0, len(data), len(result), address(data), address(result), 1, 0)
        )
        bpf(PROGRAM_TEST_RUN, attributes, "test a program")
        _, verdict, _, length, *_ = _TEST_RUN.unpack(attributes)
        return Outcome(verdict, bytes(result[:length]))
