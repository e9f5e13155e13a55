"""`tortie WORD`: finds the program of that word, and loads it only then.

Invariant: neither `--help` nor one program loads what another needs; `tortie attach` knows no HTTP server.
"""

from __future__ import annotations

import errno
import gc
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO, cast

import click

from tortie import __version__
from tortie.errors import TortieError, UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

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


def _node() -> click.Command:
    """`node`, whose words are of two programs: the host's own need no model, the others no collectors."""
    from tortie.cli.calicoctl import Command
    from tortie.cli.configuration import config_option
    from tortie.cli.node import init_command, node
    from tortie.cli.node_drain import drain_command
    from tortie.cli.node_reset import reset_command

    kernel_config = click.Option(
        ["-f", "--kernel-config"],
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Configuration of the kernel; default: where distributions put it.",
    )
    log_directory = click.Option(
        ["--log-dir"],
        type=click.Path(path_type=Path),
        default=Path("/var/log/calico"),
        metavar="DIR",
        help="Log files to take along; default /var/log/calico.",
    )
    for name, callback, options in (
        ("checksystem", _check_system, [kernel_config]),
        ("diags", _diagnose, [log_directory]),
    ):
        node.add_command(config_option(Command(name, callback=callback, params=[*options], help=callback.__doc__)))
    node.add_command(init_command(_prepare))
    node.add_command(drain_command(_withdraw))
    node.add_command(reset_command(_reset))
    return node


def _reset(*asked: Any) -> Any:
    from tortie.host.reset.whole import Reset

    _need_root()
    return Reset(*asked)


def _prepare(settings: Any) -> Any:
    from tortie.host.preparation.whole import Preparation

    # Another user may write a Node, and has no say about the host.
    return Preparation(settings) if os.geteuid() == 0 and Preparation.is_for_this_namespace() else None


def _withdraw(*asked: Any) -> Any:
    from tortie.host import withdrawal

    _need_root()
    return withdrawal.withdraw(*asked)


def _check_system(kernel_config: Path | None) -> None:
    """Say whether this host can do what tortie needs.

    \b
    tortie node checksystem

    Each line ends in OK, FAIL (tortie cannot do without it) or SKIP (only what the line names goes missing). Exit code
    1 when something fails. Needs root.
    """
    from tortie.host import checksystem

    _need_root()
    raise SystemExit(checksystem.main(kernel_config))


def _diagnose(log_dir: Path) -> None:
    """Gather what support needs to know of this host in one archive, without secrets.

    \b
    tortie node diags

    Works with a dead agent, datastore or BIRD too: the archive says what could not be had, and why. Needs root.
    """
    from tortie.cli.configuration import chosen_file, settings
    from tortie.host import diagnostics

    _need_root()
    click.echo("Collecting diagnostics")
    try:
        current = settings()
    except UsageError as error:
        click.echo(f"Warning: {error}: looking in the usual places", err=True)
        current = None
    click.echo(f"Diags saved to {diagnostics.collect(current, diagnostics.places_of(chosen_file(), log_dir))}")


def _doctor() -> click.Command:
    from tortie.cli.configuration import config_option
    from tortie.cli.report_form import form_option

    return config_option(form_option(click.Command("doctor", callback=_examine, help=_examine.__doc__)))


def _examine(form: str) -> None:
    """Say what is wrong with this host, with or without an agent.

    \b
    tortie doctor
    tortie doctor -o json | jq -r '.findings[] | select(.severity == "error") | .do'
    tortie lab exec classic node125 -- tortie doctor

    It looks for firewalls of others that drop what policy accepts, settings of the kernel, other agents and BGP
    daemons, services that remove routes, what the agent reports and whether it and BIRD live, missing features of the
    kernel, full tables, and MTUs that do not fit. It reads, and changes nothing. Root sees all; others are told what
    they could not see. Exit code 0 when nothing is wrong, of which notes are no part, 1 when something is.
    """
    from tortie.cli import terminal
    from tortie.cli.configuration import chosen_file, load
    from tortie.doctor import report
    from tortie.doctor.examination import examine
    from tortie.doctor.host import Host

    try:
        loaded = load()
        host = Host(loaded.settings, oddities=loaded.warnings)
    except UsageError as error:
        if chosen_file() is not None:
            raise
        host = Host(fault=str(error))
    examined = examine(host)
    if form == "json":
        click.echo(report.as_json(examined))
    else:
        for line in report.text(examined):
            terminal.echo(line)
    raise SystemExit(0 if examined.healthy else 1)


def _help() -> click.Command:
    argument = click.Argument(["words"], nargs=-1, metavar="[WORD]...")
    return click.Command("help", callback=_show_help, params=[argument], help=_show_help.__doc__)


def _show_help(words: Sequence[str]) -> None:
    """Show the help of a word.

    \b
    tortie help
    tortie help node status
    """
    from tortie.cli.calicoctl import check_word

    root = context = click.get_current_context().find_root()
    for word in words:
        if not isinstance(context.command, click.Group):
            raise click.UsageError(f"{context.command_path} has no words of its own", root)
        check_word(context.command, context, word)
        command = context.command.get_command(context, word)
        assert command is not None  # it was checked
        context = click.Context(command, info_name=word, parent=context)
    click.echo(context.get_help())


def _need_root() -> None:
    if os.geteuid() != 0:
        click.echo("Need super user privileges: Operation not permitted")
        raise SystemExit(1)


# In the order of `--help`.
SECTIONS: dict[str, dict[str, Program]] = {
    "Resources": {
        "apply": Program(_at("tortie.cli.write", "apply"), "Create or update resources."),
        "confirm": Program(_at("tortie.cli.confirm", "confirm"), "Keep what was applied with --confirm, or undo it."),
        "create": Program(_at("tortie.cli.write", "create"), "Create resources."),
        "replace": Program(_at("tortie.cli.write", "replace"), "Update resources."),
        "delete": Program(_at("tortie.cli.delete", "delete"), "Delete resources."),
        "patch": Program(_at("tortie.cli.patch", "patch"), "Change fields of a resource."),
        "label": Program(_at("tortie.cli.label", "label"), "Set or remove a label of a resource."),
        "validate": Program(_at("tortie.cli.write", "validate"), "Say whether files are right; change nothing."),
        "version": Program(_at("tortie.cli.version", "version"), "Show the version of Calico, ours and the cluster's."),
        "get": Program(_at("tortie.cli.get", "get"), "Show resources."),
        "diff": Program(_at("tortie.cli.diff", "diff"), "Show what apply would change."),
        "edit": Program(_at("tortie.cli.edit", "edit"), "Change a resource in your editor."),
        "explain-kind": Program(_at("tortie.cli.explain_kind", "explain_kind"), "Say what a kind or a field means."),
        "api-resources": Program(_at("tortie.cli.api_resources", "api_resources"), "Show the kinds of resources."),
    },
    "Policy": {
        "explain": Program(_at("tortie.cli.explain", "explain_command"), "Say who may speak to whom, and why not."),
        "plan": Program(_at("tortie.cli.plan", "plan"), "Say whom a change would cut off, and whom let in."),
        "policy": Program(_at("tortie.cli.policy", "policy"), "Show whom a policy applies to."),
        "endpoint": Program(_at("tortie.cli.policy", "endpoint"), "Show which policies apply to an endpoint."),
        "drops": Program(_at("tortie.cli.packets", "drops"), "Show which packets this host dropped, and why."),
        "logs": Program(_at("tortie.cli.packets", "logs"), "Show which packets rules with the action Log named."),
    },
    "The datastore": {
        "datastore": Program(_at("tortie.cli.datastore", "datastore"), "Look at it, lock it, check it, move it."),
    },
    "This host": {
        "attach": Program(_at("tortie.cli.attach", "attach"), "Connect a workload."),
        "detach": Program(_at("tortie.cli.attach", "detach"), "Disconnect a workload."),
        "status": Program(_at("tortie.cli.status", "status"), "Say whether this host does what it should."),
        "doctor": Program(_doctor, "Say what is wrong with this host, also without an agent."),
        "node": Program(_node, "Make this host a node; show its BGP sessions; check and diagnose it."),
        "agent": Program(_agent, "Run the agent."),
    },
    "This command": {
        "help": Program(_help, "Show the help of a word."),
        "completion": Program(_at("tortie.cli.completion", "completion"), "Print the completion of a shell."),
    },
    "Trying things out": {
        "lab": Program(_at("tortie.lab.command", "lab"), "Hosts, workloads and routers in network namespaces."),
    },
}
PROGRAMS = {word: program for section in SECTIONS.values() for word, program in section.items()}


class _Failed(click.ClickException):
    """Ends tortie with a sentence on stderr."""

    def __init__(self, error: TortieError) -> None:
        from tortie.cli.calicoctl import with_default_store

        super().__init__(with_default_store(str(error)))
        self._is_usage = isinstance(error, UsageError)

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # click only reads it
        return 2 if self._is_usage else 1


class Programs(click.Group):
    """The words and their programs. What goes wrong ends in one sentence, and exit code 2 (usage) or 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(PROGRAMS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in PROGRAMS:
            return PROGRAMS[cmd_name].load()
        from tortie.cli import absent

        return absent.word(cmd_name) if cmd_name in absent.WORDS else None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        from tortie.cli.calicoctl import word_first

        return super().parse_args(ctx, word_first(self, ctx, args))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from tortie.cli.calicoctl import check_word

        check_word(self, ctx, args[0])
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # Not click's own way: that loads every program for the sake of its summary.
        from click.shell_completion import CompletionItem

        words = [
            CompletionItem(word, help=program.summary)
            for word, program in PROGRAMS.items()
            if word.startswith(incomplete)
        ]
        return words + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, programs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(word, program.summary) for word, program in programs.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TortieError as error:
            raise _Failed(error) from error
        except KeyboardInterrupt:
            click.echo("Interrupted", err=True)
            raise click.exceptions.Exit(_INTERRUPTED) from None


def command() -> click.Group:
    """The command `tortie`."""
    from tortie.cli.calicoctl import global_options
    from tortie.cli.configuration import config_option

    settings = {"help_option_names": ["-h", "--help"]}
    group = Programs("tortie", params=[*global_options()], help=HELP, context_settings=settings)
    return click.version_option(__version__, message="tortie %(version)s")(config_option(group))


# What a script may call tortie, so that it finds the name it knows in the texts.
NAMES = ("tortie", "calicoctl", "kubectl-calico")

_INTERRUPTED = 130  # as a shell calls what ended by SIGINT
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main() -> None:
    _open_streams()
    called = Path(sys.argv[0]).name
    try:
        command().main(prog_name=called if called in NAMES else NAMES[0])
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        sys.stdout = _nowhere("w")  # for what Python writes at its end
        click.echo(f"Error: {error.filename or 'the output'} cannot be written: {error.strerror}", err=True)
        raise SystemExit(1) from None
    finally:
        gc.freeze()  # what goes with the process need not be looked through once more, for 20 ms


def _open_streams() -> None:
    """Gives the program the standard streams that its caller closed, empty."""
    sys.stdin = sys.stdin or _nowhere("r")
    sys.stdout = sys.stdout or _nowhere("w")
    sys.stderr = sys.stderr or _nowhere("w")


def _nowhere(mode: str) -> TextIO:
    return cast("TextIO", Path(os.devnull).open(mode))


if __name__ == "__main__":
    main()
