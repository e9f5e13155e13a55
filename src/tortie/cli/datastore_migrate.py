"""`tortie datastore migrate` and `migrate-policy-names`: calicoctl's words, sentences, streams and exit codes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from tortie.access import Access
from tortie.cli import calicoctl
from tortie.cli.calicoctl import Failure
from tortie.cli.configuration import config_option, settings


@click.group()
def migrate() -> None:
    """Move a cluster as calicoctl does: by its resources.

    `tortie datastore export`, `import` and `copy` move all of it, workload endpoints and what is not understood too.
    """


@migrate.command(cls=calicoctl.Command)
@config_option
def lock() -> None:
    """Lock the datastore: agents act on no change until it is unlocked."""
    asyncio.run(_set_ready(settings().access, ready=False))
    click.echo("Datastore locked.")


@migrate.command(cls=calicoctl.Command)
@config_option
def unlock() -> None:
    """Unlock the datastore."""
    asyncio.run(_set_ready(settings().access, ready=True))
    click.echo("Datastore unlocked.")


@migrate.command("export", cls=calicoctl.Command)
@config_option
def export_() -> None:
    """Write the resources of a locked datastore to standard output, but for WorkloadEndpoints and Profiles.

    \b
    tortie datastore migrate lock
    tortie datastore migrate export > etcd-data
    """
    from tortie.cli.migration import export

    sys.stdout.write(asyncio.run(export(settings().access)))


@migrate.command("import", cls=calicoctl.Command)
@click.option("-f", "--filename", metavar="FILE|-", help="What `migrate export` wrote, of calicoctl or tortie.")
@config_option
def import_(filename: str | None) -> None:
    """Fill an empty datastore from what `migrate export` wrote; it is locked afterwards.

    \b
    tortie datastore migrate import -f etcd-data
    tortie datastore migrate unlock
    """
    from tortie.cli.migration import import_from

    if filename is None:
        raise Failure('required flag(s) "filename" not set')
    try:
        data = sys.stdin.buffer.read() if filename == "-" else Path(filename).read_bytes()
    except OSError as error:
        raise Failure(f"error while reading migration file: {filename}: {error.strerror}") from error
    asyncio.run(import_from(settings().access, data, filename))


@click.command("migrate-policy-names", cls=calicoctl.Command)
@config_option
def migrate_policy_names() -> None:
    """Store policies of Calico before v3.32 under their names, without the prefix `default.`; may be repeated."""
    from tortie.cli.migration import rename_policies

    migrated = asyncio.run(rename_policies(settings().access))
    click.echo(f"Policy name migration complete, migrated {migrated} policies.")


async def _set_ready(access: Access, *, ready: bool) -> None:
    from tortie.cli.cluster_version import check_version
    from tortie.cli.datastore_lock import change
    from tortie.cli.store import opened_store
    from tortie.datastore.resources import Resources

    async with opened_store(access) as datastore:
        await check_version(Resources(datastore))
        await change(datastore, ready=ready)
