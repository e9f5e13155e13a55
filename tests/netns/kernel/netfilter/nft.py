"""What nft says of a ruleset, as the second opinion on everything that is written and read here."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

from tests.netns.conftest import Namespace
from tortie.kernel.netfilter import table
from tortie.kernel.netfilter.message import Family
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netfilter.table import Table
from tortie.kernel.netfilter.transaction import commit

INET = Family.INET
TABLE = "tortie"


def listed(namespace: Namespace, what: str = "ruleset") -> list[dict[str, Any]]:
    """The objects that `nft -j list` prints, without its first word about itself."""
    objects = json.loads(namespace.run(f"nft --json list {what}"))["nftables"]
    return [one for one in objects if "metainfo" not in one]


def rules(namespace: Namespace, chain: str, family: str = "inet") -> list[list[Any]]:
    """The expressions of the chain's rules as nft reads them."""
    objects = listed(namespace, f"chain {family} {TABLE} {chain}")
    return [one["rule"]["expr"] for one in objects if "rule" in one]


def elements(namespace: Namespace, name: str, kind: str = "set") -> list[Any]:
    (found,) = [one[kind] for one in listed(namespace, f"{kind} inet {TABLE} {name}") if kind in one]
    value: list[Any] = found.get("elem", [])
    return value


def connected(namespace: Namespace) -> NetfilterSocket:
    """A socket in the namespace, and our table in it."""
    sock = NetfilterSocket.open_in(namespace.path)
    commit(sock, [table.put(Table(INET, TABLE))])
    return sock


def ip(address: str) -> bytes:
    return ip_address(address).packed
