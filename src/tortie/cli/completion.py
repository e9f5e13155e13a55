"""`tortie completion`: the script by which a shell asks tortie how a line may go on."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


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
    root = click.get_current_context().find_root()
    name = root.info_name or "tortie"
    # The variable is what click looks for in a program of this name.
    script = found(root.command, {}, name, f"_{name.replace('-', '_').upper()}_COMPLETE")
    # Not `source()`: for bash it asks the bash of this machine for its version, and the script may be for another.
    click.echo(script.source_template % script.source_vars())
