"""eBPF programs at the clsact hooks of a link: the qdisc that carries the hooks, and its filters.

A filter holds its program, so traffic goes on being judged when the process that attached it is gone.
Replacing a filter is atomic: no packet passes unjudged (measured).
"""

from __future__ import annotations

import enum
import errno
import socket
import struct
from typing import NamedTuple

from tortie.errors import Exists, Gone, KernelError, Refused
from tortie.kernel.netlink.message import (
    CREATE,
    EXCLUSIVE,
    Message,
    nested,
    parse_attributes,
    text,
    u32,
    unpack_fixed,
)
from tortie.kernel.netlink.socket import NetlinkSocket

# include/uapi/linux/rtnetlink.h, pkt_sched.h, pkt_cls.h, if_ether.h
NEW_QDISC = 36
DELETE_QDISC = 37
NEW_FILTER = 44
DELETE_FILTER = 45
GET_FILTER = 46

_CLSACT_PARENT = 0xFFFFFFF1
_CLSACT_HANDLE = 0xFFFF0000
_KIND = 1
_OPTIONS = 2
_BPF_FD = 6
_BPF_NAME = 7
_BPF_FLAGS = 8
_BPF_TAG = 10
_BPF_ID = 11
_BPF_DIRECT_ACTION = 1
_ALL_PROTOCOLS = socket.htons(0x0003)

# family, pad, pad, index, handle, parent, info (priority << 16 | protocol)
_TC_MESSAGE = struct.Struct("=BBHiIII")


class Hook(enum.IntEnum):
    """Where on the link, seen from the host; the value is the filter's parent."""

    INGRESS = 0xFFFFFFF2
    EGRESS = 0xFFFFFFF3


class Filter(NamedTuple):
    """A filter as read back. The kernel runs them by ascending priority until one decides."""

    ifindex: int
    hook: Hook
    priority: int
    handle: int
    kind: str  # "bpf" for a program; others have no name, program or tag
    name: str
    program_id: int
    tag: str  # hash of the program's instructions as the verifier got them


def add_clsact(sock: NetlinkSocket, ifindex: int) -> None:
    """Gives the link its hooks. One that has them, or the first of them as `ingress`, is left alone."""
    body = _TC_MESSAGE.pack(socket.AF_UNSPEC, 0, 0, ifindex, _CLSACT_HANDLE, _CLSACT_PARENT, 0)
    try:
        doing = f"add clsact to link {ifindex}"
        sock.request(NEW_QDISC, CREATE | EXCLUSIVE, body + text(_KIND, "clsact"), doing)
    except Exists:
        return


def delete_clsact(sock: NetlinkSocket, ifindex: int) -> None:
    """Takes the hooks away with every filter on them, whoever put it; what is not there is no error."""
    body = _TC_MESSAGE.pack(socket.AF_UNSPEC, 0, 0, ifindex, _CLSACT_HANDLE, _CLSACT_PARENT, 0)
    try:
        sock.request(DELETE_QDISC, 0, body + text(_KIND, "clsact"), f"delete clsact of link {ifindex}")
    except Gone:
        return
    except Refused as error:
        # EINVAL: the link has no such qdisc, or one of another kind, at this place.
        if error.errno != errno.EINVAL:
            raise


def put_filter(
    sock: NetlinkSocket, ifindex: int, hook: Hook, priority: int, handle: int, name: str, program: int
) -> None:
    """Makes the program (a descriptor) run at the hook, in the place of the filter of that priority and handle.

    The kernel replaces whatever bpf filter stands there; `claim` replaces our own alone. `Refused` without clsact.
    """
    info = priority << 16 | _ALL_PROTOCOLS
    options = nested(_OPTIONS, u32(_BPF_FD, program), text(_BPF_NAME, name), u32(_BPF_FLAGS, _BPF_DIRECT_ACTION))
    body = _TC_MESSAGE.pack(socket.AF_UNSPEC, 0, 0, ifindex, handle, hook, info)
    doing = f"attach {name} to link {ifindex} {hook.name.lower()}"
    sock.request(NEW_FILTER, CREATE, body + text(_KIND, "bpf") + options, doing)


def claim(sock: NetlinkSocket, ifindex: int, hook: Hook, priority: int, handle: int, name: str, program: int) -> None:
    """The same, and clsact before it; `Exists` if a filter of another name stands there."""
    add_clsact(sock, ifindex)
    there = at(sock, ifindex, hook, priority, handle)
    if there is not None and there.name != name:
        raise Exists(f"filter {priority}:{handle} of interface {ifindex} is somebody else's: move it")
    put_filter(sock, ifindex, hook, priority, handle, name, program)


def delete_filter(sock: NetlinkSocket, ifindex: int, hook: Hook, priority: int, handle: int) -> None:
    """Removes a filter; one that is not there is no error."""
    info = priority << 16 | _ALL_PROTOCOLS
    body = _TC_MESSAGE.pack(socket.AF_UNSPEC, 0, 0, ifindex, handle, hook, info)
    try:
        doing = f"detach filter {priority}:{handle} from link {ifindex} {hook.name.lower()}"
        sock.request(DELETE_FILTER, 0, body + text(_KIND, "bpf"), doing)
    except Gone:
        return
    except KernelError:
        # Without qdisc or chain the kernel says EINVAL, as for many other reasons.
        if at(sock, ifindex, hook, priority, handle) is not None:
            raise


def at(sock: NetlinkSocket, ifindex: int, hook: Hook, priority: int, handle: int) -> Filter | None:
    """The filter of that priority and handle."""
    rows = filters(sock, ifindex, hook)
    return next((row for row in rows if (row.priority, row.handle) == (priority, handle)), None)


def filters(sock: NetlinkSocket, ifindex: int, hook: Hook) -> list[Filter]:
    """The filters at the hook in the order they run; empty where the link or its hooks are missing."""
    body = _TC_MESSAGE.pack(socket.AF_UNSPEC, 0, 0, ifindex, 0, hook, 0)
    try:
        rows = sock.dump(GET_FILTER, body, parse, f"list filters of link {ifindex}")
    except Gone:
        return []
    return sorted((row for row in rows if row.hook == hook), key=lambda row: row.priority)


def parse(message: Message) -> Filter | None:
    """The filter of an RTM_NEWTFILTER message; None for the line that only announces a priority."""
    _, _, _, ifindex, handle, parent, info = unpack_fixed(_TC_MESSAGE, message.payload)
    if handle == 0 or parent not in tuple(Hook):
        return None
    attributes = parse_attributes(message.payload, _TC_MESSAGE.size)
    options = attributes.nested(_OPTIONS)
    kind = attributes.text(_KIND)
    if kind != "bpf":
        return Filter(ifindex, Hook(parent), info >> 16, handle, kind, "", 0, "")
    return Filter(
        ifindex,
        Hook(parent),
        info >> 16,
        handle,
        kind,
        options.text(_BPF_NAME),
        options.u32(_BPF_ID),
        options.get(_BPF_TAG, b"").hex(),
    )
