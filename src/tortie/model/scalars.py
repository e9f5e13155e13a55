"""Numbers with a form of their own: AS numbers, durations, protocols, DSCPs, ports, orders; and comma lists."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from tortie.model.codec import stand_in


class AsNumber(int):
    """An autonomous system number, 0 to 4294967295; a document may also say "65001" or "1.10" (high.low 16 bits).

    Calico's types take all of them; its schemas say int32, which is no reason to refuse what is in use (RFC 6996).
    """

    rewrites = True
    decoder_refuses = True

    @classmethod
    def from_json(cls, value: object) -> AsNumber:
        number = value if type(value) is int else -1
        if isinstance(value, str) and (match := re.fullmatch(r"(?:([0-9]{1,5})\.)?([0-9]{1,10})", value)):
            high, low = match.groups()
            number = int(low)
            if high is not None:
                number = int(high) << 16 | number if max(int(high), number) <= 0xFFFF else -1
        if not 0 <= number <= 0xFFFFFFFF:
            raise ValueError("must be an AS number: 0 to 4294967295, or dotted as 1.10")
        return cls(number)

    @staticmethod
    def to_json(value: AsNumber) -> int:
        return int(value)


class Duration(timedelta):
    """A length of time, written as Go does: "30s", "1m30s", "500ms". Below a microsecond it is rounded."""

    rewrites = True
    decoder_refuses = True

    _UNITS_US = {"ns": 0.001, "us": 1, "µs": 1, "μs": 1, "ms": 1000, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6}
    _TERM = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
    _MAX_US = 2**63 / 1000  # Go counts nanoseconds in 64 bits

    @classmethod
    def from_json(cls, value: object) -> Duration:
        text = value if isinstance(value, str) else ""
        terms = cls._TERM.findall(text)
        if text != "0" and (not terms or "".join(map("".join, terms)) != text):
            raise ValueError('must be a duration in quotes, such as "30s", "1m30s" or "500ms"')
        microseconds = sum(float(number) * cls._UNITS_US[unit] for number, unit in terms)
        if microseconds >= cls._MAX_US:
            raise ValueError("must be less than 292 years")
        return cls(microseconds=round(microseconds))

    @staticmethod
    def to_json(value: Duration) -> str:
        return str(value)

    def __str__(self) -> str:
        # Never "1.5s": the schema that Calico's client applies to FelixConfiguration refuses decimals and
        # knows no unit below ms.
        microseconds = self // timedelta(microseconds=1)
        seconds, rest = divmod(microseconds, 10**6)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        text = f"{hours}h{minutes}m{seconds}s" if hours else f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
        if not rest:
            return text
        fraction = f"{rest}us" if rest % 1000 else f"{rest // 1000}ms"
        return fraction if microseconds == rest else text + fraction


class Protocol(int):
    """An IP protocol number, 1 to 255; a document may also use one of the six names, which stays as it was written."""

    rewrites = False

    NAMES = {"TCP": 6, "UDP": 17, "ICMP": 1, "ICMPv6": 58, "SCTP": 132, "UDPLite": 136}

    @classmethod
    def from_json(cls, value: object) -> Protocol:
        if isinstance(value, str) and value in _NAMED_PROTOCOLS:
            return _NAMED_PROTOCOLS[value]
        if type(value) is not int or not 1 <= value <= 255:
            raise ValueError(f"must be {', '.join(cls.NAMES)} or a number from 1 to 255")
        return cls(value)

    @classmethod
    def to_json(cls, value: Protocol) -> str | int:
        names = {number: name for name, number in cls.NAMES.items()}
        return names.get(value, int(value))


_NAMED_PROTOCOLS = {name: Protocol(number) for name, number in Protocol.NAMES.items()}


class Dscp(int):
    """A DSCP, 0 to 63 (RFC 2474); a document may also use a name, in any case, which stays as it was written."""

    rewrites = False

    NAMES = {
        "DF": 0,
        "EF": 46,
        **{f"CS{number}": 8 * number for number in range(7)},
        **{f"AF{number}{drop}": 8 * number + 2 * drop for number in range(1, 5) for drop in range(1, 4)},
    }

    @classmethod
    def from_json(cls, value: object) -> Dscp:
        number = value
        if isinstance(value, str):
            number = int(value) if re.fullmatch("[0-9]{1,2}", value) else cls.NAMES.get(value.strip().upper())
        if type(number) is not int or not 0 <= number <= 63:
            raise ValueError("must be a number from 0 to 63, or a name such as DF, EF, AF41 or CS6")
        return cls(number)

    @staticmethod
    def to_json(value: Dscp) -> int:
        return int(value)


class Port(tuple[int, int, str]):
    """A port number, a range of them, or the name of an endpoint's port; `first` is 0 when it is a name."""

    __slots__ = ()
    rewrites = True
    decoder_refuses = True

    _NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
    _ALLOWED = 'must be a port from 0 to 65535, a range such as "8000:8080", or a name of [a-zA-Z0-9_.-]'

    def __new__(cls, first: int, last: int = 0, name: str = "") -> Port:
        return super().__new__(cls, (first, last or first, name))

    @property
    def first(self) -> int:
        return self[0]

    @property
    def last(self) -> int:
        return self[1]

    @property
    def name(self) -> str:
        return self[2]

    @classmethod
    def from_json(cls, value: object) -> Port:
        if type(value) is int and 0 <= value <= 65535:
            return cls(value)
        if isinstance(value, str):
            if match := re.fullmatch(r"([0-9]{1,5})(?::([0-9]{1,5}))?", value):
                first = int(match[1])
                last = int(match[2]) if match[2] else first
                if first <= last <= 65535:
                    return cls(first, last)
            elif cls._NAME.fullmatch(value) and not value.isdecimal():
                return cls(0, 0, value)
        raise ValueError(cls._ALLOWED)

    @staticmethod
    def to_json(value: Port) -> int | str:
        if value.name:
            return value.name
        return value.first if value.first == value.last else f"{value.first}:{value.last}"


class Order(float):
    """Where a tier or policy stands among its like: the lowest is first. As text it is what Go shows of a float."""

    rewrites = False
    decoder_refuses = True

    @classmethod
    def from_json(cls, value: object) -> Order:
        if type(value) is int or type(value) is float:
            try:
                return cls(value)
            except OverflowError:
                pass
        raise ValueError("must be a number")

    @staticmethod
    def to_json(value: Order) -> int | float:
        is_whole = value.is_integer() and abs(value) < 2**53
        return int(value) if is_whole else float(value)

    def __str__(self) -> str:
        return float_text(self)


def float_text(value: float) -> str:
    """A finite float as Go shows it (`%v`): the fewest digits that mean it, with an exponent from 1e+06 on."""
    shortest = Decimal(repr(float(value))).normalize()
    if -4 <= shortest.adjusted() < 6:
        return f"{shortest:f}"
    mantissa, _, exponent = f"{shortest:e}".partition("e")
    return f"{mantissa}e{int(exponent):+03d}"


def _parse_comma_list(value: object) -> tuple[str, ...]:
    """Words separated by commas; blanks around them and empty words do not count."""
    if not isinstance(value, str):
        raise ValueError("must be one text, its items separated by commas")
    return tuple(word.strip() for word in value.split(",") if word.strip())


if TYPE_CHECKING:
    CommaList = tuple[str, ...]
else:
    CommaList = stand_in("CommaList", tuple, read=_parse_comma_list, write=",".join)
