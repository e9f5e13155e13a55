"""`apply --confirm` and `confirm`: what is written when, what is said, and what is left whenever something fails."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import pytest

from tests.unit.cli.conftest import Tortie
from tests.unit.datastore.backends import Wrapped
from tortie.cli import provisional
from tortie.cli import store as cli_store
from tortie.datastore import confirming, open_datastore
from tortie.datastore.api import Compare, Datastore, Delete, Put, TxnResult
from tortie.datastore.confirmation import PREFIX
from tortie.datastore.confirming import Found
from tortie.errors import Unavailable
from tortie.model.keys import RESOURCES

T = TypeVar("T")
Write = Put | Delete


def sets(net: str, *names: str) -> str:
    head = "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\n"
    return "".join(f"{head}metadata: {{name: {name}}}\nspec: {{nets: [{net}]}}\n" for name in names)


def ask(tortie: Tortie, what: Callable[[Datastore], Awaitable[T]]) -> T:
    async def asked() -> T:
        datastore = open_datastore(tortie.environment["TORTIE_DATASTORE"])
        try:
            return await what(datastore)
        finally:
            await datastore.close()

    return asyncio.run(asked())


def records(tortie: Tortie) -> list[Found]:
    return ask(tortie, confirming.found)


def objects(tortie: Tortie) -> dict[str, bytes]:
    async def read(datastore: Datastore) -> dict[str, bytes]:
        return {item.key: item.value for item in (await datastore.list(f"{RESOURCES}globalnetworksets/")).items}

    return ask(tortie, read)


def go_back_from_all(tortie: Tortie) -> None:
    """As the agents do at the deadline."""

    async def go_back(datastore: Datastore) -> None:
        for record in await confirming.found(datastore):
            await confirming.go_back(datastore, record.name)

    ask(tortie, go_back)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provisional, "HEAD_START_S", 0.0)


@pytest.fixture
def before(tortie: Tortie) -> dict[str, bytes]:
    """The objects `a` and `b`, which a file `f.yaml` would change, beside a new `c`."""
    assert tortie("apply", "-f", tortie.write("f.yaml", sets("10.0.0.0/8", "a", "b"))).code == 0
    tortie.write("f.yaml", sets("11.0.0.0/8", "a", "b", "c"))
    return objects(tortie)


def apply(tortie: Tortie, within: str = "60s") -> str:
    """Applies the file; the name of the record."""
    said = tortie("apply", "-f", "f.yaml", "--confirm", within)
    assert said.code == 0, said
    found = re.match(
        r"Confirmation ([0-9a-f]{8}): the agents go back at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \(in \w+\)\.\n"
        r"To keep the change: tortie confirm \1; to go back now: tortie confirm --undo \1\n"
        r"Successfully applied 3 'GlobalNetworkSet' resource\(s\)\n",
        said.stdout,
    )
    assert found is not None, said
    return found[1]


def test_confirmed_it_stays(tortie: Tortie, before: dict[str, bytes]) -> None:
    name = apply(tortie)
    [record] = records(tortie)
    assert record.confirmation is not None
    assert (record.name, record.confirmation.within_s) == (name, 60)
    assert {each.path: each.before for each in record.confirmation.objects} == {
        path: before.get(path) for path in objects(tortie)
    }
    after = objects(tortie)
    assert tortie("confirm", name) == (0, f"Confirmed {name}: the change stays.\n", "")
    assert (records(tortie), objects(tortie)) == ([], after)


def test_undone_it_is_as_it_was(tortie: Tortie, before: dict[str, bytes]) -> None:
    name = apply(tortie)
    assert tortie("confirm", "--undo") == (0, f"Gone back from {name}: 3 objects are as before.\n", "")
    assert objects(tortie) == before


def test_what_others_changed_is_named(tortie: Tortie, before: dict[str, bytes]) -> None:
    name = apply(tortie)
    tortie("apply", "-f", tortie.write("other.yaml", sets("12.0.0.0/8", "b")))
    said = tortie("confirm", "--undo", name)
    assert said.stdout == (
        f"Gone back from {name}: 2 objects are as before.\n"
        "Left as they are, since others changed them meanwhile:\n  GlobalNetworkSet(b)\n"
    )
    assert tortie.names("globalnetworkset") == ["a", "b"]
    nets = [item["spec"]["nets"] for item in tortie.items("globalnetworkset")]
    assert nets == [["10.0.0.0/8"], ["12.0.0.0/8"]]


def test_a_second_change_of_the_same_objects_is_refused(tortie: Tortie, before: dict[str, bytes]) -> None:
    name = apply(tortie)
    after = objects(tortie)
    file = tortie.write("g.yaml", sets("12.0.0.0/8", "c", "d"))
    said = tortie("apply", "-f", file, "--confirm", "60s")
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr.startswith(f"GlobalNetworkSet(c): changed already by what waits for confirmation {name}: ")
    assert objects(tortie) == after
    # Others may wait beside it, and then the user must say which.
    assert tortie("apply", "-f", tortie.write("g.yaml", sets("12.0.0.0/8", "d")), "--confirm", "5m").code == 0
    names = [record.name for record in records(tortie)]
    said = tortie("confirm")
    assert (said.code, said.stderr) == (1, f"Error: several changes wait, name one: {', '.join(names)}\n")


def test_what_differs_in_nothing_needs_no_confirmation(tortie: Tortie, before: dict[str, bytes]) -> None:
    file = tortie.write("f.yaml", sets("10.0.0.0/8", "a", "b"))
    said = tortie("apply", "-f", file, "--confirm", "60s")
    assert said.stdout == (
        "There is nothing to confirm: no object differs from what is stored.\n"
        "Successfully applied 2 'GlobalNetworkSet' resource(s)\n"
    )
    assert (records(tortie), objects(tortie)) == ([], before)


def test_what_is_the_same_is_not_in_the_record(tortie: Tortie, before: dict[str, bytes]) -> None:
    tortie.write("f.yaml", sets("10.0.0.0/8", "a") + sets("11.0.0.0/8", "b", "c"))
    apply(tortie)
    [record] = records(tortie)
    assert record.confirmation is not None
    names = [each.name for each in record.confirmation.objects]
    assert names == ["GlobalNetworkSet(b)", "GlobalNetworkSet(c)"]


def test_of_an_object_that_stands_twice_the_last_counts(tortie: Tortie) -> None:
    tortie.write("f.yaml", sets("10.0.0.0/8", "a", "b") + sets("11.0.0.0/8", "a"))
    apply(tortie)
    assert [item["spec"]["nets"] for item in tortie.items("globalnetworkset")] == [["11.0.0.0/8"], ["10.0.0.0/8"]]


def test_a_tier_and_the_policy_in_it(tortie: Tortie) -> None:
    head = "---\napiVersion: projectcalico.org/v3\n"
    tier = f"{head}kind: Tier\nmetadata: {{name: t}}\nspec: {{order: 1}}\n"
    policy = f"{head}kind: GlobalNetworkPolicy\nmetadata: {{name: t.p}}\nspec: {{tier: t}}\n"
    said = tortie("apply", "-f", tortie.write("f.yaml", tier + policy), "--confirm", "60s")
    assert said.code == 0, said
    go_back_from_all(tortie)
    assert "t" not in tortie.names("tier")
    assert tortie.names("globalnetworkpolicy") == []


def test_when_nothing_could_be_written_nothing_waits(tortie: Tortie) -> None:
    policy = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: t.p}\nspec: {tier: t}\n"
    said = tortie("apply", "-f", tortie.write("f.yaml", policy), "--confirm", "60s")
    assert said.code == 1
    assert re.search(r"^Confirmation [0-9a-f]{8} is withdrawn: nothing was changed\.$", said.stdout, re.MULTILINE)
    assert "resource does not exist: Tier(t)" in said.stderr
    assert records(tortie) == []


@pytest.mark.parametrize("text", ["", "60", "0s", "-5s", "soon", "721h", "500ms"])
def test_a_time_that_makes_no_sense(tortie: Tortie, before: dict[str, bytes], text: str) -> None:
    said = tortie("apply", "-f", "f.yaml", f"--confirm={text}")
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr == f"--confirm {text!r}: must be a duration such as 60s, 5m or 1h30m, from 1s to 720h\n"
    assert objects(tortie) == before


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["confirm"], 1, "no change waits to be confirmed"),
        (["confirm", "abc"], 1, "confirmation abc does not wait"),
        (["confirm", "--undo", "abc"], 1, "waiting: none"),
        (["confirm", "--list", "abc"], 2, "--list takes no ID"),
    ],
)
def test_what_does_not_wait(
    tortie: Tortie, before: dict[str, bytes], words: Sequence[str], code: int, error: str
) -> None:
    said = tortie(*words)
    assert (said.code, said.stdout) == (code, "")
    assert error in said.stderr


def test_the_list(tortie: Tortie, before: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    assert tortie("confirm", "--list").stdout == "No change waits to be confirmed.\n"
    monkeypatch.setenv("SUDO_USER", "alice")
    name = apply(tortie, "1h")
    [listed] = json.loads(tortie("confirm", "--list", "-o", "json").stdout)
    assert (listed["id"], listed["goingBack"], len(listed["objects"])) == (name, False, 3)
    assert 3500 < listed["leftSeconds"] <= 3600
    heading, row = tortie("confirm", "--list").stdout.splitlines()
    assert heading.split() == ["ID", "BY", "DEADLINE", "LEFT", "OBJECTS"]
    assert row.startswith(f"{name}  alice@")
    assert row.endswith("s  GlobalNetworkSet(a), GlobalNetworkSet(b), GlobalNetworkSet(c)")


def test_a_record_that_cannot_be_read(tortie: Tortie, before: dict[str, bytes]) -> None:
    async def put(datastore: Datastore) -> None:
        await datastore.txn([], [Put(f"{PREFIX}x", b"?")])

    ask(tortie, put)
    assert tortie("confirm", "--list").stdout.splitlines()[1].endswith("the record cannot be read")
    assert json.loads(tortie("confirm", "--list", "-o", "json").stdout) == [{"id": "x", "readable": False}]
    said = tortie("confirm", "--undo", "x")
    assert (said.code, f"delete the key {PREFIX}x" in said.stderr) == (1, True)
    apply(tortie)  # it hinders nobody


class Died(BaseException):
    """The command is gone, as by kill -9."""


class Mortal(Wrapped):
    """A store at whose n-th transaction from the record's own on, which is 0, the command dies or the store goes."""

    def __init__(self, store: Datastore, number: int, *, after: bool, how: BaseException) -> None:
        super().__init__(store)
        self._number, self._after, self._how = number, after, how
        self._seen = -1
        self.broken = False

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Write]) -> TxnResult:
        if self.broken:
            raise self._how
        if self._seen >= 0 or any(write.key.startswith(PREFIX) for write in writes):
            self._seen += 1
        if self._seen != self._number:
            return await super().txn(compares, writes)
        self.broken = True
        if self._after:
            await super().txn(compares, writes)
        raise self._how


@pytest.mark.parametrize("how", [Died(), Unavailable("the store is gone")], ids=["dies", "store goes"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", range(4))
def test_whenever_it_ends_all_is_gone_back_from(
    tortie: Tortie,
    before: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    after: bool,
    how: BaseException,
) -> None:
    mortal: list[Mortal] = []

    def opened(*arguments: Any, **options: Any) -> Mortal:
        mortal.append(Mortal(open_datastore(*arguments, **options), number, after=after, how=how))
        return mortal[-1]

    with monkeypatch.context() as patched:
        patched.setattr(cli_store, "open_datastore", opened)
        if isinstance(how, Died):
            with pytest.raises(Died):
                tortie("apply", "-f", "f.yaml", "--confirm", "60s")
        else:
            assert tortie("apply", "-f", "f.yaml", "--confirm", "60s").code == 1
    assert any(each.broken for each in mortal)
    assert len(records(tortie)) == (1 if number or after else 0)
    go_back_from_all(tortie)
    assert objects(tortie) == before
    assert records(tortie) == []


def test_what_is_confirmed_while_it_is_written_is_written_no_further(
    tortie: Tortie, before: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hasty(Wrapped):
        async def txn(self, compares: Sequence[Compare], writes: Sequence[Write]) -> TxnResult:
            result = await super().txn(compares, writes)
            if any(isinstance(write, Put) and write.key.startswith(PREFIX) for write in writes):
                await super().txn([], [Delete(write.key) for write in writes])
            return result

    with monkeypatch.context() as patched:
        patched.setattr(cli_store, "open_datastore", lambda *words, **options: Hasty(open_datastore(*words, **options)))
        said = tortie("apply", "-f", "f.yaml", "--confirm", "60s")
    assert said.code == 1
    assert "is not written: /tortie/v1/confirmations/" in said.stderr
    assert objects(tortie) == before


def test_the_record_has_a_start(tortie: Tortie, before: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Time in which the agents hear of it before they hear of the change."""
    written: dict[bool, list[float]] = {True: [], False: []}  # by whether it is of the record

    class Timed(Wrapped):
        async def txn(self, compares: Sequence[Compare], writes: Sequence[Write]) -> TxnResult:
            moment = time.monotonic()
            result = await super().txn(compares, writes)
            for write in writes:
                is_record = write.key.startswith(PREFIX)
                written[is_record].append(time.monotonic() if is_record else moment)
            return result

    monkeypatch.setattr(provisional, "HEAD_START_S", 0.2)
    with monkeypatch.context() as patched:
        patched.setattr(cli_store, "open_datastore", lambda *words, **options: Timed(open_datastore(*words, **options)))
        apply(tortie)
    [recorded] = written[True]
    assert min(moment for moment in written[False] if moment > recorded) - recorded >= 0.19
