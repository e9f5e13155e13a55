"""Address fields: what they take, what they keep of the spelling, what they write."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import msgspec
import pytest

from tortie.model.addresses import (
    IPAddress,
    IPInterface,
    IPNetwork,
    IPv4AddressField,
    IPv4InterfaceField,
    IPv6AddressField,
    IPv6InterfaceField,
    Mac,
    PeerAddress,
    SingleAddress,
)
from tortie.model.schema import Spec, convert
from tortie.model.write import rendered


class Sample(Spec, frozen=True, kw_only=True):
    address: IPAddress | None = None
    interface: IPInterface | None = None
    network: IPNetwork | None = None
    single: SingleAddress | None = None
    v4: IPv4AddressField | None = None
    v6: IPv6AddressField | None = None
    v4_interface: IPv4InterfaceField | None = None
    v6_interface: IPv6InterfaceField | None = None
    mac: Mac | None = None
    peer: PeerAddress | None = None


def read(field: str, written: object) -> Any:
    sample = convert({field: written}, Sample)
    (value,) = [part for part in msgspec.structs.astuple(sample) if part is not None]
    return value


GOOD = [
    ("address", "10.65.0.1", ip_address("10.65.0.1")),
    ("address", "FD00::1", ip_address("fd00::1")),
    ("interface", "10.65.0.1/24", ip_interface("10.65.0.1/24")),
    ("interface", "10.65.0.1", ip_interface("10.65.0.1/32")),
    ("network", "10.65.0.0/16", ip_network("10.65.0.0/16")),
    ("network", "10.65.0.1/16", ip_network("10.65.0.0/16")),
    ("network", "10.65.0.1", ip_network("10.65.0.1/32")),
    ("network", "fd00::/8", ip_network("fd00::/8")),
    ("single", "10.65.0.24/32", ip_address("10.65.0.24")),
    ("single", "10.65.0.24", ip_address("10.65.0.24")),
    ("single", "fd00::24/128", ip_address("fd00::24")),
    ("v4", "10.65.0.1", ip_address("10.65.0.1")),
    ("v6", "fd00::1", ip_address("fd00::1")),
    ("v4Interface", "10.65.0.1/24", ip_interface("10.65.0.1/24")),
    ("v6Interface", "fd00::1/64", ip_interface("fd00::1/64")),
    ("mac", "02:11:22:aa:bb:cc", Mac("02:11:22:aa:bb:cc")),
    ("mac", "02-11-22-AA-BB-CC", Mac("02:11:22:aa:bb:cc")),
    ("mac", "0211.22AA.BBCC", Mac("02:11:22:aa:bb:cc")),
    ("peer", "192.0.2.1", PeerAddress(ip_address("192.0.2.1"))),
    ("peer", "2001:db8::1", PeerAddress(ip_address("2001:db8::1"))),
    ("peer", "192.0.2.1:1790", PeerAddress(ip_address("192.0.2.1"), 1790)),
    ("peer", "[2001:db8::1]:1790", PeerAddress(ip_address("2001:db8::1"), 1790)),
]

BAD = [
    ("address", "10.65.0.1/24"),
    ("address", "10.65.0"),
    ("address", "10.65.0.01"),
    ("address", " 10.65.0.1"),
    ("address", "fe80::1%eth0"),
    ("address", ""),
    ("address", 168427521),
    ("interface", "10.65.0.1/255.255.0.0"),
    ("interface", "10.65.0.1/33"),
    ("interface", "10.65.0.1/"),
    ("network", "10.65.0.0/16/1"),
    ("network", "host.example.org"),
    ("single", "10.65.0.0/24"),
    ("single", "fd00::/64"),
    ("single", "10.65.0.24/128"),
    ("single", "10.65.0.24/"),
    ("v4", "fd00::1"),
    ("v6", "10.65.0.1"),
    ("v4Interface", "fd00::1/64"),
    ("v6Interface", "10.65.0.1/24"),
    ("mac", "02:11:22:aa:bb"),
    ("mac", "02:11:22:aa:bb:cc:dd:ee"),
    ("mac", "02:11-22:aa:bb:cc"),
    ("mac", "0g:11:22:aa:bb:cc"),
    ("mac", 2),
    ("peer", "192.0.2.1:0"),
    ("peer", "192.0.2.1:65536"),
    ("peer", "[192.0.2.1"),
    ("peer", "2001:db8::1]:179"),
    ("peer", "router.example.org"),
    ("peer", 179),
]


@pytest.mark.parametrize(("field", "written", "value"), GOOD)
def test_reads(field: str, written: str, value: object) -> None:
    found = read(field, written)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("field", "written"), BAD)
def test_refuses(field: str, written: object) -> None:
    with pytest.raises(msgspec.ValidationError, match="must be "):
        read(field, written)


@pytest.mark.parametrize(("field", "written", "value"), GOOD)
def test_spelling_stays_while_it_means_the_same(field: str, written: str, value: object) -> None:
    document = {field: written}
    assert rendered(convert(document, Sample), document) == document


CANONICAL = [
    ("address", "FD00::01", "fd00::1"),
    ("interface", "10.65.0.1/24", "10.65.0.1/24"),
    ("interface", "10.65.0.1/32", "10.65.0.1"),
    ("network", "10.65.0.1/16", "10.65.0.0/16"),
    ("single", "10.65.0.24", "10.65.0.24/32"),
    ("single", "fd00::24", "fd00::24/128"),
    ("v4Interface", "10.65.0.1/24", "10.65.0.1/24"),
    ("mac", "0211.22AA.BBCC", "02:11:22:aa:bb:cc"),
    ("peer", "[2001:DB8::1]:179", "[2001:db8::1]:179"),
    ("peer", "192.0.2.1:179", "192.0.2.1:179"),
]


@pytest.mark.parametrize(("field", "written", "canonical"), CANONICAL)
def test_a_new_value_is_written_in_canonical_form(field: str, written: str, canonical: str) -> None:
    assert rendered(convert({field: written}, Sample), base=None) == {field: canonical}
