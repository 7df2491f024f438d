"""`algate allow`: services of inside IPv6 hosts that the outside may open."""

from __future__ import annotations

from typing import Annotated

import typer

from algate.alg.rows import AllowRow
from algate.alg.wording import unbracketed
from algate.cli import completion
from algate.cli.commands import forward
from algate.cli.listing import lister
from algate.cli.options import DEFAULT_RUN_DIR, Json, RunDir
from algate.cli.output import OutputForm, say, show_rows
from algate.client import Client, ControlError

ProtoArgument = Annotated[
    str, typer.Argument(metavar="PROTO", help="tcp or udp.", autocompletion=completion.transports)
]
PortArgument = Annotated[
    str,
    typer.Argument(metavar="PORT", help="Port, or a range like 6000-6009.", autocompletion=completion.allowed_ports),
]
HostArgument = Annotated[
    str,
    typer.Argument(
        metavar="[IP]", help="The inside host's IPv6 address; brackets may be left out.",
        autocompletion=completion.allowed_hosts,
    ),
]  # fmt: skip


list_allowed = lister("allow-list", AllowRow, "List what is let in over IPv6, from the configuration and added live.")


def add(
    proto: ProtoArgument,
    port: PortArgument,
    to: HostArgument,
    source: Annotated[
        list[str] | None, typer.Option("--from", metavar="CIDR", help="Allowed sources; may be repeated.")
    ] = None,
    save: Annotated[bool, typer.Option("--save", help="Also add it to the configuration file.")] = False,
    as_json: Json = False,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> None:
    """Let the outside open a service of an inside IPv6 host. It lasts until it is deleted or until `algate down`.

    --save also appends an [[allow_in]] to the file that `algate run` was started with, and changes nothing else in it.
    To save what was added live, repeat the command with --save.
    """
    from algate.alg.config import saved

    host = unbracketed(to)
    table = {"proto": proto, "port": port, "to": host, "from": source or []}
    file = forward.config_file(run_dir) if save else None
    grown = saved.with_allowed(forward.text_of(file), table, str(file)) if file else ""  # fail before it is let in
    gateway = Client(run_dir)
    made = gateway.allow_add(proto, port, host, source or [], save)
    if file:
        forward.write(file, grown, lambda: gateway.allow_del(proto, port, host))
    if as_json:
        show_rows([made], AllowRow, OutputForm.JSON)
    whom = f" from {', '.join(made.from_)}" if made.from_ else ""
    told = f"; saved in {file}" if file else ""
    say(f"algate: {made.proto} port {made.port} of {made.to} may be opened{whom} now{told}")


def delete(
    proto: ProtoArgument,
    port: PortArgument,
    to: HostArgument,
    save: Annotated[bool, typer.Option("--save", help="Also remove it from the configuration file.")] = False,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> None:
    """Let a service in no more. Its sessions go on until they end.

    One in the configuration file comes back when that is read again, unless --save removes it there too.
    """
    from algate.alg.config import saved

    host = unbracketed(to)
    file = forward.config_file(run_dir) if save else None
    shrunk = saved.without_allowed(forward.text_of(file), proto, port, host, str(file)) if file else None
    try:
        Client(run_dir).allow_del(proto, port, host)
    except ControlError:
        if shrunk is None:
            raise  # neither in force nor in the file
    if file and shrunk is not None:
        forward.write(file, shrunk)
    told = f"; not in {file} any more" if shrunk is not None else f"; {file} didn't have it" if file else ""
    say(f"algate: {proto} port {port} of {host} may not be opened any more{told}")


VERBS = {"list": list_allowed, "add": add, "del": delete}
