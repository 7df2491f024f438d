"""`algate help [VERB]`: what --help says, for those who type it the other way round."""

from __future__ import annotations

from typing import Annotated

import typer


def help(
    ctx: typer.Context,
    verb: Annotated[
        list[str] | None, typer.Argument(metavar="[VERB]...", help="Such as `sessions` or `forward add`.")
    ] = None,
) -> int:
    """Show what algate can do, or the options of one verb."""
    root = ctx.find_root()
    return int(root.command.main([*(verb or ()), "--help"], prog_name=root.info_name, standalone_mode=False) or 0)
