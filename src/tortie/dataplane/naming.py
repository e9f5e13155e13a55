"""Names in the kernel that are made of longer ones: as much as fits can be read, and a hash stands for the rest."""

from __future__ import annotations

import hashlib

from tortie.intent.policy import Rule


def digest(*parts: object) -> str:
    """20 hex digits that stand for these values: equal contents have equal names, whoever makes them."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]


def shortened(name: str, most: int) -> str:
    """The name in at most as many characters, and in ASCII."""
    if len(name) <= most and name.isascii():
        return name
    return f"{name.encode('ascii', 'replace').decode()[: most - 17]}~{digest(name)[:16]}"


def comment_of(rule: Rule, most: int) -> str:
    """Where the rule was written, in at most as many bytes of UTF-8; of a long one the place at its end is kept."""
    origin = rule.origin
    text = f"{origin.tier + '|' if origin.tier else ''}{origin}"
    encoded = text.encode()
    if len(encoded) <= most:
        return text
    place = str(origin).removeprefix(str(origin.owner))
    kept = most - len(place.encode()) - 21
    return f"{encoded[:kept].decode(errors='ignore')}~{digest(text)}{place}"
