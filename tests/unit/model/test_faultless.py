"""The quick look at a document against the walk that finds every fault."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from tests.unit.model.documents import SPECS, document, places
from tortie.model.check import faults, is_faultless
from tortie.model.kinds import KINDS
from tortie.model.schema import convert

ODD: list[Any] = [None, True, 0, 1.0, -1, 70000, 2**70, "", "x", "Allow", "10.0.0.1", "10.0.0.0/8", "1.5s", [], {}, [1]]


def spoiled(kind: str, chance: random.Random) -> Any:
    """The spec of a valid document, changed in up to three places."""
    spec = document(kind)["spec"]
    for _ in range(chance.randint(0, 3)):
        if found := list(places(spec)):
            container, part = chance.choice(found)
            container[part] = chance.choice(ODD)
            if isinstance(container, dict) and chance.random() < 0.3:
                container["newField"] = chance.choice(ODD)
    if chance.random() < 0.1:
        spec["newField"] = chance.choice(ODD)
    return spec


@pytest.mark.parametrize("kind", sorted(SPECS))
def test_says_what_the_walk_says_of_whatever_the_decoder_takes(kind: str) -> None:
    chance = random.Random(kind)
    cls = KINDS[kind].spec
    seen = {True: 0, False: 0}
    for _ in range(300):
        spec = spoiled(kind, chance)
        try:
            convert(spec, cls)
        except msgspec.ValidationError:
            continue
        found = list(faults(spec, cls, "spec"))
        assert is_faultless(spec, cls) == (not found), (spec, found)
        seen[not found] += 1
    assert min(seen.values()) > 0, seen
