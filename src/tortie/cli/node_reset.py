"""`tortie node reset`: everything of tortie taken off this host, told before it is done.

What there is and how it goes is the host's side, which is handed in: no command may know kernel and BIRD.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

import click

from tortie.cli import agent_client, consent
from tortie.cli.configuration import config_option, settings
from tortie.errors import UsageError

if TYPE_CHECKING:
    from tortie.bootstrap import Bootstrap


class Found(Protocol):
    """What there is of a part of tortie, or why that cannot be said."""

    @property
    def objects(self) -> Sequence[str]: ...

    @property
    def failure(self) -> str: ...


class HostSide(Protocol):
    """What can be taken off a host."""

    def obstacle(self) -> str:
        """Why nothing may be taken away now."""

    def workloads(self) -> Sequence[str]:
        """The interfaces of workloads that this host serves now."""

    def look(self) -> Iterable[tuple[str, Found]]:
        """What there is of each part, by its name."""

    def take_away(self, name: str) -> str:
        """What stood against it; what is left of a part is known when all have gone."""


def reset_command(host_side: Callable[[Bootstrap, bool, bool], HostSide]) -> click.Command:
    """The command `reset`; the flags: policy alone, and with the datastore."""

    @click.command()
    @click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
    @click.option("--policy-only", is_flag=True, help="Remove chains and sets alone: then everything passes.")
    @click.option("--with-datastore", is_flag=True, help="Remove the local SQLite file too, with all that is in it.")
    @consent.yes_option
    @config_option
    def reset(dry_run: bool, policy_only: bool, with_datastore: bool, yes: bool) -> None:
        """Take everything of tortie off this host, and leave all else as it is.

        \b
        systemctl disable --now tortie-agent
        tortie node reset --dry-run
        tortie node reset

        It lists, and then removes, routes, neighbours, addresses, eBPF programs, chains and sets, BIRD with its routes
        and files, what node init and the agent wrote to files, and gives each sysctl back the value that it had. Peers
        are told first. Interfaces of workloads stay, without connectivity and without policy. /etc/tortie stays, and
        the datastore unless --with-datastore says otherwise. It works on what is there, in whatever state, goes on
        after a failure, and may be repeated. Exit code 1 when something is left. Needs root.

        With --policy-only routes and all else stay, and workloads are open: before going back to a version of tortie
        that knows no policy.
        """
        if policy_only and with_datastore:
            raise UsageError("--policy-only leaves all else, so it cannot go with --with-datastore")
        current = settings()
        side = host_side(current, policy_only, with_datastore)
        found = list(side.look())
        for name, part in found:
            _tell(name, part)
        if not any(part.objects or part.failure for _, part in found):
            click.echo("there is nothing of tortie on this host")
            return
        if dry_run:
            return
        _refuse_beside_an_agent(side, current)
        _warn(side.workloads(), policy_only)
        consent.ask("remove all of this?", yes)
        failures = {name: side.take_away(name) for name, part in found if part.objects or part.failure}
        left = [(name, part) for name, part in side.look() if part.objects or part.failure]
        if left:
            click.echo("\nleft:")
            for name, part in left:
                _tell(name, part, failures.get(name, ""))
            raise SystemExit(1)
        click.echo("\nremoved")

    return reset


def _tell(name: str, found: Found, failure: str = "") -> None:
    if found.objects or found.failure:
        click.echo(name)
    for each in found.objects:
        click.echo(f"  {each}")
    if failure or found.failure:
        click.echo(f"  because: {failure or found.failure}")


def _refuse_beside_an_agent(side: HostSide, current: Bootstrap) -> None:
    if not (why := side.obstacle()):
        try:
            agent_client.get(current.api_socket, "/v1/health/live")
        except agent_client.AgentError:
            return
        why = f"an agent answers on {current.api_socket} and would put everything back: stop it first"
    raise UsageError(f"nothing was removed: {why}")


def _warn(workloads: Sequence[str], policy_only: bool) -> None:
    count = f"{len(workloads)} workload{'s' * (len(workloads) > 1)}"
    if policy_only and workloads:
        click.echo(f"Warning: {count} will be open to everybody: {' '.join(workloads)}", err=True)
    elif workloads:
        click.echo(
            f"Warning: {count} will lose all connectivity, and no policy"
            f" will hold for what they still send: stop them first, or detach them ({' '.join(workloads)})",
            err=True,
        )
