"""`tortie node`: this host as a node of the cluster, and what its BIRD says of its peers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Protocol

import click

from tortie.cli import absent, agent_client, calicoctl, consent
from tortie.cli.calicoctl import Failure
from tortie.cli.configuration import config_option, settings
from tortie.cli.node_drain import uncordon
from tortie.cli.tables import bordered
from tortie.errors import UsageError

if TYPE_CHECKING:
    from tortie.bootstrap import Bootstrap

_PEER_TYPES = {"mesh": "node-to-node mesh", "global": "global", "node": "node specific"}


class Words(calicoctl.GlobalOptions, click.Group):
    """A word that has words of its own; options may stand before and after them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, calicoctl.word_first(self, ctx, args))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        calicoctl.check_word(self, ctx, args[0])
        return super().resolve_command(ctx, args)


@click.group(cls=Words)
@config_option
def node() -> None:
    """Make this host a node; show its BGP sessions."""


node.add_command(uncordon)
for _name in absent.NODE_WORDS:
    node.add_command(absent.node_word(_name))


class HostSide(Protocol):
    """What it takes to make this host fit for tortie."""

    def missing(self) -> Iterable[str]:
        """What it lacks, and nothing here can give it."""

    def left_alone(self) -> Iterable[str]:
        """Files that are not ours to write, though they should say something."""

    def steps(self) -> Iterable[str]:
        """What is to be done; nothing when all is done."""

    def do(self) -> Iterable[str]:
        """Does it, and yields what failed."""


def init_command(host_side: Callable[[Bootstrap], HostSide | None]) -> click.Command:
    """The command `init`; the host's side is handed in, and None where there is no host to prepare."""

    @click.command()
    @click.option("--ip", envvar="IP", metavar="CIDR", help="IPv4 address with prefix length; autodetect; none.")
    @click.option(
        "--ip6", envvar="IP6", metavar="CIDR", help="IPv6 address with prefix length; autodetect; default: none."
    )
    @click.option(
        "--ip-autodetection-method",
        "method",
        envvar="IP_AUTODETECTION_METHOD",
        metavar="METHOD",
        default="",
        help="first-found, interface=, skip-interface=, cidr=, can-reach=; default: the kernel's choice.",
    )
    @click.option(
        "--ip6-autodetection-method",
        "method6",
        envvar="IP6_AUTODETECTION_METHOD",
        metavar="METHOD",
        default="",
        help="The same for IPv6.",
    )
    @click.option("--as", "as_number", envvar="AS", metavar="N", help="AS number; default: that of the cluster.")
    @click.option("--name", help="Name of the node; default: the setting `node`, else the host's name.")
    @click.option("--new-cluster", is_flag=True, help="This host belongs to the datastore's cluster from now on.")
    @click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
    @consent.yes_option
    @config_option
    def init(
        ip: str | None,
        ip6: str | None,
        method: str,
        method6: str,
        as_number: str | None,
        name: str | None,
        new_cluster: bool,
        dry_run: bool,
        yes: bool,
    ) -> None:
        """Make this host fit for tortie, and write its Node, so that it exchanges routes with the others.

        \b
        tortie node init --dry-run
        tortie node init
        tortie node init --ip 172.18.203.125/24 --as 65001 --yes
        tortie node init --ip autodetect --ip-autodetection-method interface=bond0

        What it will do to the host is shown first, and asked for: systemd-networkd, NetworkManager and udev are told
        by files of their own to leave workloads and foreign routes alone, and a file keeps the sysctls that the agent
        sets. A file that somebody else wrote or edited is left alone, and what is missing is said. Where nobody can be
        asked, --yes prepares the host; without it the Node alone is written. `tortie node reset` takes all of it back.

        Without an address the kernel's choice is taken: from which it speaks to the BGP peers, the other nodes, the
        datastore, or by the default route; never that of a bridge, nor a virtual or single (/32) one. IP, IP6, AS and
        IP_AUTODETECTION_METHOD in the environment are Calico's.

        What is not given stays as it is in an existing Node, as do its labels. Doing it again changes nothing.

        A host belongs to the cluster that its agent followed first. Another one, or an empty datastore, is refused, and
        the last known state stays in force, until --new-cluster says that it is meant: what the host has of the old
        cluster is then removed.
        """
        from tortie.cli.node_init import Options, accept_cluster, foreseen, initialise, parse_wanted

        current = settings()
        if new_cluster and name not in (None, current.node):
            raise UsageError(f"--new-cluster is about this host, node {current.node}, and cannot go with --name {name}")
        wanted = parse_wanted(Options(ip, ip6, method, method6, as_number))
        side = host_side(current) if name in (None, current.node) else None
        if dry_run:
            click.echo(foreseen(current.access, name or current.node, wanted))
        prepared = _prepare(side, dry_run, yes) if side else True
        if dry_run:
            return
        written = initialise(current.access, name or current.node, wanted)
        click.echo(written.done)
        if new_cluster:
            accept_cluster(current.accepted_cluster, written.cluster)
            click.echo(f"this host belongs to cluster {written.cluster}")
        for warning in written.warnings:
            click.echo(f"Warning: {warning}", err=True)
        if name not in (None, current.node):
            click.echo(f'Warning: the agent of this host is node {current.node}: set node = "{name}" for it', err=True)
        if not prepared:
            raise SystemExit(1)

    return init


def _prepare(side: HostSide, dry_run: bool, yes: bool) -> bool:
    """False when something of it failed."""
    for each in side.missing():
        click.echo(f"Warning: this host lacks {each}", err=True)
    for each in side.left_alone():
        click.echo(f"Warning: {each}", err=True)
    steps = list(side.steps())
    if not steps:
        return True
    if not (dry_run or yes or sys.stdin.isatty()):
        click.echo(
            "Warning: this host is not prepared: see `tortie node init --dry-run`, and do it with --yes", err=True
        )
        return True
    for each in steps:
        click.echo(each)
    if dry_run:
        return True
    consent.ask("prepare this host so?", yes)
    failures = list(side.do())
    for each in failures:
        click.echo(f"Error: {each}", err=True)
    return not failures


@node.command(cls=calicoctl.Command)
@config_option
def status() -> None:
    """Show the BGP sessions of this host.

    \b
    tortie node status
    """
    path = settings().api_socket
    try:
        board = agent_client.get(path, "/v1/status")
    except agent_client.Unreachable as error:
        raise Failure(f"Calico process is not running.\n{error}") from error
    click.echo("Calico process is running.")
    bird = board["bird"]
    if not bird["running"]:
        click.echo("The BGP backend process (BIRD) is not running.")
    else:
        for version in (4, 6):
            click.echo(f"\nIPv{version} BGP status")
            click.echo(_sessions(bird["sessions"], version), nl=False)
    click.echo()


def _sessions(sessions: list[Mapping[str, Any]], version: int) -> str:
    rows = [
        (
            session["address"],
            _PEER_TYPES.get(session["kind"], session["kind"]),
            # BIRD calls a session that is not established `start`, whatever it waits for.
            "up" if session["state"] == "Established" else "start",
            session["since"],
            session["info"],
        )
        for session in sessions
        if ip_address(session["address"]).version == version
    ]
    if not rows:
        return f"No IPv{version} peers found.\n"
    return bordered([("PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO"), *rows])
