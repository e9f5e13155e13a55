"""The manners of calicoctl: how its commands fail, and the options that all of them take, anywhere on the line.

What it prints to stderr stands alone on its line, without `Error:` and without usage; its exit codes are 0 and 1.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from typing import IO, Any

import click

from tortie.cli.configuration import Unconfigured
from tortie.cli.outcome import Outcome
from tortie.errors import TortieError


class Failure(click.ClickException):
    """Ends the command with exit code 1; the message is on stderr, whole."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(with_default_store(message))

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file or sys.stderr)


class NoClient(Failure):
    """Ends the command before it has a client of the datastore; calicoctl says that on stdout."""

    def __init__(self, error: Unconfigured) -> None:
        missing = f"Error reading config file: {error.missing}" if error.missing else ""
        super().__init__(missing or f"Failed to create Calico API client: {error}")

    def show(self, file: IO[Any] | None = None) -> None:
        super().show(file or sys.stdout)


# calicoctl's words (logrus) and Python's levels; `panic` is the default: say nothing.
LOG_LEVELS = {"panic": 60, "fatal": 50, "error": 40, "warn": 30, "info": 20, "debug": 10}

_ALLOW_MISMATCH = "tortie.allow-version-mismatch"
_DEFAULT_STORE = "tortie.default-store"

# As Go reads them after `--flag=`.
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("0", "f", "F", "false", "False", "FALSE"), False),
}


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


def note_default_store(where: str) -> None:
    """Has the errors of the current command say that the datastore is one that nobody named."""
    if context := click.get_current_context(silent=True):
        context.meta[_DEFAULT_STORE] = where


def with_default_store(message: str) -> str:
    """The error, and the datastore if nobody named it: what is missing there may be in another."""
    context = click.get_current_context(silent=True)
    where: str = context.meta.get(_DEFAULT_STORE, "") if context else ""
    return message if where.rpartition(" (")[2] in message else f"{message}\n{where}"


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


class GlobalOptions(click.Command):
    """A command with the options that all of calicoctl's take."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params += global_options()


class Command(GlobalOptions):
    """A command of calicoctl's."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            raise Failure(_complaint(error)) from None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(_as_click_reads(self.get_params(ctx), args)))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Unconfigured as error:
            raise NoClient(error) from error
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


def word_first(group: click.Group, context: click.Context, args: Sequence[str]) -> list[str]:
    """The line with the options that are none of the group's behind its word, whose options they may be.

    As calicoctl's own parser: of an unknown option that stands alone what follows is the value. Without any word the
    line is `--help`, or as it was.
    """
    own = {name: each for each in group.get_params(context) if isinstance(each, click.Option) for name in each.opts}
    if not args and not context.resilient_parsing:
        return ["--help"]
    before: list[str] = []
    behind: list[str] = []
    position = 0
    while position < len(args) and args[position].startswith("-") and args[position] not in ("-", "--"):
        name, equals, _ = args[position].partition("=")
        option = own.get(name) or own.get(name[:2])
        alone = not equals and (name.startswith("--") or len(name) == 2)
        takes_value = alone and (option is None or not option.is_flag)
        (behind if option is None else before).extend(args[position : position + 1 + takes_value])
        position += 1 + takes_value
    if not behind or position >= len(args):
        return list(args)
    return [*before, args[position], *behind, *args[position + 1 :]]


def check_word(group: click.Group, context: click.Context, word: str) -> None:
    """Raises UsageError, with the word that may be meant, for one that the group does not have."""
    if word.startswith("-") or group.get_command(context, word) is not None:
        return
    import difflib  # only here: most words are right

    close = difflib.get_close_matches(word, group.list_commands(context), n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    raise click.UsageError(f'unknown command "{word}" for "{context.command_path}"{hint}', context)


def _as_click_reads(params: Sequence[click.Parameter], args: Sequence[str]) -> Iterator[str]:
    """The line with `-o=yaml` as `-oyaml`, and `--watch=true` as `--watch`: calicoctl's own parser takes both."""
    flags = {name for each in params if isinstance(each, click.Option) and each.is_flag for name in each.opts}
    rest = iter(args)
    for argument in rest:
        if argument == "--":
            yield argument
            yield from rest
            return
        name, equals, value = argument.partition("=")
        if equals and name in flags:
            if value not in _BOOLEANS:
                raise Failure(f'invalid argument "{value}" for "{name}" flag: it must be true or false')
            if _BOOLEANS[value]:
                yield name
        elif equals and re.fullmatch("-[A-Za-z]", name):
            yield from (name, value)
        else:
            yield argument


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
