"""A cluster in a file: lines of JSON, so that it can be read, searched and compared with any tool.

    {"tortieDatastore": 1, "cluster": GUID, "source": URL, "created": TIME}     the first
    {"key": KEY, "value": TEXT}                                                one for each key, in order
    {"key": KEY, "base64": BYTES}                                              for a value that is no UTF-8
    {"keys": NUMBER, "sha256": CHECKSUM}                                       the last

A file without its last line is not whole. The checksum is that of `content.Digester`. The number in the first line is
the version of this format; it rises when those who knew the one before could misread the file.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Callable, Iterator
from typing import BinaryIO

import msgspec

from tortie.datastore.transfer.content import Digest, Digester, Entry, order
from tortie.errors import DatastoreError, FormatTooNew

FORMAT = 1


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line."""

    format: int = msgspec.field(name="tortieDatastore")
    cluster: str
    source: str
    created: str  # RFC 3339, UTC


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    key: str | None = None
    value: str | None = None
    base64: str | None = None
    keys: int | None = None
    sha256: str | None = None


async def write(file: BinaryIO, header: Header, found: AsyncIterator[Entry], advance: Callable[[], None]) -> Digest:
    """Writes a whole archive; `advance` is called for each key. Raises OSError."""
    digester = Digester()
    file.write(msgspec.json.encode(header) + b"\n")
    async for entry in found:
        digester.take(entry)
        file.write(msgspec.json.encode(_line(entry)) + b"\n")
        advance()
    digest = digester.digest
    file.write(msgspec.json.encode(_Line(keys=digest.keys, sha256=digest.sha256)) + b"\n")
    return digest


class Archive:
    """An archive to be read, more than once, from a file that can be wound back; `name` is for errors."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self.name = name
        self._told = Digest(0, "")  # by its last line
        self.header = self._header()

    def check(self) -> Digest:
        """Reads all of it. Raises DatastoreError for a file that is not whole, or not what was written."""
        digester = Digester()
        self._told = Digest(0, "")
        for entry in self.entries():
            digester.take(entry)
        if self._told != digester.digest:
            raise self._wrong(f"it holds {digester.digest}, and its last line tells of {self._told}")
        return digester.digest

    def entries(self) -> Iterator[Entry]:
        """Its entries, in their order. Raises DatastoreError."""
        self._file.seek(0)
        next(iter(self._file))
        before: tuple[int, bytes] | None = None
        for number, text in enumerate(self._file, 2):
            line = self._decode(text, number)
            if line.keys is not None and line.sha256 is not None:
                self._told = Digest(line.keys, line.sha256)
                if self._file.read(1):
                    raise self._wrong(f"there is more behind line {number}, which should be the last")
                return
            try:
                entry = _entry(line)
                place = order(entry.key)
            except ValueError as error:
                raise self._wrong(f"line {number}: {error}") from error
            if before is not None and place <= before:
                raise self._wrong(f"line {number}: {entry.key} is out of order")
            before = place
            yield entry
        raise self._wrong("its end is missing")

    def _header(self) -> Header:
        self._file.seek(0)
        text = self._file.readline(1 << 20)
        try:
            version = msgspec.json.decode(text)["tortieDatastore"]
            if version > FORMAT:
                raise FormatTooNew(
                    f"{self.name} has format {version}, and this tortie knows formats up to {FORMAT}: upgrade tortie"
                )
            return msgspec.json.decode(text, type=Header)
        except (msgspec.MsgspecError, ValueError, LookupError, TypeError, RecursionError):
            raise self._wrong("it is no export of tortie's datastore") from None

    def _decode(self, text: bytes, number: int) -> _Line:
        try:
            return msgspec.json.decode(text, type=_Line)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise self._wrong(f"line {number}: {error}") from error

    def _wrong(self, reason: str) -> DatastoreError:
        return DatastoreError(f"{self.name} cannot be used, and nothing was written: {reason}")


def _line(entry: Entry) -> _Line:
    try:
        return _Line(key=entry.key, value=entry.value.decode())
    except UnicodeDecodeError:
        return _Line(key=entry.key, base64=base64.b64encode(entry.value).decode())


def _entry(line: _Line) -> Entry:
    if line.key is None or (line.value is None) == (line.base64 is None):
        raise ValueError("it is neither a key with one value nor the end")
    if line.value is not None:
        return Entry(line.key, line.value.encode())
    try:
        return Entry(line.key, base64.b64decode(line.base64 or "", validate=True))
    except binascii.Error as error:
        raise ValueError(f"{line.key}: {error}") from error
