"""The manners of calicoctl: how its commands fail, and the options that they share.

What it prints to stderr stands alone on its line, without `Error:` and without usage; its exit codes are 0 and 1.
"""

from __future__ import annotations

import sys
from typing import IO, Any

import click

from tortie.cli.outcome import Outcome
from tortie.errors import TortieError


class Failure(click.ClickException):
    """Ends the command with exit code 1; the message is on stderr, whole."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file or sys.stderr)


class Command(click.Command):
    """A command of calicoctl's."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            raise Failure(_complaint(error)) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TortieError as error:
            # Only here: `node status` needs nothing of the resource model.
            from tortie.cli.wording import sentence

            raise Failure(sentence(error)) from error


namespace_option = click.option("-n", "--namespace", metavar="NAMESPACE", help="Namespace; default `default`.")


def report(outcome: Outcome) -> None:
    """Says what came of it; with errors it ends the command."""
    if outcome.stdout:
        click.echo(outcome.stdout)
    if outcome.stderr:
        raise Failure(outcome.stderr)


def _complaint(error: click.UsageError) -> str:
    """Bad usage as calicoctl's own parser words it."""
    match error:
        case click.NoSuchOption(option_name=name) if name.startswith("--"):
            return f"unknown flag: {name}"
        case click.NoSuchOption(option_name=name):
            return f"unknown shorthand flag: '{name[1:]}' in {name}"
        case click.BadOptionUsage(option_name=name) if name.startswith("--"):
            return f"flag needs an argument: {name}"
        case click.BadOptionUsage(option_name=name):
            return f"flag needs an argument: '{name[1:]}' in {name}"
    return error.format_message()
