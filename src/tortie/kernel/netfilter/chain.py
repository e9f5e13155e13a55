"""Chains: lists of rules, either hooked into the packet's path or called by others."""

from __future__ import annotations

import enum
from typing import NamedTuple

from tortie.kernel.netfilter.change import CREATE, EXCLUSIVE, TABLE, Change, Operation, change, wire_type
from tortie.kernel.netfilter.message import GENERIC, Family, be32, nest, number, open_message, signed
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netfilter.verdict import Code
from tortie.kernel.netlink.message import Message, text

_HANDLE = 2
_NAME = 3
_HOOK = 4
_POLICY = 5
_TYPE = 7
_HOOK_NUMBER = 1
_HOOK_PRIORITY = 2
_HOOK_DEVICE = 3
_RULE_CHAIN = 2


class InetHook(enum.IntEnum):
    """NF_INET_*: of the families inet, ip and ip6."""

    PREROUTING = 0
    INPUT = 1
    FORWARD = 2
    OUTPUT = 3
    POSTROUTING = 4
    INGRESS = 5  # inet alone, with a device


class ArpHook(enum.IntEnum):
    INPUT = 0
    OUTPUT = 1


class NetdevHook(enum.IntEnum):
    INGRESS = 0
    EGRESS = 1


class Priority(enum.IntEnum):
    """Where others hook in (NF_IP_PRI_*): the lower comes first."""

    DEFRAGMENTATION = -400
    RAW = -300
    CONNTRACK = -200
    MANGLE = -150
    DNAT = -100
    FILTER = 0
    SECURITY = 50
    SNAT = 100


class Hook(NamedTuple):
    """Where a base chain meets packets; `policy` is what becomes of those that no rule decided."""

    number: int
    priority: int = Priority.FILTER
    policy: Code = Code.ACCEPT
    type: str = "filter"  # or "nat", "route"
    device: str = ""


class Chain(NamedTuple):
    family: Family
    table: str
    name: str
    hook: Hook | None = None
    handle: int = 0  # as read back


def add(chain: Chain) -> Change:
    """Makes the chain, which must not exist."""
    return change(Operation.NEW_CHAIN, CREATE | EXCLUSIVE, chain.family, chain.table, *_encode(chain))


def put(chain: Chain) -> Change:
    """Makes the chain, or gives one that is there the policy; hook and priority of a chain never change."""
    return change(Operation.NEW_CHAIN, CREATE, chain.family, chain.table, *_encode(chain))


def flush(chain: Chain) -> Change:
    """Deletes its rules."""
    return change(Operation.DELETE_RULE, 0, chain.family, chain.table, text(_RULE_CHAIN, chain.name))


def delete(chain: Chain) -> Change:
    """With its rules; `Busy` while a rule or an element leads to it."""
    return change(Operation.DELETE_CHAIN, 0, chain.family, chain.table, text(_NAME, chain.name))


def dump(sock: NetfilterSocket, family: Family, table: str) -> list[Chain]:
    chains = sock.dump(wire_type(Operation.GET_CHAIN), GENERIC.pack(family, 0, 0), parse, f"list chains of {table}")
    return [chain for chain in chains if chain.table == table]


def parse(message: Message) -> Chain:
    family, attributes = open_message(message)
    hook = None
    if _HOOK in attributes:
        place = attributes.nested(_HOOK)
        hook = Hook(
            number(place, _HOOK_NUMBER),
            signed(place, _HOOK_PRIORITY),
            Code.DROP if number(attributes, _POLICY, Code.ACCEPT) == Code.DROP else Code.ACCEPT,
            attributes.text(_TYPE),
            place.text(_HOOK_DEVICE),
        )
    handle = number(attributes, _HANDLE)
    return Chain(family, attributes.text(TABLE), attributes.text(_NAME), hook, handle)


def _encode(chain: Chain) -> tuple[bytes, ...]:
    hook = chain.hook
    if hook is None:
        return (text(_NAME, chain.name),)
    device = text(_HOOK_DEVICE, hook.device) if hook.device else b""
    return (
        text(_NAME, chain.name),
        nest(_HOOK, be32(_HOOK_NUMBER, hook.number), be32(_HOOK_PRIORITY, hook.priority), device),
        be32(_POLICY, hook.policy),
        text(_TYPE, hook.type),
    )
