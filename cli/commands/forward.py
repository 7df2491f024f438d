"""`algate forward`: servers inside that the outside may reach."""

from __future__ import annotations

from typing import Annotated

import typer

from algate.alg import control
from algate.alg.rows import ForwardRow
from algate.cli.listing import lister
from algate.cli.options import DEFAULT_RUN_DIR, Json, RunDir
from algate.cli.output import Voice, say, show_rows

ProtoArgument = Annotated[str, typer.Argument(metavar="PROTO", help="tcp or udp.")]
PortArgument = Annotated[str, typer.Argument(metavar="WAN_PORT", help="Public port, or a range like 50000-50100.")]


list_forwards = lister("forward-list", ForwardRow, "All forwards, from the configuration and added live.")


def add(
    proto: ProtoArgument,
    wan_port: PortArgument,
    to: Annotated[str, typer.Argument(metavar="IP:PORT", help="Server inside; a range goes on from its port.")],
    source: Annotated[list[str] | None, typer.Option("--from", metavar="CIDR", help="Who may use it; repeat.")] = None,
    alg: Annotated[str, typer.Option("--alg", metavar="NAME", help="Plug-in that watches it, such as ftp.")] = "",
    as_json: Json = False,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> None:
    """Add a forward to the running gateway. It lasts until deleted or `algate down`; the file is not changed."""
    table = {"proto": proto, "wan_port": wan_port, "to": to, "from": source or [], "alg": alg}
    made = ForwardRow.read(control.request(run_dir, "forward-add", table))
    if as_json:
        show_rows([made], ForwardRow, Voice.JSON)
    say(f"algate: {made.proto} port {made.wan_port} now leads to {made.to}")


def delete(proto: ProtoArgument, wan_port: PortArgument, run_dir: RunDir = DEFAULT_RUN_DIR) -> None:
    """Delete a forward from the running gateway. Its sessions go on until they end."""
    control.request(run_dir, "forward-del", {"proto": proto, "wan_port": wan_port})
    say(f"algate: {proto} port {wan_port} leads nowhere now")


VERBS = {"list": list_forwards, "add": add, "del": delete}
