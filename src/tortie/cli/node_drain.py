"""`tortie node drain` and `uncordon`: this host's routes withdrawn before it goes away, and announced again.

The agent does it. Without one the host's own side does, which is handed in: it needs BIRD, which no command may know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from tortie.cli import agent_client, consent
from tortie.cli.configuration import config_option, settings
from tortie.errors import UsageError

if TYPE_CHECKING:
    from tortie.bootstrap import Bootstrap

Answer = Mapping[str, Any]
# Withdraws without an agent; the flag: for good, until the host is uncordoned. Answers as the agent does.
WithoutAgent = Callable[["Bootstrap", bool, float], Answer]

_timeout = click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), default=30.0, show_default=True, help="Seconds."
)
_LISTED = 20


def drain_command(without_agent: WithoutAgent) -> click.Command:
    """The command `drain`."""

    @click.command()
    @consent.yes_option
    @click.option("--until-start", is_flag=True, help="Only until the agent starts; for a host that shuts down.")
    @_timeout
    @config_option
    def drain(yes: bool, until_start: bool, timeout_s: float) -> None:
        """Withdraw this host's routes before it goes away, and let nothing be attached to it.

        \b
        tortie node drain
        tortie node drain --yes && reboot
        tortie node uncordon

        Move the workloads first: one that still runs here is not reached from other hosts any more, and this asks
        before. It ends when no peer has a route from here, so whoever moved away loses no packet when this host goes.
        The sessions stay. It holds across restarts of the agent, of BIRD and of the host, until `uncordon`, and works
        without an agent. Needs root.

        With --until-start, which is what tortie-withdraw.service runs when the host shuts down, nothing is asked, no
        agent may run, and the next one announces again.
        """
        current = settings()
        try:
            board = agent_client.get(current.api_socket, "/v1/status")
        except agent_client.Unreachable:
            board = None
        if until_start:
            if board is not None:
                raise UsageError("--until-start: the agent runs and would announce again: stop it first")
            _report(without_agent(current, False, timeout_s))
            return
        if board is not None:
            _warn(board)
            if running := [name for name, one in board["endpoints"].items() if one["state"] == "up"]:
                _ask(running, yes)
            _report(agent_client.post(current.api_socket, "/v1/drain", {"timeout_s": timeout_s}, timeout_s))
        else:
            click.echo("no agent runs: withdrawing without it", err=True)
            _report(without_agent(current, True, timeout_s))
        click.echo("drained: nothing can be attached here until `tortie node uncordon`")

    return drain


@click.command()
@_timeout
@config_option
def uncordon(timeout_s: float) -> None:
    """Announce this host's routes again after a drain, and let workloads be attached.

    \b
    tortie node uncordon
    """
    current = settings()
    try:
        answer = agent_client.post(current.api_socket, "/v1/uncordon", {"timeout_s": timeout_s}, timeout_s)
    except agent_client.Unreachable:
        was_drained = current.drained.exists()
        current.drained.unlink(missing_ok=True)
        click.echo("no agent runs: the routes are announced when it does", err=True)
    else:
        was_drained = answer["was_drained"]
    click.echo("uncordoned" if was_drained else "this host is not drained")


def _warn(board: Answer) -> None:
    if board["bird"].get("reflector"):
        click.echo(
            "Warning: this host is a route reflector: what it passes on is withdrawn too, so its clients need another",
            err=True,
        )


def _ask(running: Sequence[str], yes: bool) -> None:
    count = f"{len(running)} workload{'s' if len(running) > 1 else ''}"
    click.echo(
        f"{count} still run{'' if len(running) > 1 else 's'} here, and will not be reached from other hosts:", err=True
    )
    for name in sorted(running)[:_LISTED]:
        click.echo(f"  {name}", err=True)
    if len(running) > _LISTED:
        click.echo(f"  and {len(running) - _LISTED} more", err=True)
    consent.ask("drain this host nevertheless?", yes)


def _report(answer: Answer) -> None:
    for address, routes in answer["withdrawn"].items():
        click.echo(f"{address}: {routes} route{'' if routes == 1 else 's'} withdrawn")
    for address in answer["not_told"]:
        click.echo(
            f"Warning: {address} has no session with this host: if it had one within the last two minutes, it may keep"
            " its routes for the rest of them",
            err=True,
        )
