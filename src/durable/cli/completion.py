"""`durable completion`: the scripts that complete commands, options and run ids in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_INSTALL = {
    "bash": 'eval "$(durable completion bash)"      # in ~/.bashrc',
    "zsh": 'eval "$(durable completion zsh)"       # in ~/.zshrc, after compinit',
    "fish": "durable completion fish | source      # in ~/.config/fish/config.fish",
}


@click.command(
    "completion", epilog='bash and zsh: eval "$(durable completion bash)". fish: durable completion fish | source.'
)
@click.argument("shell", type=click.Choice(list(_INSTALL)))
def command(shell: str) -> None:
    """Print the script that completes commands, options and run ids in a shell."""
    from durable.cli.main import COMPLETE_VARIABLE, cli

    kind = get_completion_class(shell)
    assert kind is not None  # click knows the three
    click.echo(f"# {_INSTALL[shell]}")
    click.echo(kind(cli, {}, "durable", COMPLETE_VARIABLE).source())
