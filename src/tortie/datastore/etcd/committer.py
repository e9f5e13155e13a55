"""Transactions of one process in groups: those that are asked for while one is under way go to etcd as one.

Invariants:
* To its caller each is a transaction of its own: it is judged by its own comparisons, fails alone, and sees what those
  before it wrote. Those that succeeded together have one revision.
* Nothing is sent again after it may have reached a server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tortie.datastore.api import Compare, Delete, Item, Put, TxnResult
from tortie.datastore.etcd import wire
from tortie.datastore.etcd.failure import Rejected
from tortie.datastore.grouping import Group, Grouping

# etcd's defaults (--max-txn-ops, --max-request-bytes); a cluster may allow more, its clients cannot ask.
MAX_OPERATIONS = 128
MAX_REQUEST_BYTES = 3 << 19


class Transaction:
    """A transaction and its message."""

    def __init__(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> None:
        self.compares = compares
        self.written = {write.key for write in writes}
        self.touched = self.written.union(compare.key for compare in compares)
        self.operations = max(len(compares), len(writes))  # as etcd counts them
        self.message = wire.TxnRequest(
            compare=[
                wire.Compare(
                    result=wire.EQUAL, target=wire.MOD_REVISION, key=compare.key.encode(), mod_revision=compare.revision
                )
                for compare in compares
            ],
            success=[_operation(write) for write in writes],
            failure=[wire.RequestOp(range=wire.RangeRequest(key=compare.key.encode())) for compare in compares],
        )
        self.size_bytes: int = self.message.ByteSize()
        self.is_suspect = False  # it was in a group that etcd refused

    def holds(self, found: Sequence[Item | None]) -> bool:
        """Whether the comparisons hold where the compared keys are so."""
        revisions = (item.revision if item else 0 for item in found)
        return all(compare.revision == revision for compare, revision in zip(self.compares, revisions, strict=True))


class Committer:
    """Sends messages by `send`, which sends nothing twice and raises `Rejected`. For one event loop."""

    def __init__(self, send: Callable[[Any], Awaitable[Any]]) -> None:
        self._send = send
        self._transactions: Grouping[Transaction] = Grouping(self._commit)

    async def commit(self, transaction: Transaction) -> TxnResult:
        """Raises `Rejected`."""
        result: TxnResult = await self._transactions.ask(transaction)
        return result

    async def _commit(self, waiting: Group[Transaction]) -> Group[Transaction]:
        count = _how_many_together([each.work for each in waiting])
        group, rest = waiting[:count], waiting[count:]
        message = wire.TxnRequest()
        for each in group:
            message.MergeFrom(each.work.message)
        try:
            answer = await self._send(message)
        except Rejected as error:
            if count > 1 and not error.is_outage:  # nothing was done, and one of them may be at fault
                for each in group:
                    each.work.is_suspect = True
                return waiting
            for each in group:
                each.answer(error)
            return rest
        if answer.succeeded:
            for each in group:
                each.answer(TxnResult(True, answer.header.revision, ()))
            return rest
        # Of one state of the store: who is not at fault that this failed is sent once more.
        ranges = iter(answer.responses)
        again: Group[Transaction] = []
        for each in group:
            found = tuple(_found(next(ranges)) for _ in each.work.compares)
            if each.work.holds(found):
                again.append(each)
            else:
                each.answer(TxnResult(False, answer.header.revision, found))
        return [*again, *rest]


def _how_many_together(transactions: Sequence[Transaction]) -> int:
    """How many of the first may be one: none may touch what one before it writes, and etcd has limits."""
    written: set[str] = set()
    operations = size_bytes = 0
    for number, each in enumerate(transactions):
        operations += each.operations
        size_bytes += each.size_bytes
        if number and (
            (each.is_suspect or transactions[0].is_suspect)
            or (operations > MAX_OPERATIONS or size_bytes > MAX_REQUEST_BYTES)
            or not written.isdisjoint(each.touched)
        ):
            return number
        written |= each.written
    return len(transactions)


def _found(response: Any) -> Item | None:
    kvs = response.range.kvs
    return wire.item(kvs[0]) if kvs else None


def _operation(write: Put | Delete) -> Any:
    if isinstance(write, Put):
        put = wire.PutRequest(key=write.key.encode(), value=write.value, lease=write.lease)
        return wire.RequestOp(put=put)
    return wire.RequestOp(delete=wire.DeleteRangeRequest(key=write.key.encode()))
