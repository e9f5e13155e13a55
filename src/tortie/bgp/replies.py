"""The answers of BIRD's control socket as values: lines with codes in, `Status` and `Protocol` out; pure.

A reply is a sequence of lines `CODE-text`, ended by `CODE text`; a line that begins with a space repeats the code
before it. Codes of 8000 and more are refusals (BIRD, nest/cli.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

_VERSION, _PROTOCOL, _DETAIL, _SYMBOL, _STATUS = 1000, 1002, 1006, 1010, 1011
_RECOVERING = 24
_FIRST_REFUSAL = 8000
_READING = "Reading configuration from "

_LINE = re.compile(r"(\d{4})([- ])(.*)", re.DOTALL)
_ROW = re.compile(r"(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+(?: \S+)?)(?:\s\s+(.*))?")
_CHANNEL_FACTS = {"State": "state", "Input filter": "input_filter", "Output filter": "output_filter"}
_ROUTES = re.compile(r"(\d+) (imported|exported)")


class Line(NamedTuple):
    code: int
    text: str
    last: bool = False  # nothing follows

    @property
    def refused(self) -> bool:
        return self.code >= _FIRST_REFUSAL


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """`show status`. Times are BIRD's words: local time of the host."""

    version: str
    router_id: str
    last_reboot: str
    last_reconfiguration: str
    recovering: bool  # restarted with -R and still waiting for peers: the kernel keeps the routes of before


class Channel(NamedTuple):
    """Where a protocol's routes of one kind pass."""

    name: str  # ipv4, ipv6
    state: str = ""  # UP, DOWN, ...
    input_filter: str = ""
    output_filter: str = ""


class Protocol(msgspec.Struct, frozen=True, kw_only=True):
    """One protocol instance; what only a BGP session has is empty for the others."""

    name: str
    kind: str  # "BGP", "Kernel", ...
    state: str  # "up", "start", "down"
    since: str
    info: str = ""  # of a BGP session: its state ("Established") and what went wrong last
    neighbor: str = ""
    neighbor_as: int = 0
    imported: int = 0  # routes
    exported: int = 0
    channels: tuple[Channel, ...] = ()

    @property
    def established(self) -> bool:
        return self.info.startswith("Established")


def parse_line(raw: str, previous: Line | None) -> Line:
    """Raises ValueError for what is not BIRD's."""
    if raw.startswith(" ") and previous is not None:
        return Line(previous.code, raw[1:])
    found = _LINE.fullmatch(raw)
    if found is None:
        raise ValueError(f"not a reply of BIRD: {raw[:80]!r}")
    return Line(int(found[1]), found[3], last=found[2] == " ")


def parse_status(reply: Iterable[Line]) -> Status:
    facts = {"version": "", "Router ID is": "", "Last reboot on": "", "Last reconfiguration on": ""}
    recovering = False
    for line in reply:
        if line.code == _VERSION:
            facts["version"] = line.text.removeprefix("BIRD ")
        elif line.code == _STATUS:
            for words in facts:
                if line.text.startswith(words):
                    facts[words] = line.text.removeprefix(words).strip()
        elif line.code == _RECOVERING:
            recovering = True
    version, router_id, last_reboot, last_reconfiguration = facts.values()
    return Status(
        version=version,
        router_id=router_id,
        last_reboot=last_reboot,
        last_reconfiguration=last_reconfiguration,
        recovering=recovering,
    )


def parse_protocols(reply: Iterable[Line]) -> tuple[Protocol, ...]:
    """`show protocols`, with or without `all`."""
    blocks: list[tuple[Line, list[Line]]] = []
    for line in reply:
        if line.code == _PROTOCOL:
            blocks.append((line, []))
        elif line.code == _DETAIL and blocks:
            blocks[-1][1].append(line)
    return tuple(_protocol(row, details) for row, details in blocks)


def parse_symbol(reply: Sequence[Line], name: str) -> bool:
    """`show symbols NAME`: whether the running configuration defines it."""
    return any(line.code == _SYMBOL and line.text.split() == [name, "constant"] for line in reply)


def parse_file(reply: Iterable[Line]) -> str:
    """`configure`: the file that BIRD read, empty if it did not say."""
    return next((line.text.removeprefix(_READING) for line in reply if line.text.startswith(_READING)), "")


def _protocol(row: Line, details: Iterable[Line]) -> Protocol:
    found = _ROW.fullmatch(row.text)
    if found is None:
        raise ValueError(f"not a protocol of BIRD: {row.text[:80]!r}")
    name, kind, _table, state, since, info = found.groups()
    facts: dict[str, str] = {}
    routes = {"imported": 0, "exported": 0}
    channels: list[Channel] = []
    for line in details:
        label, _, value = line.text.strip().partition(":")
        facts.setdefault(label, value.strip())
        if label.startswith("Channel "):
            channels.append(Channel(label.removeprefix("Channel ")))
        elif channels and label in _CHANNEL_FACTS:
            channels[-1] = channels[-1]._replace(**{_CHANNEL_FACTS[label]: value.strip()})
        if label == "Routes":
            for number, what in _ROUTES.findall(value):
                routes[what] += int(number)
    return Protocol(
        name=name,
        kind=kind,
        state=state,
        since=since,
        info=(info or "").strip(),
        neighbor=facts.get("Neighbor address", ""),
        neighbor_as=int(facts.get("Neighbor AS", "0")),
        channels=tuple(channels),
        **routes,
    )
