"""IP sets by their program, and what the kernel says of all of them at a glance.

Lines go in by `ipset restore`, which stops at the first that fails and has then done those before it; a line that is
done already is no failure. The programs run in the network namespace of the calling thread.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from tortie.errors import Busy, KernelError, Refused
from tortie.kernel.netfilter.message import GENERIC, be32, message_type, number
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netlink.message import Message, attribute, parse_attributes
from tortie.kernel.run import CommandFailed, run_blocking

# A million members take 5 s.
TIMEOUT_S = 120.0
OUTPUT_BYTES = 256 * 1024 * 1024

# include/uapi/linux/netfilter/ipset/ip_set.h
_SUBSYSTEM = 6
_LIST = 7
_PROTOCOL = 1
_NAME = 2
_FLAGS = 6
_DATA = 7
_ELEMENTS = 24
_PROTOCOL_VERSION = 6
_HEADERS_ONLY = 1 << 2

_FAILED_LINE = re.compile(r"Error in line (\d+): (.*)")


class LineFailed(KernelError):
    """The line of that index failed; those before it are done, those after it are not."""

    def __init__(self, index: int, error: KernelError) -> None:
        self.index = index
        self.error = error
        super().__init__(str(error))


class Saved(NamedTuple):
    """A set as `ipset save` lists it."""

    name: str
    type: str
    family: str
    members: list[str]


def is_installed() -> bool:
    return shutil.which("ipset") is not None


def restore(lines: Sequence[str]) -> None:
    """Does what the lines say, in their order; `LineFailed` at the first that cannot be done."""
    try:
        run_blocking(["ipset", "restore", "-exist"], TIMEOUT_S, "\n".join(lines) + "\n")
    except CommandFailed as error:
        found = _FAILED_LINE.search(error.output)
        if found is None:
            raise Busy(str(error)) from error
        index, reason = int(found[1]) - 1, found[2]
        kind = Busy if "in use" in reason else Refused
        raise LineFailed(index, kind(f"ipset {lines[index]}: {reason}")) from error


def save() -> Iterator[Saved]:
    """Every set, also other people's."""
    try:
        listed = run_blocking(["ipset", "save"], TIMEOUT_S, output_bytes=OUTPUT_BYTES)
    except CommandFailed as error:
        raise Busy(str(error)) from error
    current = Saved("", "", "", [])
    for line in listed.splitlines():
        word, name, rest = line.split(" ", 2)
        if word == "create":
            if current.name:
                yield current
            kind, *options = rest.split()
            family = options[options.index("family") + 1] if "family" in options else ""
            current = Saved(name, kind, family, [])
        elif word == "add":
            current.members.append(rest.split(" ", 1)[0])
    if current.name:
        yield current


def sizes(sock: NetfilterSocket, prefix: str) -> Hashable:
    """How many members each set of that prefix has; microseconds a set."""
    body = GENERIC.pack(0, 0, 0) + attribute(_PROTOCOL, bytes([_PROTOCOL_VERSION])) + be32(_FLAGS, _HEADERS_ONLY)
    found = sock.dump(message_type(_SUBSYSTEM, _LIST), body, _size, "list the sizes of IP sets")
    return frozenset((name, size) for name, size in found if name.startswith(prefix))


def _size(message: Message) -> tuple[str, int]:
    attributes = parse_attributes(message.payload, GENERIC.size)
    return attributes.text(_NAME), number(attributes.nested(_DATA), _ELEMENTS)
