"""The socket's dealings with a kernel that answers badly, played by a script."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest

from tortie.errors import Busy, Exists, Gone, KernelError, Refused
from tortie.kernel.netlink.message import ACK, ACK_TLVS, CAPPED, DONE, DUMP_INTERRUPTED, ERROR, HEADER, Message, text
from tortie.kernel.netlink.socket import DUMP_ATTEMPTS, ROWS_AT_ONCE, NetlinkSocket, one_by_one

Reply = Callable[[bytes], list[bytes]]

ROW = 24


class ScriptedKernel:
    """In the place of the real socket: answers each datagram as `reply` says."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._queue: list[bytes] = []
        self.received: list[bytes] = []

    def send(self, datagram: bytes) -> int:
        self.received.append(datagram)
        self._queue.extend(self._reply(datagram))
        return len(datagram)

    def recv_into(self, buffer: memoryview, _size: int, _flags: int) -> int:
        if not self._queue:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        datagram = self._queue.pop(0)
        buffer[: len(datagram)] = datagram
        return len(datagram)

    def close(self) -> None:
        pass


def connected(reply: Reply) -> tuple[NetlinkSocket, ScriptedKernel]:
    sock, kernel = NetlinkSocket(), ScriptedKernel(reply)
    sock.close()
    sock._socket = kernel  # type: ignore[assignment]  # the script has the three methods in use
    return sock, kernel


def packed(kind: int, sequence: int, payload: bytes, flags: int = 0) -> bytes:
    return HEADER.pack(HEADER.size + len(payload), kind, flags, sequence, 0) + payload


def verdict(sequence: int, errno: int = 0, words: str = "") -> bytes:
    payload = struct.pack("=i", -errno) + bytes(16)
    if words:
        return packed(ERROR, sequence, payload + text(1, words), CAPPED | ACK_TLVS)
    return packed(ERROR, sequence, payload, CAPPED)


def done(sequence: int, errno: int = 0, flags: int = 0) -> bytes:
    return packed(DONE, sequence, struct.pack("=i", -errno), flags)


def sequences(datagram: bytes) -> Iterator[int]:
    offset = 0
    while offset < len(datagram):
        length, _, _, sequence, _ = HEADER.unpack_from(datagram, offset)
        yield sequence
        offset += length


def payload(message: Message) -> bytes:
    return message.payload


class TestRequest:
    def test_returns_what_came_before_the_acknowledgement(self) -> None:
        sock, _ = connected(lambda sent: [packed(ROW, s, b"row1") + verdict(s) for s in sequences(sent)])
        assert [m.payload for m in sock.request(1, 0, b"", "ask")] == [b"row1"]

    def test_raises_what_the_kernel_said(self) -> None:
        sock, _ = connected(lambda sent: [verdict(s, 22, "no such thing") for s in sequences(sent)])
        with pytest.raises(Refused, match=r"^ask: Invalid argument \(no such thing\)$"):
            sock.request(1, 0, b"", "ask")

    def test_skips_an_answer_to_an_earlier_call(self) -> None:
        sock, _ = connected(lambda sent: [verdict(s - 1, 17) + verdict(s) for s in sequences(sent)])
        assert sock.request(1, 0, b"", "ask") == []

    def test_a_lost_answer_is_busy_and_does_not_wait(self) -> None:
        sock, _ = connected(lambda sent: [])
        with pytest.raises(Busy, match="ask: read the answer"):
            sock.request(1, 0, b"", "ask")

    def test_garbage_is_our_error(self) -> None:
        sock, _ = connected(lambda sent: [b"\x01\x02\x03"])
        with pytest.raises(KernelError, match="malformed"):
            sock.request(1, 0, b"", "ask")


class TestDump:
    @staticmethod
    def interrupted(times: int, how: Callable[[int], list[bytes]]) -> Reply:
        """A kernel whose first dumps come out torn, as `how` makes them."""
        asked: list[int] = []

        def reply(sent: bytes) -> list[bytes]:
            (sequence,) = sequences(sent)
            asked.append(sequence)
            if len(asked) <= times:
                return how(sequence)
            return [packed(ROW, sequence, b"new1"), packed(ROW, sequence, b"new2"), done(sequence)]

        return reply

    @pytest.mark.parametrize(
        "how",
        [
            lambda s: [packed(ROW, s, b"old1", DUMP_INTERRUPTED), done(s)],
            lambda s: [packed(ROW, s, b"old1"), done(s, flags=DUMP_INTERRUPTED)],
            lambda s: [packed(ROW, s, b"old1"), done(s, errno=4)],
        ],
        ids=["flag on a row", "flag at the end", "EINTR"],
    )
    def test_a_torn_dump_is_repeated_from_the_start(self, how: Callable[[int], list[bytes]]) -> None:
        sock, kernel = connected(self.interrupted(2, how))
        assert sock.dump(1, b"", payload, "list") == [b"new1", b"new2"]
        assert len(kernel.received) == 3

    def test_one_that_is_always_torn_is_busy(self) -> None:
        sock, kernel = connected(self.interrupted(10**6, lambda s: [done(s, flags=DUMP_INTERRUPTED)]))
        with pytest.raises(Busy, match=r"^list: interrupted"):
            sock.dump(1, b"", payload, "list")
        assert len(kernel.received) == DUMP_ATTEMPTS

    def test_an_error_at_the_end_is_raised(self) -> None:
        sock, _ = connected(lambda sent: [done(s, errno=2) for s in sequences(sent)])
        with pytest.raises(Gone):
            sock.dump(1, b"", payload, "list")

    def test_an_error_at_once_is_raised(self) -> None:
        sock, _ = connected(lambda sent: [verdict(s, 22) for s in sequences(sent)])
        with pytest.raises(Refused):
            sock.dump(1, b"", payload, "list")


class TestWalk:
    def test_hands_over_each_datagram_as_a_piece(self) -> None:
        def reply(sent: bytes) -> list[bytes]:
            (s,) = sequences(sent)
            return [packed(ROW, s, b"row1") + packed(ROW, s, b"row2"), packed(ROW, s, b"row3"), done(s)]

        sock, _ = connected(reply)
        assert list(sock.walk(1, b"", payload, "walk")) == [[b"row1", b"row2"], [b"row3"], []]

    def test_asks_only_when_the_first_piece_is_wanted(self) -> None:
        sock, kernel = connected(lambda sent: [done(s) for s in sequences(sent)])
        walk = sock.walk(1, b"", payload, "walk")
        assert kernel.received == []
        assert list(walk) == [[]]

    def test_skips_an_answer_to_an_earlier_call(self) -> None:
        sock, _ = connected(lambda sent: [packed(ROW, s - 1, b"old1") + done(s) for s in sequences(sent)])
        assert list(sock.walk(1, b"", payload, "walk")) == [[]]

    @pytest.mark.parametrize("last", [lambda s: done(s, errno=2), lambda s: verdict(s, 2)], ids=["done", "error"])
    def test_an_error_is_raised_where_it_comes(self, last: Callable[[int], bytes]) -> None:
        sock, _ = connected(
            lambda sent: [reply for s in sequences(sent) for reply in (packed(ROW, s, b"row1"), last(s))]
        )
        walk = sock.walk(1, b"", payload, "walk")
        assert next(walk) == [b"row1"]
        with pytest.raises(Gone, match=r"^walk: "):
            next(walk)

    def test_a_lost_end_is_busy(self) -> None:
        sock, _ = connected(lambda sent: [packed(ROW, s, b"row1") for s in sequences(sent)])
        with pytest.raises(Busy):
            list(sock.walk(1, b"", payload, "walk"))


class TestBatch:
    @staticmethod
    def body(row: int) -> bytes:
        return struct.pack("=I", row) + bytes(40)

    def test_an_error_is_attributed_by_its_sequence_number(self) -> None:
        def reply(sent: bytes) -> list[bytes]:
            numbers = list(sequences(sent))
            return [verdict(numbers[3], 17), verdict(numbers[7], 3), verdict(numbers[-1])]

        sock, _ = connected(reply)
        failed = sock.batch(1, 0, range(100), one_by_one(self.body), "add row")
        assert {row: type(error) for row, error in failed.items()} == {3: Exists, 7: Gone}
        assert str(failed[3]) == "add row 3: File exists"

    def test_only_the_last_message_of_a_buffer_asks_for_an_answer(self) -> None:
        sock, kernel = connected(lambda sent: [verdict(list(sequences(sent))[-1])])
        assert sock.batch(1, 0, range(2000), one_by_one(self.body), "add row") == {}
        assert len(kernel.received) > 1
        for datagram in kernel.received:
            flags = [HEADER.unpack_from(datagram, at)[2] & ACK for at in range(0, len(datagram), 60)]
            assert flags == [0] * (len(flags) - 1) + [ACK]
            assert len(flags) <= ROWS_AT_ONCE

    def test_the_last_message_may_fail_too(self) -> None:
        sock, _ = connected(lambda sent: [verdict(list(sequences(sent))[-1], 17)])
        assert list(sock.batch(1, 0, range(5), one_by_one(self.body), "add row")) == [4]

    def test_no_rows_send_nothing(self) -> None:
        sock, kernel = connected(lambda sent: [])
        assert sock.batch(1, 0, [], one_by_one(self.body), "add row") == {}
        assert kernel.received == []

    def test_lost_answers_are_raised_since_nobody_knows_what_was_done(self) -> None:
        sock, _ = connected(lambda sent: [verdict(next(sequences(sent)), 17)])
        with pytest.raises(Busy):
            sock.batch(1, 0, range(5), one_by_one(self.body), "add row")

    def test_sequence_numbers_wrap(self) -> None:
        sock, _ = connected(lambda sent: [verdict(s, 17) for s in sequences(sent)])
        sock._sequence = 2**32 - 3
        assert list(sock.batch(1, 0, range(5), one_by_one(self.body), "add row")) == [0, 1, 2, 3, 4]
        with pytest.raises(Exists):
            sock.request(1, 0, b"", "ask")
