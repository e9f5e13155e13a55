"""Batches against a kernel that answers by a script."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator

import pytest

from tortie.errors import Busy, Exists, Gone, KernelError, Refused
from tortie.kernel.netfilter import chain, rule, table
from tortie.kernel.netfilter.chain import Chain
from tortie.kernel.netfilter.change import Change
from tortie.kernel.netfilter.message import BATCH_BEGIN, BATCH_END, Family
from tortie.kernel.netfilter.rule import Rule
from tortie.kernel.netfilter.socket import BATCH_BYTES, NetfilterSocket
from tortie.kernel.netfilter.table import Table
from tortie.kernel.netfilter.transaction import TransactionFailed, commit
from tortie.kernel.netlink.message import (
    ACK,
    ACK_TLVS,
    CAPPED,
    ERROR,
    HEADER,
    Message,
    attribute,
    parse_messages,
    text,
    u32,
)

Answers = list[bytes | OSError]

CHANGES = [
    table.put(Table(Family.INET, "t")),
    chain.add(Chain(Family.INET, "t", "c")),
    rule.append(Rule(Family.INET, "t", "nowhere", b"")),
]
CHAIN_OF_RULE = HEADER.size + 4 + 8  # where the rule's second attribute stands


class ScriptedKernel:
    """In the place of the real socket: what it gets is kept, what it answers is made of the messages it got."""

    def __init__(self, answer: Callable[[list[Message]], Answers]) -> None:
        self._answer = answer
        self._queue: Answers = []
        self.sent: list[Message] = []
        self.room = 4096

    def getsockopt(self, _level: int, _option: int) -> int:
        return self.room

    def setsockopt(self, _level: int, _option: int, size: int) -> None:
        self.room = 2 * size

    def send(self, datagram: bytes) -> int:
        assert len(datagram) <= self.room - 32
        self.sent = parse_messages(datagram)
        self._queue += self._answer(self.sent)
        return len(datagram)

    def recv_into(self, buffer: memoryview, _size: int, _flags: int) -> int:
        if not self._queue:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        datagram = self._queue.pop(0)
        if isinstance(datagram, OSError):
            raise datagram
        buffer[: len(datagram)] = datagram
        return len(datagram)


def connected(answer: Callable[[list[Message]], Answers]) -> tuple[NetfilterSocket, ScriptedKernel]:
    sock, kernel = NetfilterSocket(), ScriptedKernel(answer)
    sock.close()
    sock._socket = kernel  # type: ignore[assignment]  # the script has the methods in use
    return sock, kernel


def verdict(message: Message, number: int = 0, words: str = "", offset: int = 0) -> bytes:
    attributes = (text(1, words) if words else b"") + (u32(2, offset) if offset else b"")
    payload = struct.pack("=i", -number) + bytes(HEADER.size) + attributes
    flags = CAPPED | ACK_TLVS if attributes else CAPPED
    return HEADER.pack(HEADER.size + len(payload), ERROR, flags, message.sequence, 0) + payload


def sequences(messages: list[Message]) -> Iterator[int]:
    return (message.sequence for message in messages)


def test_a_batch_is_framed_and_only_its_last_change_asks_for_an_answer() -> None:
    sock, kernel = connected(lambda sent: [verdict(sent[-2])])
    assert commit(sock, CHANGES) == {}
    begin, *middle, end = kernel.sent
    assert (begin.type, begin.payload) == (BATCH_BEGIN, b"\0\0\0\x0a")
    assert (end.type, end.payload) == (BATCH_END, b"\0\0\0\x0a")
    assert [message.type for message in middle] == [0x0A00, 0x0A03, 0x0A06]
    assert [message.payload for message in middle] == [change.payload for change in CHANGES]
    assert [bool(message.flags & ACK) for message in kernel.sent] == [False, False, False, True, False]
    assert list(sequences(kernel.sent)) == [1, 2, 3, 4, 5]


def test_a_generation_stands_in_the_beginning() -> None:
    sock, kernel = connected(lambda sent: [verdict(sent[-2])])
    commit(sock, CHANGES, at_generation=258)
    assert kernel.sent[0].payload == b"\0\0\0\x0a" + attribute(1, b"\0\0\1\2")


def test_nothing_is_sent_for_nothing() -> None:
    sock, kernel = connected(lambda sent: [])
    assert commit(sock, []) == {}
    assert kernel.sent == []


def test_every_refused_change_is_named_with_its_reason() -> None:
    sock, _ = connected(
        lambda sent: [verdict(sent[2], errno.EEXIST), verdict(sent[3], errno.ENOENT, offset=CHAIN_OF_RULE)]
    )
    with pytest.raises(TransactionFailed) as caught:
        commit(sock, CHANGES)
    first, second = caught.value.failures
    assert (first.change, type(first.error), str(first.error)) == (1, Exists, "new chain inet t c: File exists")
    assert (second.change, type(second.error)) == (2, Gone)
    assert str(second.error) == "new rule inet t nowhere: No such file or directory (nowhere)"
    assert str(caught.value) == "change 2 of 3: new chain inet t c: File exists, and 1 more"


def test_the_kernels_own_words_win() -> None:
    sock, _ = connected(lambda sent: [verdict(sent[3], errno.EINVAL, "no, never", CHAIN_OF_RULE)])
    with pytest.raises(TransactionFailed, match=r"^change 3 of 3: new rule inet t nowhere: .* \(no, never\)$"):
        commit(sock, CHANGES)


@pytest.mark.parametrize("offset", [1, HEADER.size + 4 + 1, 4000])
def test_an_offset_that_points_to_no_name_says_nothing(offset: int) -> None:
    sock, _ = connected(lambda sent: [verdict(sent[3], errno.EINVAL, offset=offset)])
    with pytest.raises(TransactionFailed, match=r"nowhere: Invalid argument$"):
        commit(sock, CHANGES)


def test_what_is_wrong_with_the_whole_is_no_change_s_fault() -> None:
    sock, _ = connected(lambda sent: [verdict(sent[0], errno.ERESTART), verdict(sent[-2])])
    with pytest.raises(Busy, match="commit 3 changes") as caught:
        commit(sock, CHANGES, at_generation=1)
    assert not isinstance(caught.value, TransactionFailed)


def test_answers_to_an_earlier_batch_are_skipped() -> None:
    sock, _ = connected(lambda sent: [verdict(Message(0, 0, 1, b""), errno.EINVAL), verdict(sent[-2])])
    sock._sequence = 10
    assert commit(sock, CHANGES) == {}


def test_the_sequence_wraps() -> None:
    sock, kernel = connected(lambda sent: [verdict(sent[3], errno.ENOENT)])
    sock._sequence = 2**32 - 3
    with pytest.raises(TransactionFailed) as caught:
        commit(sock, CHANGES)
    assert list(sequences(kernel.sent)) == [2**32 - 2, 2**32 - 1, 0, 1, 2]
    assert [failure.change for failure in caught.value.failures] == [2]


def test_handles_of_new_rules_come_by_the_index_of_their_change() -> None:
    def answer(sent: list[Message]) -> Answers:
        payload = CHANGES[2].payload + attribute(3, (77).to_bytes(8, "big"))
        return [HEADER.pack(HEADER.size + len(payload), 0x0A06, 0, sent[3].sequence, 0) + payload, verdict(sent[3])]

    sock, kernel = connected(answer)
    assert commit(sock, CHANGES, want_handles=True) == {2: 77}
    assert [bool(message.flags & 0x8) for message in kernel.sent[1:4]] == [False, False, True]


class TestLostAnswers:
    LOSS = OSError(errno.ENOBUFS, "No buffer space available")

    def test_no_answer_is_busy(self) -> None:
        sock, _ = connected(lambda sent: [self.LOSS])
        with pytest.raises(Busy, match="answer is lost"):
            commit(sock, CHANGES)

    def test_the_first_failures_are_told_if_later_ones_are_lost(self) -> None:
        sock, _ = connected(lambda sent: [self.LOSS, verdict(sent[2], errno.EEXIST)])
        with pytest.raises(TransactionFailed) as caught:
            commit(sock, CHANGES)
        assert [failure.change for failure in caught.value.failures] == [1]


class TestRoom:
    def test_grows_with_what_is_sent(self) -> None:
        sock, kernel = connected(lambda sent: [verdict(sent[-2])])
        commit(sock, CHANGES * 100)
        assert kernel.room > 4096

    def test_never_shrinks(self) -> None:
        sock, kernel = connected(lambda sent: [verdict(sent[-2])])
        commit(sock, CHANGES)
        assert kernel.room == 4096


def test_a_batch_beyond_all_bounds_is_refused_unsent() -> None:
    sock, kernel = connected(lambda sent: [])
    piece = Change(CHANGES[0].operation, 0, CHANGES[0].payload + bytes(BATCH_BYTES))
    with pytest.raises(Refused, match="more than one transaction may have"):
        commit(sock, [piece])
    assert kernel.sent == []


def test_a_change_says_what_it_does() -> None:
    words = [
        *CHANGES,
        rule.delete(Rule(Family.IP6, "t", "c", b"", handle=7)),
        chain.delete(Chain(Family.ARP, "t", "c")),
    ]
    assert [str(change) for change in words] == [
        "new table inet t",
        "new chain inet t c",
        "new rule inet t nowhere",
        "delete rule ip6 t c handle 7",
        "delete chain arp t c",
    ]


def test_a_failed_transaction_is_a_kernel_error_with_its_number() -> None:
    sock, _ = connected(lambda sent: [verdict(sent[2], errno.EEXIST)])
    with pytest.raises(KernelError) as caught:
        commit(sock, CHANGES)
    assert caught.value.errno == errno.EEXIST
