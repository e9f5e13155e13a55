"""What the spec of a kind is made of: the base of its structs, the spelling of its fields, common field types.

A field is `snake_case` here and `camelCase` in documents, with Calico's capitals for abbreviations. Its default
says what absence means, and decides when it is written:

* a default of None, False, 0, "" or nothing in a list is left out of documents, as Calico leaves it out;
* any other default is one that Calico's writers put into the object: so it is always written.

A default that nobody writes and each user of the field assumes is None here, with its meaning beside it.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from tortie.model.addresses import IPNetwork
from tortie.model.check import without_unknown
from tortie.model.codec import from_json
from tortie.model.names import MAX_NAME_LENGTH, SUBDOMAIN, SUBDOMAIN_WORDS

Value = TypeVar("Value")

# Words written in capitals (or as given) anywhere but at the beginning of a name.
_ABBREVIATIONS = {
    "as": "AS",
    "asn": "ASN",
    "bgp": "BGP",
    "ca": "CA",
    "cidr": "CIDR",
    "cidrs": "CIDRs",
    "ctlb": "CTLB",
    "dnat": "DNAT",
    "dscp": "DSCP",
    "dsr": "DSR",
    "gc": "GC",
    "gro": "GRO",
    "guid": "GUID",
    "icmp": "ICMP",
    "id": "ID",
    "ip": "IP",
    "ipip": "IPIP",
    "ips": "IPs",
    "ipv4": "IPv4",
    "ipv6": "IPv6",
    "jit": "JIT",
    "mac": "MAC",
    "mb": "MB",
    "mtu": "MTU",
    "nat": "NAT",
    "nats": "NATs",
    "psnat": "PSNAT",
    "rpf": "RPF",
    "ttl": "TTL",
    "vm": "VM",
    "vni": "VNI",
    "vxlan": "VXLAN",
    "xdp": "XDP",
}


def json_name(field: str) -> str:
    """`container_id` -> `containerID`; the few fields that Calico spells otherwise name themselves."""
    first, *rest = field.split("_")
    return first + "".join(_ABBREVIATIONS.get(word, word.capitalize()) for word in rest)


class Spec(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    rename=json_name,
    forbid_unknown_fields=True,
    gc=False,
):
    """Base of every struct in a document.

    A frozen tree has no cycles, so the garbage collector need not walk it: with 100,000 endpoints that is most of its
    work. msgspec looks at nothing in a field that it skips, so it may skip none: what a value that it has read says
    besides is then sound JSON too.
    """


def written(pattern: str, words: str) -> Meta:
    """What Calico's writers demand of a text since v3.32, by the schema of the resource, and its readers do not.

    A user's document is held against it; a stored one is read without.
    """
    return Meta(description=words, extra_json_schema={"pattern": pattern})


def any_case(*words: str) -> Meta:
    """One of the words in capitals or not; empty stands for unset."""
    return Meta(pattern=rf"^(?i:{'|'.join(words)}|)\Z", description=f"must be one of {', '.join(words)}")


def exact_case(*words: str) -> Meta:
    """One of the words as they stand here, which readers also take in capitals or not; empty stands for unset."""
    return Meta(
        pattern=rf"^(?i:{'|'.join(words)}|)\Z",
        description=f"must be one of {', '.join(words)}",
        extra_json_schema={"pattern": rf"^({'|'.join(words)}|)\Z"},
    )


# Names of other objects and parts of computed names.
Name = Annotated[str, Meta(pattern=SUBDOMAIN, max_length=MAX_NAME_LENGTH, description=f"must be {SUBDOMAIN_WORDS}")]
OptionalName = Annotated[
    str, Meta(pattern=f"{SUBDOMAIN}|^\\Z", max_length=MAX_NAME_LENGTH, description=f"must be {SUBDOMAIN_WORDS}")
]
InterfaceName = Annotated[
    str,
    Meta(pattern=r"^[a-zA-Z0-9_.-]{1,15}\Z", description="must be an interface name: 1 to 15 of [a-zA-Z0-9_.-]"),
]
InterfaceGlob = Annotated[
    str,
    Meta(
        pattern=r"^[a-zA-Z0-9_.*-]{1,15}\Z",
        description="must be an interface name or pattern: 1 to 15 of [a-zA-Z0-9_.*-]",
    ),
]
PORT_NAME = r"(?=.{1,15}\Z)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*"
_PORT_NAME_WORDS = "must be a port's name: at most 15 lower-case letters, digits and single -, one letter at least"
PortName = Annotated[str, Meta(pattern=rf"^{PORT_NAME}\Z", description=_PORT_NAME_WORDS)]
OptionalPortName = Annotated[str, Meta(pattern=rf"^({PORT_NAME}|)\Z", description=_PORT_NAME_WORDS)]
PortNumber = Annotated[int, Meta(ge=1, le=65535)]
PortOrZero = Annotated[int, Meta(ge=0, le=65535)]
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
RoutePriority = Annotated[int, Meta(ge=1, le=2147483646)]
LogSeverity = Annotated[str, any_case("Trace", "Debug", "Info", "Warning", "Error", "Fatal")]
# Calico's schemas take no bare address for a prefix, although its readers do.
Prefix = Annotated[
    IPNetwork, written(r"/[0-9]+\Z", "must be a prefix with its length, such as 10.65.0.0/16 or 10.65.0.1/32")
]


def convert(document: Any, cls: type[Value]) -> Value:
    """The typed value of a part of a document, whatever unknown fields it holds.

    Raises msgspec.ValidationError at the first fault.
    """
    try:
        return msgspec.convert(document, cls, dec_hook=from_json)
    except msgspec.ValidationError:
        return msgspec.convert(without_unknown(document, cls), cls, dec_hook=from_json)
