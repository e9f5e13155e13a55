"""The reference of commands, `docs/reference/cli.md`, written from the commands themselves.

Invariant: it says what `--help` says, and nothing else; a test fails when the page is not what this module writes.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import click

_GENERATED = "<!-- Written from the commands by scripts/reference: change their help and run it again. -->"
_INTRODUCTION = """\
`tortie WORD --help` says the same at the terminal. Options may stand anywhere on the line. Results go to stdout and
errors to stderr. calicoctl's commands (`create`, `apply`, `replace`, `patch`, `delete`, `get`, `label`, `validate`,
`version`, `node status`, `node checksystem`, `node diags`) are worded as calicoctl words them and end with 0 or 1;
tortie's own end with 0 (done), 1 (failed) or 2 (the line makes no sense). An interrupted command ends with 130."""


def write(root: click.Group, sections: Mapping[str, Iterable[str]], file: Path) -> None:
    """Writes the page of all words of `root`, which are named by section."""
    file.write_text(page(root, sections))


def page(root: click.Group, sections: Mapping[str, Iterable[str]]) -> str:
    """The page of all words of `root`."""
    context = click.Context(root, info_name=root.name, **root.context_settings)
    lines = [_GENERATED, "", "# Commands", "", _INTRODUCTION, "", *_contents(context, root, sections)]
    lines += ["## Options of all commands", "", *_options(context, root, frozenset())]
    everywhere = frozenset(option for option, _ in _option_rows(context, root))
    for words in sections.values():
        for word in words:
            lines += _of_word(context, root, word, everywhere)
    return "\n".join(lines).rstrip() + "\n"


def _contents(context: click.Context, root: click.Group, sections: Mapping[str, Iterable[str]]) -> Iterator[str]:
    for title, words in sections.items():
        links = ", ".join(f"[{word}](#tortie-{word})" for word in words if root.get_command(context, word))
        yield f"- {title}: {links}"
    yield ""


def _of_word(above: click.Context, group: click.Group, word: str, everywhere: frozenset[str]) -> Iterator[str]:
    """The section of a word, and those of the words below it."""
    command = group.get_command(above, word)
    if command is None or command.hidden:
        return
    context = click.Context(command, info_name=word, parent=above)
    yield f"{'##' if above.parent is None else '###'} {context.command_path}"
    yield ""
    yield from _block([f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}"])
    yield from _text(command.help or "")
    yield from _options(context, command, everywhere)
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            yield from _of_word(context, command, below, everywhere)


def _text(help_text: str) -> Iterator[str]:
    """Click's help as Markdown: what it must not fold is an example."""
    for paragraph in inspect.cleandoc(help_text).split("\n\n"):
        if paragraph.startswith("\b\n"):
            yield from _block(paragraph.splitlines()[1:])
        else:
            yield paragraph
            yield ""


def _options(context: click.Context, command: click.Command, without: frozenset[str]) -> Iterator[str]:
    rows = [(option, text) for option, text in _option_rows(context, command) if option not in without]
    if rows:
        yield "| option | |"
        yield "|---|---|"
        for option, text in rows:
            yield f"| `{option.replace('|', chr(92) + '|')}` | {text.replace('|', chr(92) + '|')} |"
        yield ""


def _option_rows(context: click.Context, command: click.Command) -> Iterator[tuple[str, str]]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None:
            yield record


def _block(lines: Iterable[str]) -> Iterator[str]:
    yield "```sh"
    yield from lines
    yield "```"
    yield ""
