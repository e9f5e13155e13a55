"""The manners of calicoctl: how its commands fail, and the options that all of them take, anywhere on the line.

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


# calicoctl's words (logrus) and Python's levels; `panic` is the default: say nothing.
LOG_LEVELS = {"panic": 60, "fatal": 50, "error": 40, "warn": 30, "info": 20, "debug": 10}

_ALLOW_MISMATCH = "tortie.allow-version-mismatch"


def _set_log_level(_: click.Context, __: click.Parameter, level: str | None) -> None:
    if level is None:
        return
    if level not in LOG_LEVELS:
        raise Failure(f"unknown log level: {level}, expected one of: {', '.join(LOG_LEVELS)}")
    import logging  # only here: it takes as long to load as the rest of this module

    logging.basicConfig(level=LOG_LEVELS[level], format="%(asctime)s [%(levelname)s] %(name)s: %(message)s", force=True)


def _note_context(_: click.Context, __: click.Parameter, name: str | None) -> None:
    if name is not None:
        click.echo(f"Warning: --context {name} names a context of Kubernetes, and no datastore here: ignored", err=True)


def _allow_mismatch(context: click.Context, _: click.Parameter, allow: bool) -> None:
    if allow:
        context.meta[_ALLOW_MISMATCH] = True


def mismatch_allowed() -> bool:
    """Whether the line of the current command holds `--allow-version-mismatch`."""
    return bool(click.get_current_context().meta.get(_ALLOW_MISMATCH))


def global_options() -> list[click.Option]:
    """New options for a command, or for `tortie` itself; they act by themselves and are no arguments of the command."""
    return [
        click.Option(
            ["-l", "--log-level"],
            metavar="LEVEL",
            callback=_set_log_level,
            expose_value=False,
            help=f"What to log: {', '.join(LOG_LEVELS)}; default panic.",
        ),
        click.Option(
            ["--context"],
            metavar="NAME",
            callback=_note_context,
            expose_value=False,
            help="Context of Kubernetes: taken for calicoctl's sake, without effect.",
        ),
        click.Option(
            ["--allow-version-mismatch"],
            is_flag=True,
            callback=_allow_mismatch,
            expose_value=False,
            help="Work on a cluster of another version of Calico.",
        ),
    ]


class Command(click.Command):
    """A command of calicoctl's."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params += global_options()

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
