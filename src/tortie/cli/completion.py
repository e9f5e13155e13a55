"""`tortie completion`: the script by which a shell asks tortie how a line may go on."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
# What click's scripts set, and click looks for, for a program of this name.
_VARIABLE = "_TORTIE_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes a shell complete the words, options, kinds and names of tortie.

    \b
    tortie completion bash > /etc/bash_completion.d/tortie
    tortie completion zsh > "${fpath[1]}/_tortie"
    tortie completion fish > ~/.config/fish/completions/tortie.fish
    source <(tortie completion bash)                     for this shell alone
    """
    found = get_completion_class(shell)
    assert found is not None  # click knows the three
    script = found(click.get_current_context().find_root().command, {}, "tortie", _VARIABLE)
    # Not `source()`: for bash it asks the bash of this machine for its version, and the script may be for another.
    click.echo(script.source_template % script.source_vars())
