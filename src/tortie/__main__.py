"""`tortie WORD`: finds the program of that word, and loads it only then.

Invariant: neither `--help` nor one program loads what another needs; `tortie attach` knows no HTTP server.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import click

from tortie import __version__
from tortie.errors import TortieError, UsageError

HELP = """Plain IP routing for containers, virtual machines and processes: Calico's data path without Kubernetes.

\b
tortie node init                                     make this host a node of the cluster
tortie apply -f pool.yaml                            write resources to the datastore
tortie attach web --netns web --address 10.65.0.24   connect a workload
tortie status                                        see whether this host does what it should
tortie lab up classic                                try it out, in network namespaces
"""


class Program(NamedTuple):
    """A word of the command line: what loads its command, and what the list of commands says of it."""

    load: Callable[[], click.Command]
    summary: str


def _at(module: str, name: str) -> Callable[[], click.Command]:
    def load() -> click.Command:
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    return load


def _agent() -> click.Command:
    from tortie.cli.configuration import config_option

    return config_option(click.Command("agent", callback=_run_agent, help=_run_agent.__doc__))


def _run_agent() -> None:
    """Run this host's agent, in the foreground.

    It programs the routes of the workloads on this host and configures BIRD. Stopping it stops no traffic: a new
    agent finds what is there and goes on. Log on stderr; exit code 1 when it cannot start.
    """
    from tortie.agent.program import run
    from tortie.cli.configuration import load

    loaded = load()
    raise SystemExit(run(loaded.settings, loaded.warnings))


# In the order of `--help`.
SECTIONS: dict[str, dict[str, Program]] = {
    "Resources": {
        "apply": Program(_at("tortie.cli.write", "apply"), "Create or update resources."),
        "create": Program(_at("tortie.cli.write", "create"), "Create resources."),
        "replace": Program(_at("tortie.cli.write", "replace"), "Update resources."),
        "delete": Program(_at("tortie.cli.delete", "delete"), "Delete resources."),
        "get": Program(_at("tortie.cli.get", "get"), "Show resources."),
    },
    "This host": {
        "attach": Program(_at("tortie.cli.attach", "attach"), "Connect a workload."),
        "detach": Program(_at("tortie.cli.attach", "detach"), "Disconnect a workload."),
        "status": Program(_at("tortie.cli.status", "status"), "Say whether this host does what it should."),
        "node": Program(_at("tortie.cli.node", "node"), "Make this host a node; show its BGP sessions."),
        "agent": Program(_agent, "Run the agent."),
    },
    "Trying things out": {
        "lab": Program(_at("tortie.lab.command", "lab"), "Hosts, workloads and routers in network namespaces."),
    },
}
PROGRAMS = {word: program for section in SECTIONS.values() for word, program in section.items()}


class _Failed(click.ClickException):
    """Ends tortie with a sentence on stderr."""

    def __init__(self, error: TortieError) -> None:
        super().__init__(str(error))
        self._is_usage = isinstance(error, UsageError)

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # click only reads it
        return 2 if self._is_usage else 1


class Programs(click.Group):
    """The words and their programs. What goes wrong ends in one sentence, and exit code 2 (usage) or 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(PROGRAMS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return PROGRAMS[cmd_name].load() if cmd_name in PROGRAMS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if word not in PROGRAMS and not word.startswith("-"):
            close = difflib.get_close_matches(word, PROGRAMS, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(f'unknown command "{word}" for "tortie"{hint}', ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, programs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(word, program.summary) for word, program in programs.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TortieError as error:
            raise _Failed(error) from error


def command() -> click.Command:
    """The command `tortie`."""
    from tortie.cli.configuration import config_option

    group = Programs("tortie", help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
    return click.version_option(__version__, message="tortie %(version)s")(config_option(group))


def main() -> None:
    command().main(prog_name="tortie")


if __name__ == "__main__":
    main()
