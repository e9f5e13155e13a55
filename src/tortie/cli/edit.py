"""`tortie edit`: an object in the user's editor, and back into the datastore if nobody changed it meanwhile.

Invariants: what was edited is written at the revision that was read, or not at all; and it is never lost: whatever
fails, the user's text stays in a file that the message names.
"""

from __future__ import annotations

import asyncio
import difflib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace

from tortie.access import Access
from tortie.cli import configuration, documents, output
from tortie.cli.answer import Stored
from tortie.cli.calicoctl import GlobalOptions, namespace_option
from tortie.cli.cluster_version import check_version
from tortie.cli.complete import complete_subject
from tortie.cli.configuration import config_option
from tortie.cli.diff import coloured
from tortie.cli.judge import judge
from tortie.cli.namespaces import Namespaces
from tortie.cli.nearest import hinting
from tortie.cli.store import opened
from tortie.cli.subjects import named
from tortie.cli.wording import sentence
from tortie.errors import Conflict, InvalidResource, TortieError, UsageError
from tortie.model.kinds import kind_named
from tortie.model.resource import Quarantined, Resource, ResourceKey

_HEADER = (
    "Edit the object below; lines that begin with # do not count. An empty file cancels.",
    "When the file is not right it opens again, with the reasons here.",
)


class Abandoned(TortieError):
    """The user gave up on a text that is not right."""


class Wrong(Exception):
    """The text is not what may be stored; the editor opens again with these reasons."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


@click.command(cls=GlobalOptions)
@click.argument("kind", shell_complete=complete_subject)
@click.argument("name", shell_complete=complete_subject)
@namespace_option
@config_option
def edit(kind: str, name: str, namespace: str | None) -> None:
    """Change an object in your editor: $VISUAL, else $EDITOR, else vi.

    \b
    tortie edit ippool pool-a
    EDITOR='code --wait' tortie edit policy web -n default

    The object is written as you leave it, unless somebody else changed it while you did. What cannot be written opens
    again with the reasons at its top; leave it unchanged to give up.
    """
    (subject,) = named(kind_named(kind), [name], Namespaces(namespace or ""))
    access = configuration.access()
    stored = asyncio.run(_read(access, subject.key))
    directory = Path(tempfile.mkdtemp(prefix="tortie-edit-"))  # 0700: nobody else reads or replaces the file
    file = directory / f"{subject.key.kind.lower()}-{name}.yaml"
    original = output.as_document("yaml", output.document(stored))
    try:
        done = _edited(access, stored, original, file)
    except (TortieError, KeyboardInterrupt) as error:
        if not file.exists() or _body_of(file).strip() in ("", original.strip()):
            shutil.rmtree(directory, ignore_errors=True)
            raise
        reason = sentence(error) if isinstance(error, TortieError) else "interrupted"
        again = f"`tortie apply -f {file}` tries again"
        if isinstance(error, Conflict):
            again += ", and overwrites what others wrote if you take out resourceVersion"
        raise click.ClickException(f"{reason}\nYour changes are kept in {file}: {again}") from error
    shutil.rmtree(directory, ignore_errors=True)
    click.echo(done)


def _edited(access: Access, stored: Stored, original: str, file: Path) -> str:
    """What was done, in words."""
    text, reasons = original, list[str]()
    if isinstance(stored, Quarantined):
        reasons = sentence(InvalidResource(str(stored.key), stored.problems)).splitlines()
    while True:
        _write(file, [*_HEADER, *reasons], text)
        _open(file)
        edited = _body_of(file)
        if not edited.strip():
            return "Edit cancelled, the file was empty."
        if edited == original:
            return "Edit cancelled, no changes made."
        if reasons and edited == text:
            raise Abandoned("Edit cancelled, the object is still not right:\n" + "\n".join(reasons))
        text = edited
        try:
            asyncio.run(_write_back(access, stored, file))
        except Wrong as error:
            reasons = [line for reason in error.reasons for line in reason.splitlines()]
        except Conflict as error:
            changes = "\n".join(_changed_meanwhile(access, stored, original))
            raise Conflict(f"{error}\n{changes}") from error
        else:
            return f"Successfully edited 1 '{stored.key.kind}' resource"


async def _read(access: Access, key: ResourceKey) -> Stored:
    """The object, also one that breaks the rules of its kind: it is here to be repaired."""
    async with opened(access) as resources:
        await check_version(resources)
        async with hinting(resources, key):
            stored = await resources.find(key)
    if isinstance(stored, Quarantined) and stored.document is None:
        raise InvalidResource(str(key), stored.problems)
    return stored


async def _write_back(access: Access, stored: Stored, file: Path) -> None:
    """Replaces the stored object by what the file says; raises Wrong when it says nothing that may be stored."""
    try:
        given = documents.read(str(file))
    except UsageError as error:
        raise Wrong([str(error).replace(f"{file}: ", "")]) from error
    if len(given) != 1:
        raise Wrong([f"the file must hold one object, and holds {len(given)}"])

    async def find(key: ResourceKey) -> Resource[Any] | None:
        return stored if isinstance(stored, Resource) and key == stored.key else None

    judged = await judge(given, Namespaces(stored.key.namespace), find)
    if reasons := [*judged.unreadable, *judged.wrong]:
        raise Wrong([reason.partition(f" (in {file}")[0] for reason in reasons])
    (resource,) = judged.resources
    if resource.key != stored.key:
        raise Wrong([f"the object must stay {stored.key}, and is {resource.key}: create another with `tortie create`"])
    async with opened(access) as resources:
        try:
            # At the revision that was read, whatever has become of it in the text.
            await resources.update(replace(resource, revision=stored.revision))
        except (InvalidResource, UsageError) as error:
            raise Wrong([sentence(error)]) from error


def _changed_meanwhile(access: Access, stored: Stored, original: str) -> Iterable[str]:
    """What others did to the object while it was edited."""
    try:
        now = output.as_document("yaml", output.document(asyncio.run(_read(access, stored.key))))
    except TortieError as error:
        return [sentence(error)]
    names = (f"{stored.key} (as you got it)", f"{stored.key} (now)")
    return coloured(difflib.unified_diff(original.splitlines(), now.splitlines(), *names, lineterm=""))


def _write(file: Path, comments: Sequence[str], text: str) -> None:
    head = "".join(f"# {line}\n" for line in comments)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(f"{head}#\n{text}")


def _body_of(file: Path) -> str:
    """The text of the file without the comments at its top."""
    lines = file.read_bytes().decode(errors="replace").splitlines(keepends=True)
    first = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(lines[first:])


def _open(file: Path) -> None:
    """Runs the editor and waits for its end; raises UsageError when it fails."""
    words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    try:
        status = subprocess.run([*words, str(file)], check=False).returncode
    except OSError as error:
        raise UsageError(f"editor {words[0]}: {error.strerror}: set $EDITOR to yours") from error
    if status:
        raise UsageError(f"editor {shlex.join(words)} ended with status {status}: nothing is changed")
