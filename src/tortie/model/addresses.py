"""Addresses as fields: IP addresses, interfaces and prefixes, BGP peers, Ethernet addresses.

The text of an address is kept as somebody wrote it; equality is that of the address.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import TYPE_CHECKING, TypeVar

from tortie.model.codec import stand_in

Parsed = TypeVar("Parsed")

Network = IPv4Network | IPv6Network

# Keeps out what ipaddress would take and Calico does not: a zone (fe80::1%eth0), a netmask (10.0.0.1/255.0.0.0).
_CHARACTERS = re.compile(r"[0-9A-Fa-f:.]+(/[0-9]{1,3})?")


def reader(parse: Callable[[str], Parsed], allowed: str) -> Callable[[object], Parsed]:
    """`parse` for a document's value, with an error that says what is allowed rather than why it failed."""

    def read(value: object) -> Parsed:
        if isinstance(value, str) and _CHARACTERS.fullmatch(value):
            try:
                return parse(value)
            except ValueError:
                pass
        raise ValueError(f"must be {allowed}")

    return read


def _network(text: str) -> IPv4Network | IPv6Network:
    # A set of networks has many, and ipaddress takes its time to read one.
    address, slash, length = text.partition("/")
    try:
        number = _ipv4_number(address)
        bits = _LENGTHS[length] if slash else 32
    except (KeyError, ValueError):
        return ip_network(text, strict=False)
    return IPv4Network((number, bits), strict=False)


def _strict_network(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text)


def _ipv4_number(text: str) -> int:
    """The number of an IPv4 address in dotted decimal; raises KeyError or ValueError for any other text."""
    first, second, third, fourth = text.split(".")
    return _FIRST[first] | _SECOND[second] | _THIRD[third] | _FOURTH[fourth]


_FIRST, _SECOND, _THIRD, _FOURTH = ({str(octet): octet << bits for octet in range(256)} for bits in (24, 16, 8, 0))
_LENGTHS = {str(number): number for number in range(33)}


def _read_single(value: object) -> IPv4Address | IPv6Address:
    # An IPv4 address stands in every endpoint, and ipaddress takes its time to read one.
    if isinstance(value, str):
        try:
            return IPv4Address(_ipv4_number(value.removesuffix("/32")))
        except (KeyError, ValueError):
            pass
    return _read_any_single(value)


def _single(text: str) -> IPv4Address | IPv6Address:
    address, slash, length = text.partition("/")
    parsed = ip_address(address)
    if slash and length != str(parsed.max_prefixlen):
        raise ValueError
    return parsed


def _write_interface(value: IPv4Interface | IPv6Interface) -> str:
    return str(value.ip) if value.network.prefixlen == value.max_prefixlen else value.with_prefixlen


def _write_single(value: IPv4Address | IPv6Address) -> str:
    return f"{value}/{value.max_prefixlen}"


parse_network = reader(_network, "a prefix or an address, such as 10.65.0.0/16 or 2001:db8::/32")
parse_strict_network = reader(_strict_network, "a prefix without host bits, such as 10.65.0.0/26 or fd00:65::/122")
parse_address = reader(ip_address, "an IP address")
parse_interface = reader(ip_interface, "an IP address with prefix length, such as 192.0.2.1/24 or 2001:db8::1/64")

_read_any_single = reader(_single, "one address: bare, or with /32 (IPv4) or /128 (IPv6)")

if TYPE_CHECKING:
    IPAddress = IPv4Address | IPv6Address
    IPInterface = IPv4Interface | IPv6Interface
    IPNetwork = IPv4Network | IPv6Network
    SingleAddress = IPv4Address | IPv6Address
    IPv4AddressField = IPv4Address
    IPv6AddressField = IPv6Address
    IPv4InterfaceField = IPv4Interface
    IPv6InterfaceField = IPv6Interface
else:
    IPAddress = stand_in("IPAddress", IPv4Address, IPv6Address, read=parse_address)
    # An address with its prefix length; a bare one has the full length.
    IPInterface = stand_in("IPInterface", IPv4Interface, IPv6Interface, read=parse_interface, write=_write_interface)
    # A prefix, its host bits cut off; a bare address stands for itself alone.
    IPNetwork = stand_in(
        "IPNetwork",
        IPv4Network,
        IPv6Network,
        read=parse_network,
    )
    # One address, written as a prefix of full length or bare.
    SingleAddress = stand_in(
        "SingleAddress",
        IPv4Address,
        IPv6Address,
        read=_read_single,
        write=_write_single,
    )
    IPv4AddressField = stand_in("IPv4AddressField", IPv4Address, read=reader(IPv4Address, "an IPv4 address"))
    IPv6AddressField = stand_in("IPv6AddressField", IPv6Address, read=reader(IPv6Address, "an IPv6 address"))
    IPv4InterfaceField = stand_in(
        "IPv4InterfaceField",
        IPv4Interface,
        read=reader(IPv4Interface, "an IPv4 address with prefix length, such as 192.0.2.1/24"),
        write=_write_interface,
    )
    IPv6InterfaceField = stand_in(
        "IPv6InterfaceField",
        IPv6Interface,
        read=reader(IPv6Interface, "an IPv6 address with prefix length, such as 2001:db8::1/64"),
        write=_write_interface,
    )


class PeerAddress(tuple[IPv4Address | IPv6Address, int]):
    """Where a BGP peer listens. `port` is 0 when the document names none: then 179 is meant."""

    __slots__ = ()
    rewrites = False
    is_text = True

    _WITH_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})")

    def __new__(cls, address: IPv4Address | IPv6Address, port: int = 0) -> PeerAddress:
        return super().__new__(cls, (address, port))

    @property
    def address(self) -> IPv4Address | IPv6Address:
        return self[0]

    @property
    def port(self) -> int:
        return self[1]

    @classmethod
    def from_json(cls, value: object) -> PeerAddress:
        form = cls._WITH_PORT.fullmatch(value) if isinstance(value, str) else None
        try:
            address = parse_address(form[1] or form[2] if form else value)
        except ValueError:
            raise ValueError("must be an IP address, or with a port 192.0.2.1:179, [2001:db8::1]:179") from None
        port = int(form[3]) if form else 0
        if form and not 1 <= port <= 65535:
            raise ValueError("the port must be from 1 to 65535")
        return cls(address, port)

    @staticmethod
    def to_json(value: PeerAddress) -> str:
        return str(value)

    def __str__(self) -> str:
        if not self.port:
            return str(self.address)
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


class Mac(str):
    """An Ethernet address in lower case with colons; a document may use capitals, dashes, or dots as Cisco does."""

    __slots__ = ()
    rewrites = False
    is_text = True

    _ALLOWED = "must be an Ethernet address, such as 02:11:22:33:44:55"
    _CANONICAL = re.compile(":".join(["[0-9a-f][0-9a-f]"] * 6))  # in half of the time that {2} and {5} take
    _FORMS = re.compile(
        r"[0-9a-f]{2}(?:(?::[0-9a-f]{2}){5}|(?:-[0-9a-f]{2}){5})|[0-9a-f]{4}(?:\.[0-9a-f]{4}){2}",
        re.IGNORECASE | re.ASCII,
    )

    @classmethod
    def from_json(cls, value: object) -> Mac:
        if not isinstance(value, str):
            raise ValueError(cls._ALLOWED)
        if cls._CANONICAL.fullmatch(value):
            return cls(value)
        if not cls._FORMS.fullmatch(value):
            raise ValueError(cls._ALLOWED)
        return cls(bytes.fromhex(re.sub("[:.-]", "", value)).hex(":"))

    @staticmethod
    def to_json(value: Mac) -> str:
        return str(value)
