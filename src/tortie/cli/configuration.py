"""Where a command finds its host's settings: `--config` before or after the command's name, else the usual places."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tortie.errors import UsageError

if TYPE_CHECKING:
    from tortie.access import Access
    from tortie.bootstrap import Bootstrap, Loaded

_META = "tortie.config"


class Unconfigured(UsageError):
    """The settings cannot be used, or name no datastore that can be; nothing was asked of it."""

    def __init__(self, reason: str, missing: Path | None = None) -> None:
        super().__init__(reason)
        self.missing = missing  # the file that `--config` names, if it is not there


def _remember(context: click.Context, _: click.Parameter, file: Path | None) -> None:
    # The one after the command's name is read last, and wins.
    if file is not None:
        context.meta[_META] = file


config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    callback=_remember,
    expose_value=False,
    help="Configuration of this host, or one of calicoctl's, and no other; default /etc/tortie/tortie.toml.",
)


def chosen_file() -> Path | None:
    """The file that `--config` names, if there is one."""
    chosen: Path | None = click.get_current_context().meta.get(_META)
    return chosen


def settings() -> Bootstrap:
    """The settings for the current command; what was odd about their sources is said on stderr."""
    loaded = load()
    for warning in loaded.warnings:
        click.echo(f"Warning: {warning}", err=True)
    return loaded.settings


def access() -> Access:
    """The datastore for the current command; raises Unconfigured."""
    current = settings()
    try:
        return current.access
    except UsageError as error:
        raise Unconfigured(str(error)) from error


def load() -> Loaded:
    """The settings for the current command, and what was odd about their sources; raises Unconfigured."""
    # Only here: `--help` needs no settings, and loading what describes them takes longer than all the rest.
    from tortie import bootstrap

    file = chosen_file()
    try:
        return bootstrap.load(file)
    except UsageError as error:
        raise Unconfigured(str(error), file if file is not None and not file.exists() else None) from error
