"""What closes an interface by its index: at both hooks an eBPF program that drops every packet.

For one that was renamed, until policy by names knows its new name: a message of netlink for each direction, and it
holds whatever the interface is called.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tortie.errors import KernelError, TortieError
from tortie.kernel.bpf.program import Program
from tortie.kernel.netlink import tc
from tortie.kernel.netlink.socket import NetlinkSocket

# Before all others, of which one might let a packet pass.
_PRIORITY = 1
_HANDLE = 116
_FILTER_NAME = "tortie_gate"
# r0 = TC_ACT_SHOT; exit (include/uapi/linux/bpf.h, pkt_cls.h)
_DROP = bytes.fromhex("b700000002000000 9500000000000000")


class GateTable:
    """The interfaces that are closed at both hooks, by index; the value says nothing."""

    def __init__(self, sock: NetlinkSocket) -> None:
        """Raises KernelError where the kernel takes no program."""
        self._socket = sock
        self._program = Program.load(_DROP, "gate", "GPL")

    def close(self) -> None:
        """What is closed stays closed."""
        self._program.close()

    def read(self, wanted: Collection[int]) -> Mapping[int, bool]:
        """Of these interfaces only. A gate at one hook alone is there to be deleted, and False to be made whole."""
        return {
            ifindex: len(hooks) == len(tc.Hook) for ifindex in wanted if (hooks := hooks_closed(self._socket, ifindex))
        }

    def put(self, rows: Mapping[int, bool]) -> Mapping[int, TortieError]:
        failed: dict[int, TortieError] = {}
        for ifindex in rows:
            try:
                for hook in tc.Hook:
                    descriptor = self._program.descriptor
                    tc.claim(self._socket, ifindex, hook, _PRIORITY, _HANDLE, _FILTER_NAME, descriptor)
            except KernelError as error:
                failed[ifindex] = error
        return failed

    def delete(self, keys: Collection[int]) -> Mapping[int, TortieError]:
        """The hooks themselves stay: somebody else may have come to use them."""
        failed: dict[int, TortieError] = {}
        for ifindex in keys:
            try:
                open_up(self._socket, ifindex)
            except KernelError as error:
                failed[ifindex] = error
        return failed


def hooks_closed(sock: NetlinkSocket, ifindex: int) -> list[tc.Hook]:
    """Where a gate of ours stands on the interface."""
    there = ((hook, tc.at(sock, ifindex, hook, _PRIORITY, _HANDLE)) for hook in tc.Hook)
    return [hook for hook, found in there if found is not None and found.name == _FILTER_NAME]


def open_up(sock: NetlinkSocket, ifindex: int) -> None:
    """Takes the gate away; idempotent."""
    for hook in hooks_closed(sock, ifindex):
        tc.delete_filter(sock, ifindex, hook, _PRIORITY, _HANDLE)
