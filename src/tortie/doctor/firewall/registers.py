"""The registers of nf_tables: words of 4 bytes, of which some are not known."""

from __future__ import annotations

WORD = 4
_FIRST_32 = 8  # NFT_REG32_00; 1 to 4 are registers of four words


class Registers:
    """Named as in messages of the kernel."""

    def __init__(self) -> None:
        self._words: dict[int, bytes] = {}

    def put(self, register: int, value: bytes | None, length: int) -> None:
        """None: something of that length that nobody knows."""
        first = _index(register)
        count = -(-length // WORD)
        padded = b"" if value is None else value.ljust(count * WORD, b"\0")
        for number in range(count):
            self._words.pop(first + number, None)
            if value is not None:
                self._words[first + number] = padded[number * WORD : (number + 1) * WORD]

    def forget(self) -> None:
        self._words.clear()

    def get(self, register: int, length: int) -> bytes | None:
        first = _index(register)
        words = [self._words.get(first + number) for number in range(-(-length // WORD))]
        known = [word for word in words if word is not None]
        return b"".join(known)[:length] if len(known) == len(words) else None


def _index(register: int) -> int:
    return register - _FIRST_32 if register >= _FIRST_32 else (register - 1) * 4
