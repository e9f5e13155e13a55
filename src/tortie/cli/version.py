"""`tortie version`: the version of Calico that tortie stands for, and that of the cluster."""

from __future__ import annotations

import asyncio

import click

from tortie import __version__
from tortie.cli import calicoctl, configuration
from tortie.cli.calicoctl import Failure
from tortie.cli.cluster_version import CALICO_VERSION
from tortie.cli.configuration import config_option
from tortie.cli.store import opened
from tortie.datastore.cluster import CLUSTER_INFORMATION
from tortie.errors import DatastoreError, InvalidResource
from tortie.model.scalars import Duration

_VALUES_AT = 19  # column, from 1


@click.command(cls=calicoctl.Command)
@click.option("--client", is_flag=True, help="Only what needs no datastore.")
@click.option("--poll", metavar="DURATION", help="Ask again every so often (1s, 10m), and show what changed.")
@config_option
def version(client: bool, poll: str | None) -> None:
    """Show the version of Calico that tortie behaves as, and the version and type of the cluster.

    \b
    tortie version --client
    tortie version --poll 10s
    tortie --version                tortie's own version
    """
    pause_s = _seconds(poll) if poll else 0.0
    _say("Client Version:", CALICO_VERSION)
    _say("Git commit:", f"tortie-{__version__}")
    if not client:
        asyncio.run(_watch_cluster(pause_s))


async def _watch_cluster(pause_s: float) -> None:
    shown = ("", "")
    while True:
        found = await _cluster()
        if found is None:
            click.echo("Unable to detect installed Calico version")
            shown = ("", "")
        else:
            for label, now, before in zip(("Cluster Version:", "Cluster Type:"), found, shown, strict=True):
                if now != before:
                    _say(label, now)
            shown = found
        if not pause_s:
            return
        await asyncio.sleep(pause_s)


async def _cluster() -> tuple[str, str] | None:
    """Version and type of the cluster; None when it does not say, or does not answer."""
    try:
        async with opened(configuration.access()) as resources:
            spec = (await resources.get(CLUSTER_INFORMATION)).spec
    except (DatastoreError, InvalidResource):
        return None
    return spec.calico_version or "unknown", spec.cluster_type or "unknown"


def _seconds(poll: str) -> float:
    try:
        return Duration.from_json(poll).total_seconds()
    except ValueError:
        raise Failure(f"invalid poll duration specified: {poll}") from None


def _say(label: str, value: str) -> None:
    click.echo(f"{label:<{_VALUES_AT - 1}}{value}")
