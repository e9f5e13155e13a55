"""The options `-f`, `-R` and `--skip-empty`, and the documents that they name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import click

from tortie.cli import documents
from tortie.cli.calicoctl import Failure
from tortie.cli.documents import Document, NothingGiven


class Files(NamedTuple):
    """What the command line says of files."""

    filename: str | None
    recursive: bool
    skip_empty: bool

    def documents(self) -> list[Document]:
        """The documents that `-f` names; ends the command well when there are none and may be none."""
        if self.filename is None:
            raise Failure('required flag(s) "filename" not set')
        try:
            return documents.read(self.filename, recursive=self.recursive, skip_empty=self.skip_empty)
        except NothingGiven:
            if not self.skip_empty:
                raise
            click.echo("No resources specified")
            raise SystemExit(0) from None


def file_options(callback: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that name files; the callback gets them as `files`."""

    @click.option("-f", "--filename", metavar="FILE|-|DIR", help="File, standard input, or directory.")
    @click.option("-R", "--recursive", is_flag=True, help="Take sub-directories too.")
    @click.option("--skip-empty", is_flag=True, help="To find no resource is no error.")
    @functools.wraps(callback)
    def with_files(*, filename: str | None, recursive: bool, skip_empty: bool, **others: Any) -> None:
        callback(files=Files(filename, recursive, skip_empty), **others)

    return with_files
