"""What a user asks about: `tcp/443`, `udp/53`, `icmp`, `icmp/8/0`, `tcp/http`, `sctp/9`, `47`."""

from __future__ import annotations

from typing import NamedTuple

from tortie.errors import UsageError
from tortie.intent.packet import ICMP, ICMPV6, TCP, UDP, WITH_PORTS
from tortie.model.names import suggestion
from tortie.model.scalars import Protocol

FORMS = "tcp/443, udp/53, tcp/NAME, icmp, icmp/TYPE, icmp/TYPE/CODE, or the number of a protocol"
PING = {4: 8, 6: 128}

_NAMES = {name.lower(): int(number) for name, number in Protocol.NAMES.items()}


class FlowKind(NamedTuple):
    """A protocol, and what of it. ICMP stands for that of the packet's family."""

    protocol: int
    port: int | str | None = None  # of the destination; a name is one of the destination's endpoint
    icmp_type: int | None = None
    icmp_code: int | None = None

    def of_family(self, family: int) -> FlowKind:
        """For a packet of that family; without a type, ICMP is a ping."""
        if self.protocol not in (ICMP, ICMPV6):
            return self
        kind = PING[family] if self.icmp_type is None else self.icmp_type
        return self._replace(protocol=ICMP if family == 4 else ICMPV6, icmp_type=kind, icmp_code=self.icmp_code or 0)

    def __str__(self) -> str:
        name = next((name for name, number in _NAMES.items() if number == self.protocol), f"protocol {self.protocol}")
        parts = (self.port, self.icmp_type, self.icmp_code)
        return "/".join([name, *(str(part) for part in parts if part is not None)])


ANY_PING = FlowKind(ICMP)


def parse_flow(text: str) -> FlowKind:
    """Raises UsageError that says what may be written."""
    word, *rest = text.lower().split("/")
    protocol = _NAMES.get(word) or _number(word, 1, 255)
    if protocol is None:
        raise UsageError(f"{text!r}: there is no protocol {word!r}{suggestion(word, _NAMES)}: write {FORMS}")
    if protocol in (ICMP, ICMPV6):
        numbers = [_number(each, 0, 255) for each in rest]
        if len(numbers) > 2 or None in numbers:
            raise UsageError(f"{text!r}: type and code of ICMP are numbers from 0 to 255: write {FORMS}")
        return FlowKind(protocol, None, *numbers)
    if protocol not in WITH_PORTS:
        if rest:
            raise UsageError(f"{text!r}: protocol {word} has no ports: write {FORMS}")
        return FlowKind(protocol)
    if len(rest) != 1 or not rest[0]:
        example = f"{word}/{53 if protocol == UDP else 443}"
        raise UsageError(f"{text!r}: {'TCP' if protocol == TCP else word.upper()} needs one port, such as {example}")
    port = _number(rest[0], 1, 65535)
    if port is None and rest[0].isdigit():
        raise UsageError(f"{text!r}: a port is a number from 1 to 65535")
    return FlowKind(protocol, rest[0] if port is None else port)


def _number(text: str, least: int, most: int) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and least <= int(text[:9]) <= most else None
