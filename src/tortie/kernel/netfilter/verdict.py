"""What becomes of a packet: accept, drop, or on to another chain."""

from __future__ import annotations

import enum
from typing import NamedTuple

from tortie.kernel.netfilter.message import be32, nest, signed
from tortie.kernel.netlink.message import Attributes, text

# enum nft_verdict_attributes
_CODE = 1
_CHAIN = 2


class Code(enum.IntEnum):
    """NF_* and NFT_* verdicts."""

    DROP = 0
    ACCEPT = 1
    CONTINUE = -1
    JUMP = -3
    GOTO = -4
    RETURN = -5


class Verdict(NamedTuple):
    """`chain` is where JUMP and GOTO lead, and empty for the others; a code of others' rules may be none of `Code`."""

    code: int
    chain: str = ""

    def __str__(self) -> str:
        name = next((code.name.lower() for code in Code if code == self.code), str(self.code))
        return f"{name} {self.chain}".rstrip()

    def encode(self, kind: int) -> bytes:
        """As attribute `kind`."""
        return nest(kind, be32(_CODE, self.code), text(_CHAIN, self.chain) if self.chain else b"")


ACCEPT = Verdict(Code.ACCEPT)
DROP = Verdict(Code.DROP)
CONTINUE = Verdict(Code.CONTINUE)
RETURN = Verdict(Code.RETURN)


def jump(chain: str) -> Verdict:
    """To the chain, and back to the next rule where it comes to its end."""
    return Verdict(Code.JUMP, chain)


def goto(chain: str) -> Verdict:
    """To the chain; where it comes to its end, on behind the rule that called this one."""
    return Verdict(Code.GOTO, chain)


def parse(attributes: Attributes) -> Verdict:
    return Verdict(signed(attributes, _CODE), attributes.text(_CHAIN))
