"""`tortie datastore`: which store it is, whether it is in order, and how a cluster gets from one to another."""

from __future__ import annotations

import json

import click

from tortie.cli.configuration import config_option, settings
from tortie.cli.datastore_migrate import migrate, migrate_policy_names
from tortie.cli.report_form import form_option
from tortie.cli.store import answered
from tortie.cli.tables import aligned


@click.group()
def datastore() -> None:
    """Look at the datastore, lock it, check it, move it.

    \b
    tortie datastore info                                which one it is, and who said so
    tortie datastore check                               what is wrong in it
    tortie datastore export --no-lock cluster.jsonl      a backup
    """


datastore.add_command(migrate)
datastore.add_command(migrate_policy_names)


no_lock_option = click.option(
    "--no-lock", is_flag=True, help="Do not lock what is read, for a backup: what is written meanwhile is not in it."
)
replace_option = click.option(
    "--replace", is_flag=True, help="Let the target hold this cluster alone, whatever it held before."
)


@datastore.command()
@form_option
@config_option
def info(form: str) -> None:
    """Say which datastore is used, who said so, and what it holds.

    \b
    tortie datastore info
    tortie datastore info -o json | jq -r .cluster

    Exit code 1 when it does not answer, or cannot be used.
    """
    from tortie.cli.datastore_info import look

    access = settings().access
    found = answered(look(access))
    if form == "json":
        click.echo(json.dumps(found.as_json(access), indent=2))
    else:
        click.echo(aligned(found.rows(access)), nl=False)
    raise SystemExit(1 if found.fault else 0)


@datastore.command()
@config_option
def lock() -> None:
    """Lock the cluster: agents act on no change, and nothing is attached or detached, until it is unlocked."""
    from tortie.cli.datastore_lock import set_ready

    answered(set_ready(settings().access, ready=False))
    click.echo("Datastore locked.")


@datastore.command()
@config_option
def unlock() -> None:
    """Unlock the cluster: agents catch up with what was changed meanwhile."""
    from tortie.cli.datastore_lock import set_ready

    answered(set_ready(settings().access, ready=True))
    click.echo("Datastore unlocked.")


@datastore.command("export")
@click.argument("file")
@no_lock_option
@config_option
def export_(file: str, no_lock: bool) -> None:
    """Write the whole cluster to a file, or to standard output (-).

    \b
    tortie datastore export cluster.jsonl
    tortie datastore export --no-lock - | gzip > backup.jsonl.gz

    The file holds every key below /calico/ and /tortie/v1/, byte for byte, as of one moment, but for those of leases.
    The cluster is locked meanwhile, and then again what it was. Passwords in it are as readable as in the datastore.
    """
    from tortie.cli.datastore_move import export_to

    click.echo(export_to(settings().access, file, lock=not no_lock), err=file == "-")


@datastore.command("import")
@click.argument("file")
@replace_option
@config_option
def import_(file: str, replace: bool) -> None:
    """Fill the datastore with the cluster in a file, or in standard input (-).

    \b
    tortie datastore import cluster.jsonl
    gunzip < backup.jsonl.gz | tortie datastore import --replace -

    The file is checked first. The datastore must be empty, or hold just what the file holds. It is locked until all of
    it is there and was read again and compared; interrupted, the same command goes on.
    """
    from tortie.cli.datastore_move import import_from

    click.echo(import_from(settings().access, file, replace=replace))


@datastore.command()
@click.argument("source")
@click.argument("target")
@no_lock_option
@replace_option
@config_option
def copy(source: str, target: str, no_lock: bool, replace: bool) -> None:
    """Copy the cluster from one datastore to another.

    \b
    tortie datastore copy sqlite:///var/lib/tortie/tortie.db etcd://10.0.0.5:2379
    tortie datastore copy /etc/tortie/old.toml etcds://10.0.0.5:2379

    Each is a URL, for which this host's etcd credentials count, or a configuration file, of tortie or calicoctl, that
    names a datastore and its credentials. The source is locked meanwhile, and then again what it was: to move a
    cluster, lock it yourself before, and unlock the target when the hosts use it. The rest is as with import.
    """
    from tortie.cli.datastore_move import copy_from

    click.echo(copy_from(settings(), source, target, lock=not no_lock, replace=replace))


@datastore.command()
@form_option
@config_option
def check(form: str) -> None:
    """Look for what is wrong in the datastore: broken objects, references to nothing, addresses given twice.

    \b
    tortie datastore check
    tortie datastore check -o json | jq -r '.problems[].subject'

    Changes nothing. Exit code 1 when something is wrong; what is only worth knowing is no problem.
    """
    from tortie.cli.datastore_check import examine, render

    access = settings().access
    findings = answered(examine(access))
    click.echo(render(findings, form, access.url), nl=False)
    raise SystemExit(1 if any(finding.is_problem for finding in findings) else 0)
