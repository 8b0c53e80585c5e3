"""Groups of commands whose modules are imported when they are used, and that say which name was meant."""

from __future__ import annotations

from collections.abc import Collection

import click


class Group(click.Group):
    """A group that names the nearest commands in place of one that does not exist."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return what click finds."""
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            raise click.UsageError(f"there is no command {args[0]!r}{nearest(args[0], names)}", ctx)
        return super().resolve_command(ctx, args)


def nearest(name: str, names: Collection[str]) -> str:
    """Return what to say about a name that is none of `names`."""
    from difflib import get_close_matches

    found = " or ".join(map(repr, get_close_matches(name, names, 2)))
    return f"; did you mean {found}?" if found else f"; expected one of {', '.join(names)}"
