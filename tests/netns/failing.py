"""A netlink socket that fails at its n-th call, before the call took effect or after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from tortie.errors import Busy, KernelError
from tortie.kernel.netlink.message import Message
from tortie.kernel.netlink.socket import NetlinkSocket, Pack

Row = TypeVar("Row")
Value = TypeVar("Value")


class Failure:
    """Counts the calls of all sockets that share it, and says which one fails; none by default."""

    def __init__(self) -> None:
        self.calls = 0
        self.fail_at = -1
        self.after_effect = False

    def comes(self) -> bool:
        self.calls += 1
        return self.calls == self.fail_at


class FailingSocket(NetlinkSocket):
    """Fails when its failure comes; a batch that fails before its effect fails for each of its rows."""

    def __init__(self, failure: Failure) -> None:
        super().__init__()
        self._failure = failure

    def request(self, kind: int, flags: int, body: bytes, doing: str) -> list[Message]:
        fails = self._failure.comes()
        if fails and not self._failure.after_effect:
            raise Busy(f"{doing}: made to fail")
        answers = super().request(kind, flags, body, doing)
        if fails:
            raise Busy(f"{doing}: made to fail after its effect")
        return answers

    def dump(self, kind: int, body: bytes, parse: Callable[[Message], Value | None], doing: str) -> list[Value]:
        if self._failure.comes():
            raise Busy(f"{doing}: made to fail")
        return super().dump(kind, body, parse, doing)

    def batch(self, kind: int, flags: int, rows: Iterable[Row], pack: Pack[Row], doing: str) -> dict[Row, KernelError]:
        wanted = list(rows)
        fails = self._failure.comes()
        failed: dict[Row, KernelError] = {}
        if not fails or self._failure.after_effect:
            failed = super().batch(kind, flags, wanted, pack, doing)
        return failed | {row: Busy(f"{doing}: made to fail") for row in wanted} if fails else failed
