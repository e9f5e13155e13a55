"""Asking before something is done that hurts: on a terminal by a question, elsewhere by `--yes` alone."""

from __future__ import annotations

import sys

import click

from tortie.errors import UsageError

yes_option = click.option("-y", "--yes", is_flag=True, help="Do it without asking.")


def ask(question: str, yes: bool) -> None:
    """Returns when the user agrees; raises UsageError where nobody can be asked, and Abort for a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nothing was done: there is no terminal to ask on, and --yes was not given")
    click.confirm(question, abort=True, err=True)
