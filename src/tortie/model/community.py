"""BGP communities as text."""

from __future__ import annotations

import re

# RFC 1997: two numbers of 16 bits. RFC 8092: three of 32.
_COMMUNITY = re.compile(r"([0-9]+):([0-9]+)(?::([0-9]+))?", re.ASCII)

COMMUNITY_WORDS = "must be aa:nn (16 bits each) or aa:nn:mm (32 bits each)"


def is_community(text: str) -> bool:
    """Whether the text is the value of a standard (aa:nn) or large (aa:nn:mm) community."""
    match = _COMMUNITY.fullmatch(text)
    if match is None:
        return False
    largest = 0xFFFF if match[3] is None else 0xFFFFFFFF
    return all(len(part) <= 10 and int(part) <= largest for part in match.groups() if part)
