"""A hundred thousand spoiled documents: each is taken without loss, or refused with the place of the fault.

The seed is printed; `TORTIE_SOAK_SEED=n` repeats a run.
"""

from __future__ import annotations

import copy
import os
import random
import secrets
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import yaml

from tests.unit.model.documents import SPECS, document, key, places
from tortie.cli import strict_yaml
from tortie.errors import InvalidResource
from tortie.model import Quarantined, Resource, from_store, from_user, stamped, to_store, unknown_fields

MUTATIONS = 100_000
SEED = int(os.environ.get("TORTIE_SOAK_SEED") or secrets.randbelow(2**32))

ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 4, 6, 80, 255, 256, 65536, 2**31, 2**53 + 1, 2**64, -(2**70), 0.5, 1e300, -0.0),
    *("", " ", "\x00", "\x1b[31m", "a\nb", "\u202e", "\U0001f422", "x" * 5000, "null", "true", "0", "080", "1e3", "~"),
    *(
        "10.0.0.0/8",
        "10.0.0.1/8",
        "10.0.0.1",
        "0.0.0.0/0",
        "::/0",
        "fd00::1",
        "fd00::/300",
        "1.2.3.4:99999",
        "[::1]:179",
    ),
    *("all()", "global()", "has(", "a == 'b' &&", "a in {'b',}", "!" * 300 + "all()", "(" * 300, "a == 'b\\'"),
    *("1m30s", "1.5s", "-1s", "5", "65001", "1.10", "8000:80", "http", "TCP", "tcp", "Never", "Allow", "default"),
    *([], {}, [[]], [None], {"": ""}, {"a": {"b": {"c": [1, {"d": None}]}}}, [{}] * 3, ["10.0.0.0/8"] * 300),
]


def odd(chance: random.Random) -> Any:
    """A value of its own, since a later change may change it."""
    return copy.deepcopy(chance.choice(ODD))


def mutated(body: Any, chance: random.Random) -> None:
    """Changes one place of the document."""
    found = list(places(body))
    if not found:
        return
    container, part = chance.choice(found)
    other, other_part = chance.choice(found)
    changes: list[Callable[[], object]] = [
        lambda: container.__setitem__(part, odd(chance)),
        lambda: container.__setitem__(part, odd(chance)),
        lambda: container.__delitem__(part),
        lambda: container.__setitem__(part, [container[part]]),
        lambda: container.__setitem__(part, {"value": container[part]}),
        lambda: container.__setitem__(part, str(container[part])),
        lambda: container.__setitem__(part, msgspec.json.decode(msgspec.json.encode(other[other_part]))),
    ]
    if isinstance(container, dict):
        changes += [
            lambda: container.__setitem__(str(part)[:-1] or "x", container[part]),
            lambda: container.__setitem__(chance.choice(["newField", "spec", "kind", "order", ""]), odd(chance)),
        ]
    else:
        changes.append(lambda: container.insert(0, odd(chance)))
    chance.choice(changes)()


def spoiled(chance: random.Random) -> tuple[str, Any]:
    """A kind, and its valid document changed in one to four places."""
    kind = chance.choice(sorted(SPECS))
    body = document(kind)
    for _ in range(chance.randint(1, 4)):
        mutated(body, chance)
    return kind, body


def check_problems(error: InvalidResource) -> None:
    assert error.problems
    for problem in error.problems:
        assert problem.reason
        # Only a fault of the document as a whole is at no path.
        assert (
            problem.path
            or error.subject == "document"
            or "JSON" in problem.reason
            or "must be an object" in str(problem)
        )


def check_place(error: strict_yaml.Malformed) -> None:
    assert "line" in str(error)


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Every scalar of a document by its path."""
    if isinstance(value, dict):
        return {at: leaf for name, part in value.items() for at, leaf in leaves(part, f"{path}.{name}").items()}
    if isinstance(value, list):
        return {at: leaf for index, part in enumerate(value) for at, leaf in leaves(part, f"{path}[{index}]").items()}
    return {path: value}


def check_round_trip(resource: Resource[Any]) -> None:
    """What is stored reads as the same object, and storing that writes the same bytes."""
    value = to_store(stamped(resource, "0b4b7c2e-5d7c-4a49-9a0c-6f3a2f8a5a11", "2026-08-22T13:33:20Z"))
    again = from_store(resource.key, value)
    assert isinstance(again, Resource), again
    assert again.spec == resource.spec or to_store(again) == value
    # Writers have labels of their own, which overrule a user's.
    users = {key: text for key, text in resource.metadata.labels.items() if not key.startswith("projectcalico.org/")}
    assert again.metadata.labels.items() >= users.items()
    assert msgspec.json.decode(to_store(again)) == msgspec.json.decode(value)


def one_document(chance: random.Random) -> str:
    """A user's document and the same in the store; what became of it."""
    kind, body = spoiled(chance)
    outcome = "taken"
    try:
        resource = from_user(body)
    except InvalidResource as error:
        check_problems(error)
        outcome = "refused"
    else:
        check_round_trip(resource)
    stored = from_store(key(kind), msgspec.json.encode(body))
    if isinstance(stored, Quarantined):
        assert stored.problems
    else:
        before, after = leaves(body), leaves(msgspec.json.decode(to_store(stored)))
        for path in unknown_fields(stored):
            inside = (f".{path}", f".{path}.", f".{path}[")
            kept = {
                at: leaf
                for at, leaf in before.items()
                if (at == inside[0] or at.startswith(inside[1:])) and leaf is not None
            }
            assert kept.items() <= after.items(), path
    return outcome


def one_text(chance: random.Random) -> str:
    """The text of a document with a few characters changed; what became of it."""
    kind = chance.choice(sorted(SPECS))
    text = yaml.safe_dump(document(kind))
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(text))
        insert = chance.choice(
            ["", "\n", " ", "\t", ":", "- ", "---\n", "&a ", "*a", "<<: ", "{", "]", "'", '"', "#", "|", "\x00"]
        )
        text = text[:at] + insert + text[at + chance.randint(0, 3) :]
    try:
        found = strict_yaml.read(text)
    except strict_yaml.Malformed as error:
        check_place(error)
        return "malformed"
    for each in found:
        try:
            check_round_trip(from_user(each.value))
        except InvalidResource as error:
            check_problems(error)
    return "read"


@pytest.mark.timeout(900)
def test_every_spoiled_document_is_taken_without_loss_or_refused_with_a_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with capsys.disabled():
        print(f"\n{MUTATIONS} mutations, TORTIE_SOAK_SEED={SEED}")
    outcomes: dict[str, int] = {}
    for number in range(MUTATIONS):
        chance = random.Random(f"{SEED}/{number}")
        try:
            outcome = one_text(chance) if number % 4 == 0 else one_document(chance)
        except Exception as error:
            error.add_note(f"TORTIE_SOAK_SEED={SEED}, mutation {number}")
            raise
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    with capsys.disabled():
        print(outcomes)
    # A generator that only makes nonsense, or only harmless changes, would prove nothing.
    assert min(outcomes.get(outcome, 0) for outcome in ("taken", "refused", "malformed", "read")) > MUTATIONS // 100
