"""`tortie edit`, with scripts in the editor's place."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Tortie
from tortie.model.resource import ResourceKey

HEAD = {"apiVersion": "projectcalico.org/v3", "kind": "IPPool"}
POOL = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: pool-a}\nspec: {cidr: 10.65.0.0/16}\n"


class Editor:
    """Programs that edit the file that they are given; the n-th script is run the n-th time, then the last."""

    def __init__(self, tortie: Tortie) -> None:
        self.tortie = tortie
        self.seen = tortie.directory / "seen"
        self.seen.mkdir()

    def __call__(self, *scripts: str) -> None:
        for number, script in enumerate(scripts):
            (self.tortie.directory / f"script-{number}").write_text(script)
        program = self.tortie.directory / "editor"
        program.write_text(
            "#!/bin/sh\n"
            'n=$(ls "$SEEN" | wc -l); cp "$1" "$SEEN/$n"; stat -c %a "$1" "$(dirname "$1")" > "$MODES"\n'
            f'[ $n -lt {len(scripts)} ] || n={len(scripts) - 1}\n. "$(dirname "$0")/script-$n"\n'
        )
        program.chmod(0o755)
        self.tortie.environment |= {
            "EDITOR": str(program),
            "SEEN": str(self.seen),
            "MODES": str(self.tortie.directory / "modes"),
        }

    @property
    def opened(self) -> list[str]:
        """What the editor was given, each time."""
        return [path.read_text() for path in sorted(self.seen.iterdir())]


@pytest.fixture
def editor(tortie: Tortie, monkeypatch: pytest.MonkeyPatch) -> Editor:
    monkeypatch.setattr(tempfile, "tempdir", str(tortie.directory))
    for name in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    assert tortie("apply", "-f", "-", stdin=POOL).code == 0
    return Editor(tortie)


def spec(tortie: Tortie) -> dict[str, Any]:
    (item,) = tortie.items("ippool")
    found: dict[str, Any] = item["spec"]
    return found


def kept(tortie: Tortie) -> list[Path]:
    return list(tortie.directory.glob("tortie-edit-*/*"))


def test_a_change_is_written_and_no_file_stays(tortie: Tortie, editor: Editor) -> None:
    editor("sed -i 's/blockSize: 26/blockSize: 26\\n  natOutgoing: true/' \"$1\"")
    assert tortie("edit", "ippool", "pool-a") == (0, "Successfully edited 1 'IPPool' resource\n", "")
    assert spec(tortie)["natOutgoing"] is True
    assert list(tortie.directory.glob("tortie-edit-*")) == []


def test_the_file_is_its_owners_alone_and_holds_the_object(tortie: Tortie, editor: Editor) -> None:
    editor("true")
    tortie("edit", "ippool", "pool-a")
    assert (tortie.directory / "modes").read_text().split() == ["600", "700"]
    (text,) = editor.opened
    assert text.startswith("# ")
    assert "\n  cidr: 10.65.0.0/16\n" in text


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("true", "Edit cancelled, no changes made.\n"),
        ("sed -i '1i # a comment of mine' \"$1\"", "Edit cancelled, no changes made.\n"),
        (': > "$1"', "Edit cancelled, the file was empty.\n"),
        ("sed -i '/^[^#]/d' \"$1\"", "Edit cancelled, the file was empty.\n"),
    ],
)
def test_nothing_to_do(tortie: Tortie, editor: Editor, script: str, said: str) -> None:
    editor(script)
    assert tortie("edit", "ippool", "pool-a") == (0, said, "")
    assert list(tortie.directory.glob("tortie-edit-*")) == []


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("s/cidr: .*/cidr: 10.66.0.0\\/16/", "IPPool CIDR cannot be modified"),
        ("s/cidr: .*/cidr: 10.66.0.0/", "spec.cidr"),
        ("s/cidr:/cdir:/", "spec.cdir"),
        ("s/spec:/spec: [/", "line "),
        ("s/name: pool-a/name: pool-b/", "the object must stay IPPool\\(pool-a\\), and is IPPool\\(pool-b\\)"),
        ("$a ---\\n{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n}}", "must hold one object"),
    ],
)
def test_what_is_wrong_opens_again_with_the_reasons(tortie: Tortie, editor: Editor, wrong: str, reason: str) -> None:
    right = POOL.replace("spec: {", "spec: {natOutgoing: true, ")
    editor(f"sed -i '{wrong}' \"$1\"", f'printf "%s" "{right}" > "$1"')
    assert tortie("edit", "ippool", "pool-a").code == 0
    first, second = editor.opened
    comments = "\n".join(line for line in second.splitlines() if line.startswith("#"))
    assert re.search(reason, comments), comments
    assert str(tortie.directory) not in comments
    assert second.partition("#\n")[2] != first.partition("#\n")[2]  # the user's text, not the stored one
    assert spec(tortie)["natOutgoing"] is True


def test_giving_up_on_what_is_wrong_keeps_it(tortie: Tortie, editor: Editor) -> None:
    editor("sed -i 's/cidr:/cdir:/' \"$1\"", "true")
    said = tortie("edit", "ippool", "pool-a")
    assert (said.code, said.stdout) == (1, "")
    (file,) = kept(tortie)
    assert "cdir: 10.65.0.0/16" in file.read_text()
    assert str(file) in said.stderr
    assert "spec.cdir" in said.stderr
    assert "cdir" not in spec(tortie)


def broken(tortie: Tortie, document: object) -> None:
    tortie.put(ResourceKey("IPPool", "", "broken"), document)


def test_what_is_broken_in_the_store_is_repaired(tortie: Tortie, editor: Editor) -> None:
    broken(tortie, {**HEAD, "metadata": {"name": "broken", "labels": {"a": "b"}}, "spec": {"cidr": "x"}})
    editor("sed -i 's/cidr: x/cidr: 10.66.0.0\\/16/' \"$1\"")
    assert tortie("edit", "ippool", "broken") == (0, "Successfully edited 1 'IPPool' resource\n", "")
    (text,) = editor.opened
    assert "# error with field spec.cidr = 'x' (IPPool CIDR must be a valid subnet)\n" in text
    assert "resourceVersion: " in text
    (repaired,) = (item for item in tortie.items("ippool") if item["metadata"]["name"] == "broken")
    assert repaired["spec"]["cidr"] == "10.66.0.0/16"
    assert repaired["metadata"]["labels"] == {"a": "b"}


def test_what_is_broken_may_stay_so(tortie: Tortie, editor: Editor) -> None:
    broken(tortie, {**HEAD, "metadata": {"name": "broken"}, "spec": {"cidr": "x"}})
    editor("true")
    assert tortie("edit", "ippool", "broken") == (0, "Edit cancelled, no changes made.\n", "")
    assert kept(tortie) == []


def test_what_is_no_object_cannot_be_edited(tortie: Tortie, editor: Editor) -> None:
    broken(tortie, [1])
    said = tortie("edit", "ippool", "broken")
    assert (said.code, said.stdout, editor.opened) == (1, "", [])
    assert said.stderr.startswith("Error: IPPool(broken): ")


def test_somebody_was_faster(tortie: Tortie, editor: Editor) -> None:
    other = POOL.replace("spec: {", "spec: {disabled: true, ")
    tortie.write("other.yaml", other)
    editor(
        "sed -i 's/blockSize: 26/blockSize: 26\\n  natOutgoing: true/' \"$1\"\n"
        f'"{sys.executable}" -m tortie apply -f "{tortie.directory}/other.yaml" > /dev/null'
    )
    said = tortie("edit", "ippool", "pool-a")
    assert said.code == 1
    assert "update conflict: IPPool(pool-a)" in said.stderr
    assert "+  disabled: true" in said.stderr
    (file,) = kept(tortie)
    assert "natOutgoing: true" in file.read_text()
    assert str(file) in said.stderr
    assert spec(tortie)["disabled"] is True
    assert "natOutgoing" not in spec(tortie)


def test_a_conflict_cannot_be_edited_away(tortie: Tortie, editor: Editor) -> None:
    tortie.write("other.yaml", POOL.replace("spec: {", "spec: {disabled: true, "))
    editor(
        "sed -i 's/blockSize: 26/blockSize: 26\\n  natOutgoing: true/; /resourceVersion/d' \"$1\"\n"
        f'"{sys.executable}" -m tortie apply -f "{tortie.directory}/other.yaml" > /dev/null'
    )
    assert "update conflict" in tortie("edit", "ippool", "pool-a").stderr


def test_deleted_meanwhile(tortie: Tortie, editor: Editor) -> None:
    editor(
        "sed -i 's/blockSize: 26/blockSize: 26\\n  natOutgoing: true/' \"$1\"\n"
        f'"{sys.executable}" -m tortie delete ippool pool-a > /dev/null'
    )
    said = tortie("edit", "ippool", "pool-a")
    assert (said.code, len(kept(tortie))) == (1, 1)
    assert "resource does not exist: IPPool(pool-a)" in said.stderr
    assert str(kept(tortie)[0]) in said.stderr


@pytest.mark.usefixtures("editor")
@pytest.mark.parametrize(("program", "reason"), [("/no/such", "No such file"), ("false", "ended with status 1")])
def test_an_editor_that_fails(tortie: Tortie, program: str, reason: str) -> None:
    tortie.environment["EDITOR"] = program
    said = tortie("edit", "ippool", "pool-a")
    assert said.code == 2
    assert reason in said.stderr
    assert list(tortie.directory.glob("tortie-edit-*")) == []  # nothing was edited


def test_an_editor_that_fails_after_an_edit(tortie: Tortie, editor: Editor) -> None:
    editor("sed -i 's/blockSize: 26/blockSize: 27/' \"$1\"; exit 3")
    said = tortie("edit", "ippool", "pool-a")
    assert said.code == 1
    assert "blockSize: 27" in kept(tortie)[0].read_text()


def test_visual_comes_first_and_both_may_have_arguments(tortie: Tortie, editor: Editor) -> None:
    editor("true")
    tortie.environment |= {"VISUAL": "sed -i s/blockSize:.26/natOutgoing:\\ true/", "EDITOR": "false"}
    assert tortie("edit", "ippool", "pool-a").code == 0
    assert spec(tortie)["natOutgoing"] is True


def test_what_is_not_there(tortie: Tortie, editor: Editor) -> None:
    editor("true")
    said = tortie("edit", "ippool", "pool-b")
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr.endswith("IPPool(pool-b) with error: <nil>; did you mean 'pool-a'?\n")
    assert tortie("edit", "ipool", "x").code == 2
    assert editor.opened == []
