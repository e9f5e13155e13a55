"""Where a command finds its host's settings: `--config` before or after the command's name, else the usual places."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tortie.bootstrap import Bootstrap, Loaded

_META = "tortie.config"


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


def load() -> Loaded:
    """The settings for the current command, and what was odd about their sources; raises UsageError."""
    # Only here: `--help` needs no settings, and loading what describes them takes longer than all the rest.
    from tortie import bootstrap

    return bootstrap.load(chosen_file())
