"""Field types that a document writes as one text or number: the contract between them and the decoder.

Such a type has three attributes:

    from_json(value)  the typed value; raises ValueError that says what is allowed, ready for the user
    to_json(value)    its canonical form in a document
    rewrites          True when a document always gets the canonical form, as Calico's own types do; False when
                      what somebody wrote stays for as long as it means the same

and, where it is so, some of three more:

    is_text          for Calico it is a mere text, and an optional field that holds an empty one is absent
    is_tolerated     is_tolerated(value) is True of what means something here and is refused by Calico's own readers:
                     a document gets the canonical form instead
    decoder_refuses  Calico's decoder parses it, so that a bad one makes the whole document unreadable

msgspec calls them through `from_json` for every class that it does not know. It takes only one such class in a
union, and a standard type such as IPv4Address has no such attributes: there the type checker sees the standard
types, and msgspec the class that `stand_in` makes for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def from_json(cls: Any, value: object) -> object:
    """The typed value of a document's text or number: the `dec_hook` of every decoding."""
    return cls.from_json(value)


def stand_in(
    name: str,
    *members: type,
    read: Callable[[object], Any],
    write: Callable[[Any], Any] = str,
    rewrites: bool = False,
    is_tolerated: Callable[[object], bool] = lambda _: False,
) -> type:
    """A field type whose values are instances of `members`."""
    attributes = {
        "members": members,
        "from_json": staticmethod(read),
        "to_json": staticmethod(write),
        "is_tolerated": staticmethod(is_tolerated),
        "rewrites": rewrites,
        "is_text": True,
    }
    return _StandIn(name, (), attributes)


class _StandIn(type):
    """msgspec asks of every value that was read whether it is an instance; ABCMeta takes three times as long to say."""

    members: tuple[type, ...]

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, cls.members)
